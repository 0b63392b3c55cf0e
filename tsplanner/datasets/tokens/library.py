"""The library `tokenizers`, which reads a tokenizer.json."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tsplanner.datasets.tokens.rows import Encode
from tsplanner.errors import TsplannerError

FILE = "tokenizer.json"


def library_tokenizer(folder: Path | None) -> Any | None:
    """The tokenizer of a folder; None where the file or the library is missing.

    Raises TsplannerError: tokenizer.json is damaged.
    """
    if folder is None or not (folder / FILE).is_file():
        return None
    try:
        library = importlib.import_module("tokenizers")
    except ImportError:
        return None
    try:
        found = library.Tokenizer.from_file(str(folder / FILE))
    except Exception as error:  # the library raises bare Exception
        raise TsplannerError(
            f"{folder / FILE} cannot be read ({error}); fetch the file again"
        ) from error
    return prepared(found)


def prepared(tokenizer: Any) -> Any:
    """A tokenizer that gives all tokens of a text, and nothing else.

    A tokenizer.json may ask for truncation and padding, which would hide the rows' own lengths, and
    for offsets without the white space of a token, which would hide what the token holds.
    """
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.post_processor = None
    return tokenizer


def whole_encoder(tokenizer: Any) -> Encode:
    """Encodes a whole text, with the characters that each token covers."""

    def encode(text: str) -> tuple[Sequence[int], Sequence[tuple[int, int]]]:
        found = tokenizer.encode(text, add_special_tokens=False)
        return found.ids, found.offsets

    return encode


def words_encoder(tokenizer: Any) -> Callable[[list[str]], list[list[int]]]:
    """Encodes many words; the fast form keeps no offsets."""

    def encode(words: list[str]) -> list[list[int]]:
        found = tokenizer.encode_batch_fast(words, add_special_tokens=False)
        return [each.ids for each in found]

    return encode
