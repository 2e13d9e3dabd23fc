"""Moves MongoDB collections into PostgreSQL and proves that nothing was lost or changed on the way.

Where things are, in the order in which data goes through them:

    declared      model conversions lineage scripts schema catalog
    in Airflow    pipeline reconcile_pipeline platform_pipeline params modes
                  tasks task_run audit connections
    without it    run
    prepare       prepare ends connection_faults source
    plan          begin plan planned window increments besides snapshot claim rehearsal
    extract       extract raw_batches lookup versions replay
    normalise     normalise normaliser
      one by one  decode outline values extended_json identity document_ids bson_types reasons
      at once     clean elements columns jsontexts rows typed_columns id_columns
    files         staging retention parquet staged_documents arrow
    load          load merge held
    delete        deletes
    settle        settle settle_rounds shared_ids unique_slots settlement places
    row_counts    count source_count suspicion root_ids
    checksums     verify compare compare_tables expected sieve stored reject_causes cleared_references
                  differences reference
      live        live unlike
    references    references
    uniqueness    uniqueness guards
    round_trip    round_trip
    gate          gate owed certificate across
    reconcile     reconcile repair
    everywhere    books queries errors progress ahead collector
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
