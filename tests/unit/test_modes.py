"""What a run can be asked for, and which wishes contradict each other."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from airflow.sdk.exceptions import ParamValidationError

from deepiri.auth import AUTH
from mongo2pg.dag.params import domain_params, moment
from mongo2pg.errors import PrepareError
from mongo2pg.planning.modes import DELETES, DRY_RUN, FULL, INCREMENTAL, MODES, REPLAY, WINDOW, Request, refuse

ONE, OTHER = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (Request(WINDOW), "give both, from and to"),
        (Request(WINDOW, start=ONE), "give both, from and to"),
        (Request(WINDOW, end=ONE), "give both, from and to"),
        (Request(WINDOW, OTHER, ONE), "must lie before to"),
        (Request(WINDOW, ONE, ONE), "must lie before to"),
        (Request(WINDOW, interval=(ONE, OTHER), backfill=True), "take mode incremental, without from and to"),
        (Request(WINDOW, ONE, OTHER, interval=(ONE, OTHER), backfill=True), "take mode incremental, without from and to"),
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


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("2026-11-01T00:00:00", "2026-11-01T00:00:00+00:00"),
        ("2026-11-01", "2026-11-01T00:00:00+00:00"),
        ("2026-11-01T00:00:00Z", "2026-11-01T00:00:00+00:00"),
        ("2026-11-01T00:00:00-05:00", "2026-11-01T05:00:00+00:00"),
    ],
)
def test_a_moment_without_an_offset_is_utc_wherever_the_worker_stands(
    monkeypatch: pytest.MonkeyPatch, text: str, want: str
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert moment("from", text) == datetime.fromisoformat(want)
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("text", ["yesterday", "0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00"])
def test_what_is_no_moment_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(PrepareError, match=r"from is no moment: '.*'; write 2026-11-01T00:00:00\+00:00"):
        moment("from", text)


@pytest.mark.parametrize(("name", "most"), [("retention_days", 36_500), ("lookback_minutes", 36_500 * 24 * 60)])
def test_no_param_counts_days_or_minutes_beyond_the_calendar(name: str, most: int) -> None:
    param = domain_params(AUTH)[name]
    assert param.resolve(most) == most
    with pytest.raises(ParamValidationError, match="maximum"):
        param.resolve(most + 1)
