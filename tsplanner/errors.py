"""Errors that a person can fix, and the exit status of each.

TsplannerError (1)     expected failure: one sentence that says what, where and how to fix it
├── UsageError (2)     a flag, key or name is wrong
└── NoPlanFits (4)     no plan fits the machine
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable
from itertools import islice

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_BUG = 3
EXIT_NO_PLAN = 4
EXIT_INTERRUPTED = 130

NEAR = 0.7
"""Likeness (0 to 1) from which a known name is taken for what was meant."""
SHORTEST_BEGINNING, SHORTEST_PART = 3, 4
"""Characters from which the beginning, or any part, of a known name stands for it."""
LONGEST_GUESSED = 100
"""Characters of a word that are compared: the time grows with the square of them."""
MOST_BITS = 256
"""Size of the largest number that a message shows."""
LONGEST_MESSAGE = 700
"""Characters of a message for a person."""


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

    # Dashes, dots and case say nothing about which name was meant.
    names = {_bare(name): name for name in known}
    asked = _bare(word[:LONGEST_GUESSED])
    close: list[str] = []
    if len(asked) >= SHORTEST_BEGINNING:  # "llama3" begins llama-3.1-8b, and is like llama-2-13b
        close = sorted((name for name in names if name.startswith(asked)), key=len)
    close = close or difflib.get_close_matches(asked, names, n=1, cutoff=NEAR)
    if not close and len(asked) >= SHORTEST_PART:
        close = [name for name in names if asked in name]
    return f' Did you mean "{names[close[0]]}"?' if close else ""


def _bare(name: str) -> str:
    return "".join(sign for sign in name.lower() if sign not in "-._ ")


def quoted(value: object, most: int = 60) -> str:
    """A value of another's making for a sentence: on one line, without control characters, short.

    Takes a time and a memory that do not grow with the value, however its parts are nested: YAML
    writes a value of gigabytes in 400 bytes.
    """
    if isinstance(value, int) and value.bit_length() > MOST_BITS:
        return f"a number of {value.bit_length()} bits"  # Python writes none of 5,000 digits
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxother = 3, most, most
    short.maxlist = short.maxtuple = short.maxdict = short.maxset = short.maxfrozenset = 4
    if isinstance(value, dict):
        value = dict(islice(value.items(), short.maxdict + 1))  # reprlib would sort all keys
    try:
        text = short.repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= most else f"{text[: most - 1]}…"


def named(name: object) -> str:
    """A name that somebody gave, in double quotes, as by `quoted`."""
    text = quoted(name)
    return f'"{text[1:-1]}"' if isinstance(name, str) else text


def shortened(text: str, most: int = LONGEST_MESSAGE) -> str:
    """A text of at most ``most`` characters; a long one keeps its beginning and its end."""
    end = most // 3
    return text if len(text) <= most else f"{text[: most - end - 3]} … {text[-end:]}"


# The patterns are texts, which re compiles when a message is written: most calls write none.
_WORD = r"(?<!\w)'[^'\n]*'(?!\w)|(?<!\w)\"[^\"\n]*\"(?!\w)|\S+"
"""What stands in quotes is one word, because a password may hold a blank."""
_USER = r"(?<=\w)://([^/\s:@]*):"
_SETTING = (
    r"(?i)((?:\b|_)(?:(?:ssl|pg)?password|passwd|pwd|(?:hf|hub|access|auth|api|refresh)_?token"
    r"|(?:api|secret|access)_?key)[\"']?\s{0,2}[=:]\s{0,2})"
    r"(?:'[^'\n]*'|\"[^\"\n]*\"|[^&\s'\",;]+)"
)
_TOKEN = r"\b(?:hf_|sk-|ghp_|github_pat_)[A-Za-z0-9_-]{8,}"
"""Tokens that are known by how they begin."""


def without_passwords(text: str) -> str:
    """A text without the passwords and tokens in it, in a time that grows with its length alone.

    They are found in URLs, in settings such as ``PGPASSWORD='a b'``, and by how tokens begin.
    """
    text = re.sub(_WORD, _without_url_password, text)
    return re.sub(_TOKEN, "***", re.sub(_SETTING, r"\1***", text))


def _without_url_password(found: re.Match[str]) -> str:
    word = found[0]
    # A password may hold an @, so it reaches to the last one.
    end = word.rfind("@")
    user = re.search(_USER, word[:end]) if end > 0 else None
    return word if user is None else word[: user.end() - 1] + word[end:]
