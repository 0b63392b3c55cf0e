"""An answer, or the document of what kept it from being given."""

from __future__ import annotations

from typing import Any

from tsplanner.commands.parts.documents import document_of
from tsplanner.errors import UsageError


def test_an_answer_is_itself() -> None:
    """With status 0."""
    assert document_of(lambda: {"a": 1}) == ({"a": 1}, 0)


def test_an_expected_failure_is_the_sentence_that_the_command_line_would_print() -> None:
    """On one line, and without what looks like a password."""

    def fails() -> dict[str, Any]:
        raise UsageError("no\nplace at postgresql://me:secret@host")

    assert document_of(fails) == (
        {"error": "no\\nplace at postgresql://me@host", "exit_status": 2},
        2,
    )


def test_a_number_that_no_formula_takes_is_a_failure_of_status_1() -> None:
    """As where the command line meets it."""
    document, status = document_of(lambda: {"a": int("x" * 3)})
    assert status == document["exit_status"] == 1
