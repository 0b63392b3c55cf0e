"""Errors as sentences for a person, without what nobody should read."""

from __future__ import annotations

import pytest

from tsplanner.errors import without_passwords


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("postgresql://me:a/b@c@host:5/db", "postgresql://me@host:5/db"),
        ("to postgresql+psycopg://me:x@h/d here", "to postgresql+psycopg://me@h/d here"),
        ("postgresql://h/d?user=me&password=x&a=1", "postgresql://h/d?user=me&password=***&a=1"),
        (
            "postgresql://me@host:5432/db sqlite:///a.db",
            "postgresql://me@host:5432/db sqlite:///a.db",
        ),
    ],
)
def test_passwords_are_left_out_of_texts(text: str, hidden: str) -> None:
    """Wherever a URL may be printed or logged."""
    assert without_passwords(text) == hidden
