"""Counting tokens: by pieces between digits, to the same number as by whole texts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.rows import conversation
from tsplanner.datasets.lengths.tokens import (
    PieceCounter,
    digits_stand_alone,
    estimated_tokens,
    tokenizer_counter,
)
from tsplanner.datasets.rendering.fixed import ChatTSRenderer
from tsplanner.datasets.rendering.pieces import joined

tokenizers = pytest.importorskip("tokenizers")

TINY = Path(__file__).resolve().parents[3] / "configs" / "models" / "tiny-chatts"
QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def with_pattern(folder: Path, pattern: str, **changes: object) -> Path:
    """Write tiny-chatts's tokenizer with another pattern."""
    document = json.loads((TINY / "tokenizer.json").read_text())
    document["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = pattern
    (folder / "tokenizer.json").write_text(json.dumps({**document, **changes}))
    return folder


@pytest.fixture(scope="module", params=["tiny-chatts's pattern", "Qwen's pattern and NFC"])
def folder(request, tmp_path_factory) -> Path:
    """Give a folder with a tokenizer.json whose digits stand alone."""
    if request.param.startswith("tiny"):
        return TINY
    target = tmp_path_factory.mktemp("qwen")
    return with_pattern(target, QWEN_PATTERN, normalizer={"type": "NFC"})


ACCENT = "\N{COMBINING ACUTE ACCENT}"
LATIN = ["  ", " ", "\n", "\r\n ", "\t", "12", "7", "-", "'s", "'ll", "offset=-", "|", ".", "Load"]
OTHER = ["\u3000", "é", f"e{ACCENT}", ACCENT, "²", "日本", "٣", "½", "<ts>", "<ts/>", "<|im_end|>"]
WORDS = st.sampled_from([*LATIN, *OTHER])
TEXTS = st.lists(st.lists(WORDS, max_size=24).map("".join), max_size=4)


@settings(deadline=None, max_examples=300)
@given(texts=TEXTS)
@example(texts=["a  5", "5  a", "  5  ", "5", "", "55", "x5\n\n5 's"])
def test_counting_pieces_gives_the_tokens_of_the_whole_text(folder, texts):
    """White space before a digit, accents, added tokens: the sum of the pieces is exact."""
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    counter = tokenizer_counter(folder)

    assert isinstance(counter, PieceCounter)
    assert counter(texts) == [
        len(tokenizer.encode(text, add_special_tokens=False).ids) for text in texts
    ]


@settings(deadline=None, max_examples=60)
@given(
    series=st.lists(
        st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=5).map(tuple), min_size=1, max_size=4
    )
)
def test_prefixes_of_series_are_counted_exactly(folder, series):
    """The text that a fast count is for."""
    row = conversation("Load <ts><ts/> " * len(series), "", tuple(series))
    text = joined(ChatTSRenderer().pieces(row))
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))

    (counted,) = tokenizer_counter(folder)([text])

    assert counted == len(tokenizer.encode(text, add_special_tokens=False).ids)


@pytest.mark.parametrize(
    "changes",
    [
        {"pattern": r"\p{N}{1,3}| ?[^\s\p{N}]+|\s+"},
        {"normalizer": {"type": "NFKC"}},
        {"normalizer": {"type": "Prepend", "prepend": "_"}},
        {"added_tokens": [{"id": 9, "content": "<|reserved_7|>"}]},
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}},
        {"pre_tokenizer": None},
    ],
)
def test_tokenizer_whose_digits_may_join_counts_whole_texts(tmp_path, changes):
    """Groups of three digits, other normalisers, tokens with digits: no short cut."""
    pattern = str(changes.pop("pattern", QWEN_PATTERN)) if "pattern" in changes else QWEN_PATTERN

    assert digits_stand_alone(with_pattern(tmp_path, QWEN_PATTERN) / "tokenizer.json")
    target = with_pattern(tmp_path, pattern, **changes)

    assert not digits_stand_alone(target / "tokenizer.json")


def test_pieces_are_forgotten_before_they_fill_memory(monkeypatch):
    """A dataset of prose between digits is counted all the same."""
    monkeypatch.setattr("tsplanner.datasets.lengths.tokens._MOST_CHARACTERS", 10)
    counter = PieceCounter(lambda texts: [len(text) for text in texts])

    assert counter(["1 abcdefghijklmnop 2"]) == [20]
    assert counter(["1 abcdefghijklmnop 2", "x"]) == [20, 1]


@pytest.mark.parametrize(
    ("text", "tokens"), [("", 0), ("abcd", 1), ("abcde", 2), ("12.5", 4), ("日本", 2)]
)
def test_estimated_tokens_counts_digits_and_foreign_letters_singly(text, tokens):
    """Four characters of English are one token, a digit or a Chinese character is one each."""
    assert tokens == estimated_tokens(text)
