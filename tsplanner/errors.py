"""Errors that a person can fix, and the exit status of each.

TsplannerError (1)     expected failure: one sentence that says what, where and how to fix it
├── UsageError (2)     a flag, key or name is wrong
└── NoPlanFits (4)     no plan fits the machine
"""

from __future__ import annotations

import re
from collections.abc import Iterable

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_BUG = 3
EXIT_NO_PLAN = 4
EXIT_INTERRUPTED = 130


class TsplannerError(Exception):
    """An expected failure; the text is one clear sentence for the user."""

    exit_status = EXIT_FAILURE


class UsageError(TsplannerError):
    """The command was called wrongly."""

    exit_status = EXIT_USAGE


class NoPlanFits(TsplannerError):
    """No configuration fits the machine."""

    exit_status = EXIT_NO_PLAN


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` Did you mean "x"?`` for the closest known name; empty if no name is close."""
    import difflib  # only a mistyped word needs it

    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f' Did you mean "{close[0]}"?' if close else ""


def without_passwords(text: str) -> str:
    """A text without the passwords of its URLs."""
    # The pattern reaches to the last @, because a password may hold one.
    text = re.sub(r"(\w://[^/\s:@]*):\S*@", r"\1@", text)
    return re.sub(r"(?i)([?&\s](?:ssl)?password=)[^&\s'\"]*", r"\1***", text)
