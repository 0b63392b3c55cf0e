"""Errors a person can mend, and the exit status each ends in.

TsplannerError (1)     expected failure: one sentence, what, where and how to mend
├── UsageError (2)     a flag, key or name is wrong
└── NoPlanFits (4)     nothing feasible; carries what would make it fit
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_BUG = 3
EXIT_NO_PLAN = 4
EXIT_INTERRUPTED = 130


class TsplannerError(Exception):
    """An expected failure; its text is one clear sentence for the user."""

    exit_status = EXIT_FAILURE


class UsageError(TsplannerError):
    """The command was called wrongly."""

    exit_status = EXIT_USAGE


class NoPlanFits(TsplannerError):
    """No configuration fits the machine."""

    exit_status = EXIT_NO_PLAN


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` Did you mean "x"?`` for the closest known name, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f' Did you mean "{close[0]}"?' if close else ""


def without_passwords(text: str) -> str:
    """A text with the passwords of its URLs left out."""
    text = re.sub(r"(\w://[^/\s:@]*):\S*@", r"\1@", text)
    return re.sub(r"(?i)([?&\s](?:ssl)?password=)[^&\s'\"]*", r"\1***", text)
