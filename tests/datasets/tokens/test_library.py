"""What is asked of the library `tokenizers`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.tokenizer_files import byte_level, saved
from tsplanner.datasets.tokens.cuts import PATTERNS, cuts_of
from tsplanner.datasets.tokens.library import (
    library_tokenizer,
    prepared,
    whole_encoder,
    words_encoder,
)

pytest.importorskip("tokenizers")


def test_a_folder_without_a_tokenizer_has_none(tmp_path: Path) -> None:
    """Lengths are estimated there."""
    assert library_tokenizer(None) is None
    assert library_tokenizer(tmp_path) is None


def test_truncation_padding_and_trimmed_offsets_are_turned_off(tmp_path: Path) -> None:
    """A tokenizer.json may ask for all three; all eight bytes and the space of a word count."""
    from tokenizers.processors import ByteLevel

    asked = byte_level(vocabulary=256)
    asked.enable_truncation(4)
    asked.enable_padding(length=32)
    asked.post_processor = ByteLevel(trim_offsets=True)
    read = library_tokenizer(saved(asked, tmp_path))
    ids, offsets = whole_encoder(read)("abc defg")
    assert len(ids) == 8
    assert offsets[3] == (3, 4)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_plain_words_have_the_ids_that_the_whole_library_gives(pattern: str) -> None:
    """The model alone encodes them; other words take the usual way."""
    library = prepared(byte_level(pattern))
    cuts = cuts_of(library.to_str().encode())
    assert cuts is not None
    words = [
        " Load",
        "valve",
        ".close",
        " (",
        "...",
        "'s",
        "12",
        "水泵",
        " ABC",
        "",
        "'start",
        "aB",
    ]
    own = whole_encoder(library)
    assert words_encoder(library, cuts.plain)(words) == [list(own(word)[0]) for word in words]
    assert words_encoder(library, re.compile("(?!)"))(words) == [
        list(own(word)[0]) for word in words
    ]
