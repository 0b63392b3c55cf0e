"""The number of tokens of texts, by a tokenizer.json or estimated from the characters."""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from tsplanner.errors import TsplannerError

# English prose takes 4.2-4.7 characters per token with the Qwen and Llama vocabularies; 4.0 errs on
# the long side. Digits and characters outside ASCII are counted as one token each: Qwen splits
# numbers into digits, and one CJK character takes between half a token and two.
CHARACTERS_PER_TOKEN = 4.0

_DIGITS = b"0123456789"

TokenCounter = Callable[[list[str]], list[int]]


def estimated_tokens(text: str) -> int:
    """Tokens of a text, estimated from its characters."""
    plain = text.encode("ascii", "ignore").translate(None, _DIGITS)
    return len(text) - len(plain) + math.ceil(len(plain) / CHARACTERS_PER_TOKEN)


def estimated_counter(texts: list[str]) -> list[int]:
    """`estimated_tokens` of every text."""
    return [estimated_tokens(text) for text in texts]


def tokenizer_counter(folder: Path | None) -> TokenCounter | None:
    """Counts with the folder's tokenizer.json; None where the file or the library is missing.

    Raises TsplannerError: tokenizer.json is damaged.
    """
    if folder is None or not (folder / "tokenizer.json").is_file():
        return None
    try:
        library = importlib.import_module("tokenizers")
    except ImportError:
        return None
    try:
        tokenizer = library.Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # the library raises bare Exception
        raise TsplannerError(
            f"{folder / 'tokenizer.json'} cannot be read ({error}); fetch the file again"
        ) from error
    # A tokenizer.json may ask for truncation and padding, which would hide the rows' own lengths.
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def count(texts: list[str]) -> list[int]:
        # The fast form keeps no offsets into the text; only the count is wanted.
        return [len(e.ids) for e in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    # The count by pieces takes one token for each digit, so the vocabulary must have all ten.
    digits_known = all(tokenizer.token_to_id(digit) is not None for digit in "0123456789")
    alone = digits_known and digits_stand_alone(folder / "tokenizer.json")
    return PieceCounter(count) if alone else count


# Under these patterns every digit is a token: those of Qwen 2 to 3 (and of ChatTS), and the one of
# tiny-chatts.
_ALONE = frozenset(
    {
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+",
        r"\p{N}| ?[^\s\p{N}]+|\s+",
    }
)
_DIGITS_RUN = re.compile("[0-9]+")
_MOST_CHARACTERS = 2_000_000
"""Characters of all pieces in the cache of counts; a full cache is emptied."""


class _TokenizerFile(msgspec.Struct):
    """The fields of a tokenizer.json that are read; the decoder skips the large vocabulary."""

    pre_tokenizer: dict[str, Any] | None = None
    normalizer: dict[str, Any] | None = None
    added_tokens: list[dict[str, Any]] = []


def digits_stand_alone(file: Path) -> bool:
    """Whether a text may be cut at its digits and counted piece by piece, by a tokenizer.json.

    Three conditions must hold: the pattern makes every digit a token; nothing runs before the
    pattern except NFC, which joins no character with a digit; and no added token holds a digit,
    because the tokenizer looks for added tokens first.
    """
    try:
        found = msgspec.json.decode(file.read_bytes(), type=_TokenizerFile)
    except (OSError, msgspec.MsgspecError):
        return False
    steps = found.pre_tokenizer or {}
    split, *rest = steps.get("pretokenizers") or [steps]
    return (
        split.get("type") == "Split"
        and split.get("behavior") == "Isolated"
        and not split.get("invert")
        and (split.get("pattern") or {}).get("Regex") in _ALONE
        and [step.get("type") for step in rest] in ([], ["ByteLevel"])
        and not any(step.get("use_regex") or step.get("add_prefix_space") for step in rest)
        and found.normalizer in (None, {"type": "NFC"})
        and not any(_DIGITS_RUN.search(str(t.get("content"))) for t in found.added_tokens)
    )


class PieceCounter:
    """Counts each piece of text between digits once: prefixes of series differ only in digits.

    A piece is counted together with a neighbouring digit, because what follows white space decides
    how the tokenizer cuts it. Each digit is one token.
    """

    def __init__(self, count: TokenCounter) -> None:
        self._count = count
        """Counts whole texts."""
        self._known: dict[str, int] = {"": 0}
        self._characters = 0

    def __call__(self, texts: list[str]) -> list[int]:
        """Tokens of each text."""
        cut = [_DIGITS_RUN.split(text) for text in texts]
        known = self._known
        new = list({piece for pieces in cut for piece in pieces[1:-1]} - known.keys())
        asked = [f"0{piece}0" for piece in new]
        for pieces in cut:
            asked += pieces if len(pieces) == 1 else (f"{pieces[0]}0", f"0{pieces[-1]}")
        counts = iter(self._count(asked))
        for piece in new:
            known[piece] = next(counts) - 2
        totals = []
        for text, pieces in zip(texts, cut, strict=True):
            total = next(counts)
            if len(pieces) > 1:
                # The first and the last piece were counted with one digit each. What the pieces
                # lack of the text are its digits, each one token.
                total += next(counts) - 2 + len(text) - sum(map(len, pieces))
                total += sum(map(known.__getitem__, pieces[1:-1]))
            totals.append(total)
        self._characters += sum(map(len, new))
        if self._characters > _MOST_CHARACTERS:
            self._known, self._characters = {"": 0}, 0
        return totals
