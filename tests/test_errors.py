"""Errors that a person can fix."""

from __future__ import annotations

import pytest

from tsplanner.errors import (
    NoPlanFits,
    TsplannerError,
    UsageError,
    did_you_mean,
    without_passwords,
)


def test_each_error_has_an_exit_status_of_its_own() -> None:
    """1 for an expected failure, 2 for a wrong call, 4 for a machine that is too small."""
    statuses = [error.exit_status for error in (TsplannerError, UsageError, NoPlanFits)]
    assert statuses == [1, 2, 4]
    assert issubclass(UsageError, TsplannerError)
    assert issubclass(NoPlanFits, TsplannerError)


@pytest.mark.parametrize(
    ("word", "expected"),
    [("qlroa", ' Did you mean "qlora"?'), ("zzz", ""), ("", "")],
)
def test_a_close_name_is_offered_and_a_far_one_is_not(word: str, expected: str) -> None:
    """It stands after a sentence, so it begins with a space."""
    assert did_you_mean(word, ["lora", "qlora", "full"]) == expected


def test_a_beginning_counts_more_than_likeness_and_dashes_count_nothing() -> None:
    """``llama3`` is as long as the name of another model, and the start of the right ones."""
    known = ["llama-2-13b", "llama-3.1-70b", "llama-3.1-8b", "llama-3.2-1b"]
    assert did_you_mean("llama3", known) == ' Did you mean "llama-3.1-8b"?'
    assert did_you_mean("LLAMA_3.1_70B", known) == ' Did you mean "llama-3.1-70b"?'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "postgresql://me:secret@host/db is down",
            "postgresql://me@host/db is down",
        ),
        ("postgresql://me:a@b:c@host/db", "postgresql://me@host/db"),
        ("x?sslpassword=abc&user=me", "x?sslpassword=***&user=me"),
        ("host=h password=abc", "host=h password=***"),
        ("sqlite:///study.db", "sqlite:///study.db"),
        ("postgresql://me:a/b@c@host:5/db", "postgresql://me@host:5/db"),
        ("to postgresql+psycopg://me:x@h/d here", "to postgresql+psycopg://me@h/d here"),
        ("postgresql://h/d?user=me&password=x&a=1", "postgresql://h/d?user=me&password=***&a=1"),
        (
            "postgresql://me@host:5432/db sqlite:///a.db",
            "postgresql://me@host:5432/db sqlite:///a.db",
        ),
    ],
)
def test_passwords_are_taken_out_of_a_text(text: str, expected: str) -> None:
    """Of URLs and of connection strings; what holds none stays as it is."""
    assert without_passwords(text) == expected
