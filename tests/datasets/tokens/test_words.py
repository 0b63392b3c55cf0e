"""The table of words: what it holds, how it grows, and that it is bounded."""

from __future__ import annotations

import pytest

np = pytest.importorskip("numpy")
pytest.importorskip("tokenizers")

from tests.support.tokenizer_files import byte_level  # noqa: E402
from tsplanner.datasets.tokens import words as module  # noqa: E402
from tsplanner.datasets.tokens.cuts import cuts_of  # noqa: E402
from tsplanner.datasets.tokens.words import WordTable  # noqa: E402


def table(asked: list[list[str]]) -> WordTable:
    """A table whose words have as many tokens as characters; ``asked`` gets what is encoded."""
    cuts = cuts_of(byte_level().to_str().encode())
    assert cuts is not None

    def encode(words: list[str]) -> list[list[int]]:
        asked.append(sorted(words))
        return [[ord(character) for character in word] for word in words]

    return WordTable(cuts, encode)


def test_a_word_is_encoded_once() -> None:
    """Two texts of the same words: the second one asks for none."""
    asked: list[list[str]] = []
    made = table(asked)
    first = made.encoded(b"\xffab cd\xffcd\xff")
    assert bytes(first.ids.astype(np.uint8)) == b"ab cdcd"
    assert asked == [["", " cd", "ab", "cd"]]
    made.encoded(b"\xffab cd cd\xff")
    assert len(asked) == 1


def test_tokens_are_known_before_every_word() -> None:
    """Words begin at the bytes 0, 1, 3, 6 and 7; an edge byte has no token."""
    found = table([]).encoded(b"\xffab cd\xffe\xff")
    assert found.words.tolist() == [0, 1, 3, 6, 7, 8]
    assert found.before.tolist() == [0, 0, 2, 5, 5, 6]
    assert found.words_at([4, 7]) == ([3, 7], [6, 8], [2, 5])


def test_many_words_grow_the_table_and_stay_known() -> None:
    """Forty thousand words, more than the first slots hold."""
    asked: list[list[str]] = []
    made = table(asked)
    text = " ".join(f"{chr(97 + n % 26)}{'xyz'[n % 3]}q{n}" for n in range(40_000)).encode()
    first = made.encoded(b"\xff" + text + b"\xff")
    again = made.encoded(b"\xff" + text + b"\xff")
    assert len(asked) == 1
    assert bytes(again.ids.astype(np.uint8)) == bytes(first.ids.astype(np.uint8)) == text


def test_a_full_table_is_emptied_and_filled_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its memory is bounded."""
    monkeypatch.setattr(module, "MOST_WORDS", 4)
    asked: list[list[str]] = []
    made = table(asked)
    for text in (b"a b", b"c d", b"a b"):
        found = made.encoded(b"\xff" + text + b"\xff")
        assert bytes(found.ids.astype(np.uint8)) == text
    assert len(asked) == 3
