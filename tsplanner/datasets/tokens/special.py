"""Special tokens of a tokenizer that stand in the words of a row, where they end or open turns."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import msgspec

from tsplanner.datasets.records import Conversation
from tsplanner.datasets.rows.checks import TS_END, TS_START
from tsplanner.datasets.tokens.library import FILE


class _Added(msgspec.Struct):
    """A token of tokenizer.json that is found in the text before it is cut into words."""

    content: str
    special: bool = False


class _Document(msgspec.Struct):
    """What is read of tokenizer.json."""

    added_tokens: list[_Added] = []


class SpecialTokens:
    """Finds special tokens in the turns of a row.

    A tokenizer makes a special token of its spelling wherever that stands, as transformers does. So
    a row that was written in the model's template before, or that quotes it, opens and ends turns
    inside of a turn.
    """

    def __init__(self, names: Iterable[str]) -> None:
        # The marks of series have a check of their own.
        found = sorted(name for name in names if name and name not in (TS_START, TS_END))
        # A pattern whose alternatives begin with the same character is searched ten times as fast.
        self._finds = [
            re.compile("|".join(map(re.escape, group))).search
            for _, group in groupby(found, key=itemgetter(0))
        ]

    def inside(self, row: Conversation) -> str:
        """The first special token in a turn; empty: there is none.

        A plain text has no template, and its special tokens are those that its author meant.
        """
        for turn in row.turns:
            for find in self._finds:
                if (found := find(turn.content)) is not None:
                    return found.group()
        return ""


def special_tokens(folder: Path | None) -> SpecialTokens:
    """The special tokens of the tokenizer.json of a folder; none, if it has no such file."""
    try:
        if folder is None:
            return SpecialTokens(())
        document = msgspec.json.decode((folder / FILE).read_bytes(), type=_Document)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return SpecialTokens(())
    return SpecialTokens(each.content for each in document.added_tokens if each.special)
