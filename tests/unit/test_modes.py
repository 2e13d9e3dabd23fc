"""What a run can be asked for, and which wishes contradict each other."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mongo2pg.errors import PrepareError
from mongo2pg.modes import DELETES, DRY_RUN, FULL, INCREMENTAL, MODES, REPLAY, WINDOW, Request, refuse

ONE, OTHER = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (Request(WINDOW), "give both, from and to"),
        (Request(WINDOW, start=ONE), "give both, from and to"),
        (Request(WINDOW, end=ONE), "give both, from and to"),
        (Request(WINDOW, OTHER, ONE), "must lie before to"),
        (Request(WINDOW, ONE, ONE), "must lie before to"),
        (Request(DRY_RUN, end=ONE), "a dry run of a window needs both ends"),
        *(
            (Request(mode, start=ONE), f"from and to belong to mode window, and this is mode {mode}")
            for mode in (FULL, INCREMENTAL, REPLAY, DELETES)
        ),
    ],
)
def test_what_contradicts_itself_is_refused_in_words(request_: Request, sentence: str) -> None:
    with pytest.raises(PrepareError, match=sentence):
        refuse(request_)


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != WINDOW])
def test_every_mode_but_a_window_needs_no_ends(mode: str) -> None:
    refuse(Request(mode))


def test_a_window_and_a_dry_run_of_one_have_two_ends() -> None:
    for mode in (WINDOW, DRY_RUN):
        refuse(Request(mode, ONE, OTHER))
