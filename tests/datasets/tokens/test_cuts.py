"""Where a text may be cut: known patterns alone, and nothing that looks over a cut."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.tokenizer_files import byte_level
from tsplanner.datasets.tokens.cuts import KINDS, PATTERNS, Cuts, Kind, Says, cuts_of, kinds

pytest.importorskip("tokenizers")

QWEN = next(text for text, pattern in PATTERNS.items() if pattern.single_digits)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """A tokenizer.json with Qwen's pattern."""
    found: dict[str, Any] = json.loads(byte_level(QWEN, nfc=True).to_str())
    return found


def cuts(document: dict[str, Any], **changes: Any) -> Cuts | None:
    """The cuts of a changed tokenizer.json."""
    return cuts_of(json.dumps({**document, **changes}).encode())


def certain(found: Cuts, a: Kind, b: Kind, c: Kind, d: Kind) -> bool:
    """Whether a cut is certain between ``b`` and ``c``."""
    says = [Says(found.pairs[first * KINDS + second]) for first, second in ((a, b), (b, c), (c, d))]
    if Says.SURE in says[1]:
        return True
    return Says.BEHIND in says[0] and Says.MIDDLE in says[1] and Says.BEFORE in says[2]


def test_words_are_cut_before_their_space_and_after_line_ends(document) -> None:
    r"""`a b`, `a\nb`, `a1`, `11`, `a.` and ` (a` have a cut; `ab`, `a(a` and `é1` have none."""
    found = cuts(document)
    assert found is not None
    letter, space, line_end, digit = Kind.LETTER, Kind.SPACE, Kind.NEWLINE, Kind.DIGIT
    assert certain(found, letter, letter, space, letter)
    assert certain(found, letter, line_end, letter, letter)
    assert certain(found, letter, letter, digit, letter)
    assert certain(found, letter, digit, digit, letter)
    assert certain(found, letter, letter, Kind.SIGN, letter)
    assert certain(found, letter, letter, space, line_end)
    assert certain(found, space, Kind.SIGN, letter, letter)
    assert not certain(found, letter, letter, letter, letter)
    assert not certain(found, letter, space, space, line_end)
    assert not certain(found, letter, Kind.SIGN, letter, letter)
    assert not certain(found, letter, Kind.OTHER, digit, letter)


def test_digits_stay_together_where_the_pattern_counts_them() -> None:
    """GPT-2 and Llama 3 write several digits in one token."""
    for text, pattern in PATTERNS.items():
        if not pattern.single_digits:
            found = cuts_of(byte_level(text).to_str().encode())
            assert found is not None
            assert not certain(found, Kind.SIGN, Kind.DIGIT, Kind.DIGIT, Kind.SIGN)
            assert certain(found, Kind.SIGN, Kind.DIGIT, Kind.SIGN, Kind.SIGN)


def test_added_tokens_are_found_by_the_longest(document) -> None:
    """`<ts/>` begins like `<ts>`, and `<|im|>` like `<|im_end|>`."""
    found = cuts(document)
    assert found is not None
    assert found.added is not None
    text = b"<ts><ts/>x<|im_end|><|im_x"
    assert [match.group() for match in found.added.finditer(text)] == [
        b"<ts>",
        b"<ts/>",
        b"<|im_end|>",
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"normalizer": {"type": "NFKC"}},
        {"normalizer": {"type": "Prepend", "prepend": "_"}},
        {"added_tokens": [{"id": 9, "content": "<x>", "lstrip": True}]},
        {"added_tokens": [{"id": 9, "content": "<x>", "single_word": True}]},
        {"added_tokens": [{"id": 9, "content": "<x>", "normalized": True}]},
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}},
        {"pre_tokenizer": {"type": "Metaspace", "replacement": "_", "prepend_scheme": "first"}},
        {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": r"\w+"}, "behavior": "Isolated"}},
        {"pre_tokenizer": None},
        {"model": {"type": "Unigram"}},
        {"model": {"type": "BPE", "dropout": 0.1}},
        {"model": None},
    ],
)
def test_nothing_is_certain_of_other_tokenizers(document, changes) -> None:
    """Other normalisers, patterns and models may look over a cut."""
    assert cuts(document) is not None
    assert cuts(document, **changes) is None


def test_kinds_follow_unicode_and_not_python() -> None:
    """Python counts the separators 0x1c to 0x1f as white space; Unicode does not."""
    found = kinds()
    assert found[ord(" ")] == Kind.SPACE
    assert found[ord("\r")] == Kind.BLANK
    assert found[0x1C] == Kind.SIGN
    assert found["é".encode()[0]] == Kind.OTHER
    assert found["\u2028".encode()[0]] == Kind.LEAD
