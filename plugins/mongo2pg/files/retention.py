"""What was staged long ago goes: the documents and frames of runs that ended, but for those that later runs may ask for."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from mongo2pg import books
from mongo2pg.books import Connection, RunKey
from mongo2pg.files.staging import RunStaging, remove_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from mongo2pg.files.staging import StagingPath

log = logging.getLogger(__name__)

# Runs of which the files are removed at once: whoever has years of them shall not wait long in `prepare`.
AT_ONCE = 100


def remove_staged(conn: Connection, domain: str, root: StagingPath, days: int, alive: Callable[[str], bool]) -> list[str]:
    """Removes the documents and frames of up to `AT_ONCE` runs of the domain that ended that many days ago; returns their ids.

    `alive` says of a run's id whether that one goes on, or will: whoever gave a run up has not told the books.
    Reports stay. So does everything of the run that last read a collection in full: references between domains are judged by its
    documents.
    """
    runs = books.forgettable_runs(conn, domain, days, AT_ONCE, alive)
    for run_id in runs:
        staging = RunStaging(root, domain, run_id)
        for folder in staging.plan_folders():
            remove_folder(folder)
        books.note_removal(conn, RunKey(domain, run_id))
    if runs:
        log.info("removed what %s runs of more than %s days ago had staged", len(runs), days)
    return runs
