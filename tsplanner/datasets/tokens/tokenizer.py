"""Tokenisers of rows: by a tokenizer.json, or estimated from the characters."""

from __future__ import annotations

import importlib.util
import math
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsplanner.datasets.rendering.pieces import Piece
from tsplanner.datasets.tokens.cuts import EDGE_BYTE, Cuts, cuts_of
from tsplanner.datasets.tokens.library import (
    FILE,
    library_tokenizer,
    whole_encoder,
    words_encoder,
)
from tsplanner.datasets.tokens.rows import Encode, TokenRow, token_row

# English prose takes 4.2-4.7 characters per token with the Qwen and Llama vocabularies; 4.0 errs on
# the long side. Digits and characters outside ASCII are counted as one token each: Qwen splits
# numbers into digits, and one CJK character takes between half a token and two.
CHARACTERS_PER_TOKEN = 4.0
_DIGITS = b"0123456789"
UNKNOWN_ID = -1
"""Stands for the id of a token that was only counted."""

if TYPE_CHECKING:
    from tsplanner.datasets.tokens.words import WordTable

Pieces = Sequence[Piece]


def unknown_ids(count: int) -> array[int]:
    """Stands for ids that are not known, or that nobody asked for."""
    return array("i", [UNKNOWN_ID]) * count


class Tokenizer(ABC):
    """Makes token rows of rendered rows."""

    counted_by: str
    """``tokenizer`` or ``estimate``."""

    @abstractmethod
    def rows(self, rows: Sequence[Pieces], *, ids: bool = True) -> list[TokenRow]:
        """The tokens of each row, with those that carry loss; without ``ids`` only how many."""


class EstimatingTokenizer(Tokenizer):
    """Counts tokens by characters; the ids are not known."""

    counted_by = "estimate"

    def rows(self, rows: Sequence[Pieces], *, ids: bool = True) -> list[TokenRow]:
        """Rows of unknown ids."""
        return [self._row(row) for row in rows]

    @staticmethod
    def _row(pieces: Pieces) -> TokenRow:
        learned: list[tuple[int, int]] = []
        tokens = plain = single = 0
        for piece in pieces:
            in_fours, alone = _characters(piece.text)
            plain, single = plain + in_fours, single + alone
            begin, tokens = tokens, max(tokens, single + math.ceil(plain / CHARACTERS_PER_TOKEN))
            if piece.learned and piece.text:
                # A loss lies on one token at least, however short the text before it leaves it.
                tokens = max(tokens, begin + 1)
            if piece.learned and tokens > begin:
                if learned and learned[-1][1] == begin:
                    begin = learned.pop()[0]
                learned.append((begin, tokens))
        return TokenRow(ids=unknown_ids(tokens), learned=tuple(learned))


def estimated_tokens(text: str) -> int:
    """Tokens of a text, estimated from its characters."""
    plain, single = _characters(text)
    return single + math.ceil(plain / CHARACTERS_PER_TOKEN)


def _characters(text: str) -> tuple[int, int]:
    """Characters that stand together in tokens, and those that stand alone."""
    plain = len(text.encode("ascii", "ignore").translate(None, _DIGITS))
    return plain, len(text) - plain


class WholeTokenizer(Tokenizer):
    """Encodes every row as a whole."""

    counted_by = "tokenizer"

    def __init__(self, encode: Encode) -> None:
        self._encode = encode

    def rows(self, rows: Sequence[Pieces], *, ids: bool = True) -> list[TokenRow]:
        """One call of the tokenizer for each row."""
        return [token_row(row, self._encode) for row in rows]


class WordTokenizer(Tokenizer):
    """Encodes every word once, and gives the ids that the whole row would have."""

    counted_by = "tokenizer"

    def __init__(self, library: Any, cuts: Cuts) -> None:
        """``library``: a `tokenizers.Tokenizer`."""
        self._encode = whole_encoder(library)
        self._whole = WholeTokenizer(self._encode)
        self._cuts, self._words = cuts, words_encoder(library, cuts.plain)
        self._tokens_around = lru_cache(AROUND)(self._around)

    @cached_property
    def _table(self) -> WordTable:
        # A process that only forks workers takes no numpy.
        from tsplanner.datasets.tokens.words import WordTable

        return WordTable(self._cuts, self._words)

    def rows(self, rows: Sequence[Pieces], *, ids: bool = True) -> list[TokenRow]:
        """Rows in groups, so that the arrays stay in the processor's cache."""
        found: list[TokenRow] = []
        group = _Group()
        for row in rows:
            group.add(row)
            if len(group.data) > GROUP_BYTES:
                found += self._encoded(group, ids=ids)
                group = _Group()
        return [*found, *self._encoded(group, ids=ids)]

    def _encoded(self, group: _Group, *, ids: bool) -> Iterator[TokenRow]:
        # A group of many bytes is long for one row, and its arrays would take much memory.
        if len(group.data) > LONG_GROUP:
            yield from self._whole.rows(group.rows)
            return
        texts = bytes(group.data)
        encoded = self._table.encoded(texts, ids=ids)
        places = group.places
        begins, ends, before = encoded.words_at(places)
        # A loss that begins or ends inside a word begins with the token that holds its first
        # character, and ends with the one that holds its last.
        inside = [number for number, place in enumerate(places) if begins[number] != place]
        ended = {}
        for number in inside:
            word = texts[begins[number] : ends[number]]
            ended[number] = self._tokens_around(word, places[number] - begins[number])
        at = 0
        for count in group.counts:
            first, last = at, at + count - 1
            start = before[first]
            learned: list[tuple[int, int]] = []
            for number in range(first + 1, last, 2):
                low = before[number] + (ended[number][0] if number in ended else 0) - start
                high = before[number + 1] - start
                high += ended[number + 1][1] if number + 1 in ended else 0
                if learned and low <= learned[-1][1]:
                    learned[-1] = (learned[-1][0], high)
                elif high > low:
                    # NFC may draw a learned character into a token of what is before it.
                    learned.append((low, high))
            made = (
                unknown_ids(before[last] - start)
                if encoded.ids is None
                else array("i", encoded.ids[start : before[last]].tobytes())
            )
            yield TokenRow(ids=made, learned=tuple(learned))
            at += count

    def _around(self, word: bytes, place: int) -> tuple[int, int]:
        """Tokens of a word that end before a byte inside it, and those that begin before it."""
        _, offsets = self._encode(word.decode())
        character = len(word[:place].decode())
        ended = sum(end <= character for _, end in offsets)
        return ended, sum(start < character for start, _ in offsets)


AROUND = 4096
"""Words in which a loss begins or ends that are remembered."""
GROUP_BYTES = 1 << 18
"""Bytes of rows that are looked up together."""
LONG_GROUP = 1 << 20
"""Bytes for which the library itself is asked."""


class _Group:
    """The bytes of several rows, with an edge byte before and behind each."""

    def __init__(self) -> None:
        self.rows: list[Pieces] = []
        self.data = bytearray([EDGE_BYTE])
        self.places: list[int] = []
        """Of each row the byte where it begins, those where its loss begins and ends, its end."""
        self.counts: list[int] = []
        """Number of places of each row."""

    def add(self, row: Pieces) -> None:
        """Append a row."""
        texts = [piece.text for piece in row]
        whole = "".join(texts)
        data = whole.encode()
        plain = len(data) == len(whole)
        start = end = len(self.data)
        places = [start]
        for piece, text in zip(row, texts, strict=True):
            begin = end
            end += len(text) if plain else len(text.encode())
            if piece.learned and end > begin:
                # A piece that goes on with the loss of the last one makes no new range.
                if len(places) > 1 and places[-1] == begin:
                    places[-1] = end
                else:
                    places += (begin, end)
        places.append(end)
        self.rows.append(row)
        self.places += places
        self.counts.append(len(places))
        self.data += data
        self.data.append(EDGE_BYTE)


def tokenizer_of(folder: Path | None, *, by_words: bool) -> Tokenizer:
    """The tokenizer of a folder's tokenizer.json; without one, lengths are estimated.

    ``by_words``: many rows are to come, so that a table of words pays, which takes numpy.

    Raises TsplannerError: tokenizer.json is damaged.
    """
    library = library_tokenizer(folder)
    if folder is None or library is None:
        return EstimatingTokenizer()
    return tokenizer_over(library, (folder / FILE).read_bytes(), by_words=by_words)


def tokenizer_over(library: Any, document: bytes, *, by_words: bool = True) -> Tokenizer:
    """A tokenizer over a `tokenizers.Tokenizer` and the bytes of its tokenizer.json."""
    able = by_words and importlib.util.find_spec("numpy") is not None
    cuts = cuts_of(document) if able else None
    return WholeTokenizer(whole_encoder(library)) if cuts is None else WordTokenizer(library, cuts)
