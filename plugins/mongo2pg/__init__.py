"""Moves MongoDB collections into PostgreSQL and proves that nothing was lost or changed on the way.

The rooms, each of which may use those above it and none below; what a room holds, it says itself. First what all may use:

    model           what a domain is: its collections, and the tables that their documents become
    errors          failures that no retry can cure, and those that one may
    queries         SQL that is composed from declarations
    audit           the line that each task leaves in its log
    progress        how far, how fast, how long to go
    ahead           what comes next is made while what is there is used
    collector       Python's garbage collector, sent away
    books           the tables of `migration`: runs, passes, rejects, checks
    reference       which rows a document must become, worked out a second time by other means

Then the way of the data:

    documents       one document: its values, and the rules for them
    batches         many documents at once, by columns
    databases       the ways into both databases
    files           staged files and the plan
    target          the tables in PostgreSQL
    planning        prepare and plan
    moving          extract, normalise, load
    settling        delete and settle
    checks          row_counts, checksums, live, references, uniqueness, round_trip
    verdict         gate
    reconciling     reconcile and repair

And who calls all that:

    begin           from what a run was asked for to its plan
    run             all stages in this process, without Airflow: for tests, benchmarks and scripts
    dag             the same as DAGs
"""

import os
import sys
from importlib.util import find_spec

# Arrow looks at this when it is loaded. Its own choice, mimalloc, keeps pages of threads that have ended: a chunk took 60 MB and a
# tenth of the time more, measured by `make bench` with the variable set to either. malloc keeps buffers of 16 MB documents. Arrow's
# wheels for other machines have no jemalloc.
if os.uname().machine == "x86_64":
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "jemalloc")
# pymongo takes certificates to PyOpenSSL if it can: it loads all of cryptography, 40 ms for each process, and then finds that
# service-identity is missing, which belongs to that. Where it is missing, it need not look.
if find_spec("service_identity") is None:
    sys.modules.setdefault("pymongo.pyopenssl_context", None)  # type: ignore[arg-type]  # None stands for "not there" (sys.modules)
