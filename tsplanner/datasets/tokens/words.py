"""A table from words to token ids, looked up for all words of many texts at once.

Most words of a text have been seen before, so a row costs a look into the table for each of its
words and not a run of the tokenizer. All steps are array operations; only new words are encoded.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np

from memory_models.frozen import frozen
from tsplanner.datasets.tokens.cuts import (
    EDGE_BYTE,
    KINDS,
    WHITE_OUTSIDE_ASCII,
    Cuts,
    Kind,
    Says,
    kinds,
)

Array = np.ndarray[Any, np.dtype[Any]]
EncodeWords = Callable[[list[str]], list[list[int]]]

FIRST_SLOTS = 1 << 14
MOST_WORDS = 600_000
"""Words in a full table, which is emptied: 20 MiB with their slots, besides 4 bytes per id."""
MOST_IDS = 3_000_000
"""Token ids of all words in a full table."""
_COUNT_BITS = 24
_WHITE_CODES = {
    size: np.array(
        sorted(int.from_bytes(white) for white in WHITE_OUTSIDE_ASCII if len(white) == size),
        np.uint32,
    )
    for size in (2, 3)
}


@frozen
class Encoded:
    """The tokens of texts that lie behind each other with an edge byte before and behind each."""

    ids: Array | None
    """Token ids, int32 [tokens]; None: they were not asked for."""
    words: Array
    """Byte at which each word begins, int64 [words]; ascending."""
    before: Array
    """Tokens before each word, int64 [words]."""

    def words_at(self, places: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
        """Of the word that holds each byte: where it begins and ends, and the tokens before it."""
        found = np.searchsorted(self.words, np.asarray(places, np.int64), side="right") - 1
        ends = self.words[np.minimum(found + 1, len(self.words) - 1)]
        return self.words[found].tolist(), ends.tolist(), self.before[found].tolist()


class WordTable:
    """Token ids of words by a 64-bit hash of their bytes.

    Two of a million words have the same hash with a chance of 1 to 40 million.
    """

    def __init__(self, cuts: Cuts, encode_words: EncodeWords) -> None:
        self._encode_words = encode_words
        self._added = cuts.added
        self._kinds, self._pairs = kinds(), cuts.pairs
        draw = random.Random(2026)
        self._factor = draw.getrandbits(64) | 1
        self._bytes = np.array([draw.getrandbits(64) for _ in range(256)], np.uint64)
        self._powers = self._inverses = np.ones(0, np.uint64)
        self._empty()

    def _empty(self) -> None:
        self._hashes = np.zeros(FIRST_SLOTS, np.uint64)
        self._places = np.zeros(FIRST_SLOTS, np.int64)
        """Place in the pool and number of ids, in one number."""
        self._pool = np.zeros(1 << 12, np.int32)
        self._words = self._ids = 0

    def encoded(self, texts: bytes, *, ids: bool = True) -> Encoded:
        """Tokens of the texts in ``texts``, which begins and ends with an edge byte."""
        data = np.frombuffer(texts, np.uint8)
        begins = self._word_starts(data, texts)
        hashes = self._word_hashes(data, begins)
        slots, known = self._slots(hashes)
        if not known.all():
            self._learn(texts, begins, hashes, np.flatnonzero(~known))
            slots, _ = self._slots(hashes)
        places = self._places[slots]
        counts = places & ((1 << _COUNT_BITS) - 1)
        ends = np.cumsum(counts)
        before = ends - counts
        if not ids:
            return Encoded(ids=None, words=begins, before=before)
        sources = np.repeat((places >> _COUNT_BITS) - before, counts)
        sources += np.arange(len(sources))
        return Encoded(ids=self._pool[sources], words=begins, before=before)

    def _word_starts(self, data: Array, texts: bytes) -> Array:
        """Bytes before which a cut is certain, ascending."""
        kind = np.frombuffer(bytearray(texts.translate(self._kinds)), np.uint8)
        self._mark_white(kind, data)
        edges, inner = self._mark_added(kind, texts)
        codes = kind[:-1] * np.uint8(KINDS)
        codes += kind[1:]
        # Translating bytes is much faster than an array as an index.
        says = np.frombuffer(codes.tobytes().translate(self._pairs), np.uint8)
        cut = np.zeros(len(data), np.bool_)
        cut[1:] = says & Says.SURE
        cut[2:-1] |= ((says[1:-1] >> 1) & (says[2:] >> 2) & (says[:-2] >> 3) & 1) == 1
        cut[edges] = True
        cut[inner] = False
        return np.flatnonzero(cut)

    @staticmethod
    def _mark_white(kind: Array, data: Array) -> None:
        """Set the kind of the bytes of white space outside ASCII."""
        leads = np.flatnonzero(kind == Kind.LEAD)
        if not len(leads):
            return
        kind[leads] = Kind.OTHER
        # An edge byte ends the texts, so two bytes follow every first byte of two or more.
        first, second, third = (data[leads + place].astype(np.uint32) for place in range(3))
        for size, code in ((2, first << 8 | second), (3, first << 16 | second << 8 | third)):
            known = _WHITE_CODES[size]
            near = known[np.searchsorted(known, code) % len(known)]
            white = leads[near == code]
            for place in range(size):
                kind[white + place] = Kind.BLANK

    def _mark_added(self, kind: Array, texts: bytes) -> tuple[Array, Array]:
        """Set the kind of the bytes of added tokens.

        Gives the bytes that follow a token or an edge byte or begin one, and those inside a token.
        """
        breaks = np.flatnonzero(kind == Kind.EDGE)
        spans = [match.span() for match in self._added.finditer(texts)] if self._added else []
        if not spans:
            return np.concatenate((breaks, breaks[:-1] + 1)), np.zeros(0, np.int64)
        first, end = np.fromiter(chain.from_iterable(spans), np.int64).reshape(-1, 2).T
        sizes = end - first
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        places = np.repeat(first, sizes) + within
        kind[places] = Kind.EDGE
        return np.concatenate((breaks, breaks[:-1] + 1, first, end)), places[within > 0]

    def _word_hashes(self, data: Array, begins: Array) -> Array:
        """A polynomial of each word's bytes, modulo 2**64, from sums over the whole text."""
        self._grow_powers(len(data))
        terms = self._bytes[data]
        terms *= self._powers[: len(data)]
        sums = np.zeros(len(data) + 1, np.uint64)
        np.cumsum(terms, out=sums[1:])
        found: Array = sums[np.append(begins[1:], len(data))] - sums[begins]
        found *= self._inverses[begins]
        found |= np.uint64(1)  # an empty slot holds 0
        return found

    def _grow_powers(self, length: int) -> None:
        """Powers of the factor and of its inverse, for texts of ``length`` bytes."""
        if len(self._powers) < length:
            room = 1 << (length - 1).bit_length()
            self._powers = _powers(self._factor, room)
            self._inverses = _powers(pow(self._factor, -1, 1 << 64), room)

    def _slots(self, hashes: Array) -> tuple[Array, Array]:
        """The slot of each hash, or the empty one where it belongs; and whether it was there."""
        size = len(self._hashes)
        slots = (hashes >> np.uint64(65 - size.bit_length())).astype(np.int64)
        held = self._hashes[slots]
        other = np.flatnonzero(held != hashes)
        while len(other := other[held[other] != 0]):
            slots[other] = (slots[other] + 1) & (size - 1)
            held[other] = self._hashes[slots[other]]
            other = other[held[other] != hashes[other]]
        return slots, held == hashes

    def _learn(self, texts: bytes, begins: Array, hashes: Array, unknown: Array) -> None:
        """Encode the words that are not in the table."""
        if self._words + len(unknown) > MOST_WORDS or self._ids > MOST_IDS:
            self._empty()
            unknown = np.arange(len(hashes))
        new, first = np.unique(hashes[unknown], return_index=True)
        places = unknown[first]
        ends = np.append(begins[1:], len(texts))[places].tolist()
        words = [texts[begin:end] for begin, end in zip(begins[places].tolist(), ends, strict=True)]
        found = self._encode_words(
            ["" if word[0] == EDGE_BYTE else word.decode() for word in words]
        )
        self._words += len(new)
        self._grow_slots()
        self._put(new, found)

    def _grow_slots(self) -> None:
        """Keep at least half of the slots empty."""
        size = len(self._hashes)
        if 2 * self._words <= size:
            return
        held = self._hashes != 0
        hashes, places = self._hashes[held], self._places[held]
        size = 1 << (2 * self._words).bit_length()
        self._hashes, self._places = np.zeros(size, np.uint64), np.zeros(size, np.int64)
        self._claim(hashes, places)

    def _put(self, hashes: Array, ids: list[list[int]]) -> None:
        counts = np.array([len(each) for each in ids], np.int64)
        end = self._ids + int(counts.sum())
        if end > len(self._pool):
            grown = np.zeros(1 << end.bit_length(), np.int32)
            grown[: self._ids] = self._pool[: self._ids]
            self._pool = grown
        self._pool[self._ids : end] = [token for each in ids for token in each]
        starts = self._ids + np.cumsum(counts) - counts
        self._ids = end
        self._claim(hashes, starts << _COUNT_BITS | counts)

    def _claim(self, hashes: Array, places: Array) -> None:
        """Write new hashes into empty slots; of several that want one slot, one gets it."""
        left = np.arange(len(hashes))
        while len(left):
            slots, _ = self._slots(hashes[left])
            self._hashes[slots] = hashes[left]
            won = self._hashes[slots] == hashes[left]
            self._places[slots[won]] = places[left[won]]
            left = left[~won]


def _powers(factor: int, count: int) -> Array:
    found = np.full(count, factor, np.uint64)
    found[0] = 1
    np.multiply.accumulate(found, out=found)
    return found
