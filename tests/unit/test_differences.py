"""What is shown of a difference: both values, whole or from shortly before where they part."""

from __future__ import annotations

import pytest

from mongo2pg.checks.differences import EXCERPT, Difference, describe, excerpts

LONG = "a" * 1000

CASES = [
    ("short ones whole", "1.10", "1.1", "'1.10'", "'1.1'"),
    ("a space at the end", "a", "a ", "'a'", "'a '"),
    ("two that look alike in ASCII", "caf\u00e9", "cafe\u0301", "'caf\\xe9'", "'cafe\\u0301'"),
    ("NULL is no text", None, "", None, "''"),
    ("long ones from before where they part", f"{LONG}b{LONG}", f"{LONG}c", f"… 950 characters, then '{'a' * 50}b{'a' * 149}' …",
     f"… 950 characters, then '{'a' * 50}c'"),
    ("a long one beside nothing", LONG, None, f"'{'a' * EXCERPT}' …", None),
]  # fmt: skip


@pytest.mark.parametrize(("source", "target", "left", "right"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_two_values_are_shown(source: str | None, target: str | None, left: str | None, right: str | None) -> None:
    assert excerpts(source, target) == (left, right)


def test_each_kind_of_difference_is_a_sentence() -> None:
    got = [
        describe(Difference("users", "7", column, kind, source, target))
        for kind, column, source, target in (
            ("different", "name", "a", None),
            ("missing", None, None, None),
            ("extra", None, None, None),
            ("rebuilt", "meta.level", "3", None),
            ("orphan", "user_id", None, "9"),
            ("duplicate", "user_id, ordinal", None, None),
            ("reject", None, "5 email (required) is rejected without that cause", None),
        )
    ]
    assert got == [
        "users 7: column name should be 'a', is None",
        "users 7: the row is missing in PostgreSQL",
        "users 7: PostgreSQL has a row that no document explains",
        "users 7: meta.level was '3', comes back as None",
        "users 7: user_id refers to 9, which is not there",
        "users 7: another row has the same user_id, ordinal",
        "users: 5 email (required) is rejected without that cause",
    ]


def test_what_a_document_s_author_wrote_breaks_no_line() -> None:
    source = 'the element skills.a\nAUDIT {"passed": true}\u2028\u202eb\x1b[31m\ud800é of 5 is rejected'
    said = describe(Difference("users", None, None, "reject", source, None))
    assert said == 'users: the element skills.a\\nAUDIT {"passed": true}\\u2028\\u202eb\\x1b[31m\\ud800é of 5 is rejected'
