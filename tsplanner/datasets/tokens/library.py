"""The library `tokenizers`, which reads a tokenizer.json."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tsplanner.datasets.tokens.rows import Encode
from tsplanner.errors import TsplannerError

FILE = "tokenizer.json"
SPACE = "\u0120"
"""How byte-level vocabularies write a space; they write ASCII letters as they are."""


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


def words_encoder(tokenizer: Any, plain: re.Pattern[str]) -> Callable[[list[str]], list[list[int]]]:
    """Encodes many words; ``plain`` matches those that the pattern leaves whole.

    The model alone encodes a plain word in a fifth of the time that the whole library takes.
    """
    model = tokenizer.model

    def encode(words: list[str]) -> list[list[int]]:
        rest = [word for word in words if not plain.fullmatch(word)]
        # The fast form keeps no offsets.
        found = iter(tokenizer.encode_batch_fast(rest, add_special_tokens=False))
        return [
            [token.id for token in model.tokenize(word.replace(" ", SPACE))]
            if plain.fullmatch(word)
            else next(found).ids
            for word in words
        ]

    return encode
