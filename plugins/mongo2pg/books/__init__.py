"""The books: what ran, what was committed, what was rejected, what was checked. Schema `migration` of the target.

entries    the names of what they hold
runs       sessions, the schema, runs, and the locks that runs take
phases     how far each collection has come
passes     what transactions did to the chunks of a plan
rejects    documents whose newest version has no row
cleared    references that are NULL because their row was not there
checks     verdicts, and the differences behind them
"""

from mongo2pg.books.checks import forget_checks, forget_differences, forget_verdicts, last_progress, read_checks, write_checks
from mongo2pg.books.cleared import cleared_in_vain, cleared_of, forget_cleared, note_cleared
from mongo2pg.books.entries import Check, Connection, Load, RejectRow, RunKey, Verdict
from mongo2pg.books.passes import (
    any_doubtful,
    came_after,
    committed_pass,
    committed_since,
    count_deletions,
    deleted_after,
    deleted_since,
    judged_at,
    later_loads,
    loaded_at,
    loaded_chunks,
    loaded_otherwise,
    loads_after,
    record_pass,
    rejected_before,
    totals,
    was_bulk,
)
from mongo2pg.books.phases import (
    changed,
    complete,
    last_full_runs,
    move_watermark,
    note_declaration,
    phase,
    phases,
    set_phase,
    watermark,
)
from mongo2pg.books.rejects import (
    add_rejects,
    any_held,
    any_open_rejects,
    count_stale,
    forget_held,
    forget_stale,
    forget_without_row,
    held_by,
    held_elsewhere,
    left_behind,
    mark_stale,
    open_reject_ids,
    rejected_documents,
    rejected_since,
    resolve_rejects,
    resolve_unread,
    stale_among,
    supersede_held,
    supersede_rejects,
)
from mongo2pg.books.runs import (
    are_there,
    finish_run,
    forgettable_runs,
    has_begun,
    install,
    last_report,
    lock_chunk,
    lock_collection,
    lock_collections,
    lock_report,
    lost,
    note_removal,
    now,
    open_session,
    run_params,
    start_run,
)
