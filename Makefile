# The two commands are `make demo` and `make test`; `make` alone lists all. Everything is installed into .venv and .venv-moto, nothing elsewhere.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
# Which Python makes .venv. Empty: the present .venv's, or the first of these that is found, fits and is complete.
PYTHON ?=
CANDIDATES := $(if $(PYTHON),'$(PYTHON)',python3.13 python3.12 python3.11 python3)
FITS := sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
# The stamp of the environment; another PYTHON has another stamp and makes the environment anew.
UV := $(VENV)/.uv-$(UV_VERSION)$(if $(PYTHON),-$(subst /,_,$(PYTHON)))
LOCKS := requirements.txt requirements-dev.txt
# The tests' S3 has an environment of its own: it needs another botocore than Airflow.
MOTO := .venv-moto
# What the benchmark needs besides: each of the other tools in an environment of its own, and the one that draws.
PEERS := dlt ingestr sling pandas plot
PEER_STAMPS := $(PEERS:%=.bench/peers/%/.installed)
# With a fixed header, so that the locks do not depend on how the command was typed.
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --custom-compile-command 'make lock'

# Settings of the demo: make demo EXIT=1 SCALE=0.1
export EXIT SCALE

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  PYTHON=python3.12 chooses the interpreter; EXIT=1 ends the demo after its report; SCALE=10 gives it ten times the data."

demo: $(VENV)/.installed ## run everything on this machine, show the report, leave Airflow's UI up until Ctrl-C
	@exec $(BIN)/python -m demo

test: $(VENV)/.installed $(MOTO)/.installed ## run every test, against real servers that it starts and stops
	@MONGO2PG_POSTGRES=$(POSTGRES) exec $(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder $(ARGS)

bench: $(VENV)/.installed $(PEER_STAMPS) ## measure speed and memory against the limit and against other tools, about 10 minutes
	@PYTHONPATH=.:plugins exec $(BIN)/python -m benchmarks $(ARGS)

faults: $(VENV)/.installed ## kill, cut and starve runs in every way that the tests know, not only some of each: about 20 minutes
	@# These tests do not use Hypothesis; its plugin would import it all when the session ends.
	@MONGO2PG_FAULTS=all exec $(BIN)/python -m pytest -p no:hypothesispytest tests/faults $(ARGS)

parse-times: $(VENV)/.installed ## show how long Airflow takes to parse each DAG file
	@$(BIN)/python -m demo.parse_times

verify-score: $(VENV)/.installed ## damage 100,000 rows and the mover in every way, and count what the verifier finds
	@PYTHONPATH=plugins:. $(BIN)/python -m tests.score $(ARGS)

fuzz: $(VENV)/.installed ## read 100,000 random documents by the mover, by the verifier's reference and by its sieve: no difference
	@PYTHONPATH=plugins:. $(BIN)/python -m tests.fuzz $(ARGS)

check: lint types test ## lint, types and test

lint: $(VENV)/.installed ## look for mistakes and for unformatted code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed ## check the types
	$(BIN)/mypy

fmt: $(VENV)/.installed ## format the code and repair what can be repaired
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(UV) ## compile requirements*.in into the locks; UPGRADE=1 takes newer versions
	$(COMPILE) $(if $(UPGRADE),--upgrade) requirements.in -o requirements.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) requirements-dev.in -o requirements-dev.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) requirements-moto.in -o requirements-moto.txt
	for peer in $(PEERS); do \
	    $(COMPILE) $(if $(UPGRADE),--upgrade) benchmarks/requirements-$$peer.in -o benchmarks/requirements-$$peer.txt || exit 1; \
	done

lock-check: $(UV) ## fail if the locks are not what requirements*.in say; says so when no package index answers
	@if ! echo 'pip' | $(BIN)/uv pip compile --quiet --no-cache - >/dev/null 2>&1; then \
	    echo 'The check of the locks is skipped: no package index answers.'; exit 0; \
	fi; \
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	for name in requirements requirements-dev requirements-moto; do \
	    cp $$name.txt "$$folder/$$name.txt" && $(COMPILE) $$name.in -o "$$folder/$$name.txt" && \
	    diff -u $$name.txt "$$folder/$$name.txt" || { echo "$$name.txt is not what $$name.in says: run make lock."; exit 1; }; \
	done; \
	echo 'The locks are what requirements*.in say.'

clean: ## end what an interrupted demo left running and remove the environments, .demo and the caches
	@if [ -d .demo ]; then \
	    if [ -x $(BIN)/python ]; then $(BIN)/python -m demo clean; \
	    else echo '.demo is left as it is: without .venv its servers cannot be ended; run make demo EXIT=1, then make clean.'; fi; \
	fi
	@if [ -d .bench ] && [ -x $(BIN)/python ]; then $(BIN)/python -m demo clean --folder .bench; fi
	rm -rf $(VENV) $(MOTO) .bench .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Redone only when the locks change.
$(VENV)/.installed: $(LOCKS) $(UV)
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python $(LOCKS)
	@touch $@

$(MOTO)/.installed: requirements-moto.txt $(UV)
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(MOTO)
	@$(BIN)/uv pip sync --quiet --python $(MOTO)/bin/python requirements-moto.txt
	@touch $@

.bench/peers/%/.installed: benchmarks/requirements-%.txt $(UV)
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python .bench/peers/$*
	@$(BIN)/uv pip sync --quiet --python .bench/peers/$*/bin/python $<
	@touch $@

# A virtual environment with a pinned uv, which installs the locks in a tenth of the time that pip takes.
$(UV):
	@if [ -z '$(PYTHON)' ] && $(BIN)/python -c 'import pip, sys; $(FITS)' 2>/dev/null; then :; else \
	    free=$$(df -Pk . | awk 'NR == 2 {print $$4}'); \
	    if [ "$$free" -lt 2000000 ]; then \
	        echo "Only $$((free / 1000)) MB are free here; the installation and the demo need 2000 MB: make room first." >&2; exit 1; \
	    fi; \
	    chosen=; incomplete=; \
	    for candidate in $(CANDIDATES); do \
	        "$$candidate" -c 'import sys; $(FITS)' 2>/dev/null || continue; \
	        if "$$candidate" -c 'import ensurepip, venv' 2>/dev/null; then chosen=$$candidate; break; fi; \
	        incomplete="$$incomplete $$candidate"; \
	    done; \
	    if [ -n "$$chosen" ]; then "$$chosen" -m venv --clear $(VENV); \
	    elif [ -n "$$incomplete" ]; then \
	        echo "$${incomplete# } lacks the modules venv and ensurepip: install them (Debian and Ubuntu: apt install python3-venv)." >&2; exit 1; \
	    else \
	        echo "Need Python 3.11, 3.12 or 3.13, tried: "$(CANDIDATES)". Install one, or name it with PYTHON=/path/to/python." >&2; exit 1; \
	    fi; \
	fi
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@touch $(VENV)/.uv-$(UV_VERSION) '$@'

.PHONY: verify-score fuzz bench faults parse-times help demo test check lint types fmt lock lock-check clean
