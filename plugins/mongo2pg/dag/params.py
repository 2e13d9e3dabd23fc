"""The trigger form of a run, and what its params ask for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Param, get_current_context

from mongo2pg.errors import PrepareError
from mongo2pg.model import Domain
from mongo2pg.planning.modes import FULL, MODES, Request

VERIFY_SOURCES = {
    "auto": "auto: live where a collection of up to 1 GB is read in full, else staged",
    "live": "live: the documents as MongoDB has them now",
    "staged": "staged: the documents as they were read",
}

# A hundred years: PostgreSQL's and Python's calendars do not reach as far as any number of days.
MOST_DAYS = 36_500
# A petabyte: Airflow takes a number beyond 64 bits and then cannot hand it to a task, which dies without a line in its log.
MOST_MB = 1_000_000_000

# Parts of the form, below what most runs need.
READING, VERIFYING, LIMITS = "How documents are read and staged", "How it is verified", "What turns the run red"


def common_params(*modes: str) -> dict[str, Param]:
    """The params of a run of any DAG; the first of the modes is the default."""
    return {
        "mode": Param(
            modes[0],
            type="string",
            enum=list(modes),
            values_display={mode: MODES[mode] for mode in modes},
            title="Mode",
            description="What the run moves",
        ),
        "chunk_mb": Param(
            64,
            type="integer",
            minimum=1,
            maximum=1024,
            title="Chunk size in MB",
            description="BSON bytes that one chunk holds, about",
            section=READING,
        ),
        "verify_source": Param(
            "auto",
            type="string",
            enum=list(VERIFY_SOURCES),
            values_display=VERIFY_SOURCES,
            title="Verify against",
            description="Rows are always compared with what the staged documents must become; live reads MongoDB a second time and "
            "checks that it has these very documents, but for those written since. A cut-over deserves live",
            section=VERIFYING,
        ),
        "max_reject_ratio": _share(0.01, "Rejected documents", "of all documents of a collection, orphans apart"),
        "max_orphan_ratio": _share(0.05, "Orphaned documents", "of all documents of a collection"),
        "max_delete_ratio": _share(0.10, "Deleted documents", "of all rows of a collection; beyond it nothing is deleted"),
        "max_misfit_ratio": _share(0.10, "Misfits", "of all values of a field; rejected elements of all elements of an array"),
        "round_trip_sample": Param(
            0.001,
            type="number",
            minimum=0,
            maximum=1,
            title="Round trip",
            description="Share of the documents that are rebuilt from their rows, at least 100 of each chunk; 1 is all of them",
            section=VERIFYING,
        ),
    }


def reconcile_params(domains: Sequence[Domain]) -> dict[str, Param]:
    """The params of a reconcile: of which domain it compares what, and what it does about differences."""
    names = [collection.name for domain in domains for collection in domain.collections]
    return {
        "domain": Param(
            domains[0].name,
            type="string",
            enum=[domain.name for domain in domains],
            title="Domain",
            description="The domain that is compared with MongoDB",
        ),
        "collections": Param(
            None,
            type=["null", "array"],
            items={"type": "string", "enum": names},
            examples=names,
            title="Collections",
            description="Collections of that domain; none are all of them",
        ),
        "repair": Param(
            False,
            type="boolean",
            title="Repair",
            description="Move the documents that differ again and take out the rows whose document is gone; else differences are "
            "listed and nothing is changed",
        ),
        "max_repair_ratio": _share(0.01, "Repaired documents", "of all documents of a collection; beyond it nothing is changed"),
        "chunk_mb": common_params(FULL)["chunk_mb"],
    }


def domain_params(domain: Domain) -> dict[str, Param]:
    """The params of a domain's run: those of every run, which collections it moves, and how a window is read."""
    names = [collection.name for collection in domain.collections]
    common = common_params(*MODES)
    return {
        "mode": common.pop("mode"),
        "from": _moment("From", "Mode window: the first moment that is moved"),
        "to": _moment("To", "Mode window: the first moment that is moved no more"),
        "collections": Param(
            names,
            type="array",
            items={"type": "string", "enum": names},
            examples=names,
            minItems=1,
            title="Collections",
            description="The collections to move",
        ),
        "lookback_minutes": Param(
            10,
            type="integer",
            minimum=0,
            maximum=MOST_DAYS * 24 * 60,
            title="Minutes to look back",
            description="How far before its start a window reads, for documents that were written after their change key was set",
            section=READING,
        ),
        "scan_limit_mb": Param(
            1024,
            type="integer",
            minimum=0,
            maximum=MOST_MB,
            title="Scan up to MB",
            description="A larger collection without an index on its change key is not scanned for a window",
            section=READING,
        ),
        **common,
        "retention_days": Param(
            30,
            type="integer",
            minimum=1,
            maximum=MOST_DAYS,
            title="Days that staged files stay",
            description="What older runs staged is removed; reports stay, and the last full reading of each collection",
            section=READING,
        ),
        "read_concern": Param(
            "local",
            type="string",
            enum=["local", "snapshot"],
            title="Read concern",
            description="snapshot: all documents as they are at one moment; needs a replica set that remembers it for long enough",
            section=READING,
        ),
    }


def _share(default: float, title: str, of_what: str) -> Param:
    """A share beyond which the run fails; `count.Limits` says how it is judged."""
    return Param(
        default, type="number", minimum=0, maximum=1, title=f"{title} at most", description=f"A share {of_what}", section=LIMITS
    )


def _moment(title: str, description: str) -> Param:
    return Param(None, type=["null", "string"], format="date-time", title=title, description=description)


def param(name: str) -> Any:
    """The run's value of a param; a whole number is an int however it was written."""
    value = get_current_context()["params"][name]
    return int(value) if isinstance(value, float) and value.is_integer() else value  # 64.0 is an integer in JSON Schema


def all_params() -> dict[str, Any]:
    """All of the run's params, as they were given."""
    return dict(get_current_context()["params"])


def refuse_unknown_params(known: Iterable[str]) -> None:
    """Airflow takes unknown keys of a run's conf without a word: a mistyped one would do nothing. Raises PrepareError."""
    unknown = sorted(set(get_current_context()["dag_run"].conf or {}) - set(known))
    if unknown:
        raise PrepareError([f"unknown parameter {name!r}: the parameters are {', '.join(known)}" for name in unknown])


def moment(name: str, text: str) -> datetime:
    """A moment that a person gave, in UTC unless it has an offset; Airflow checks its form in the trigger form only.

    Raises PrepareError.
    """
    try:
        given = datetime.fromisoformat(text)
        return (given if given.tzinfo else given.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):  # in UTC it may lie beyond the calendar's ends
        raise PrepareError([f"{name} is no moment: {text!r}; write 2026-11-01T00:00:00+00:00"]) from None


def request() -> Request:
    """What this run was asked for: by a person's params, or by the interval of a schedule or a backfill."""
    run: Any = get_current_context()["dag_run"]
    start, end = (moment(name, text) if (text := param(name)) else None for name in ("from", "to"))
    # A run by hand has an interval too, the last whole one before its logical date: nobody asked for that one. The type of a
    # run equals its name, but is written otherwise: `str` of it begins with the name of its class.
    timed = run.run_type in ("scheduled", "backfill")
    return Request(
        param("mode"),
        start,
        end,
        interval=(run.data_interval_start, run.data_interval_end) if timed else None,
        backfill=run.run_type == "backfill",
        lookback=timedelta(minutes=param("lookback_minutes")),
    )
