"""Moves MongoDB collections into PostgreSQL and proves that nothing was lost or changed on the way."""

import os

# Arrow looks at this when it is loaded. Its own choice, mimalloc, keeps pages of threads that have ended: a chunk took 60 MB and a
# tenth of the time more, measured by `make bench` with the variable set to either. malloc keeps buffers of 16 MB documents. Arrow's
# wheels for other machines have no jemalloc.
if os.uname().machine == "x86_64":
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "jemalloc")
