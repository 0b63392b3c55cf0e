"""Where a text may be cut into words that a tokenizer encodes one by one, to the same ids.

A byte-level BPE tokenizer first cuts a text by a pattern, and merges no tokens across those cuts.
The patterns in use are few. For each of them a cut is certain at places that four bytes tell: the
two before it and the two after it, which are three pairs. Elsewhere words stay together, which
costs time but no ids.
"""

from __future__ import annotations

import re
from enum import IntEnum, IntFlag
from functools import cache
from itertools import product
from typing import Any

import msgspec

from memory_models.frozen import frozen


class Kind(IntEnum):
    """What a byte of UTF-8 stands for, as far as the patterns care."""

    EDGE = 0
    """The end of a text, or a byte of an added token."""
    LETTER = 1
    """An ASCII letter."""
    DIGIT = 2
    """An ASCII digit."""
    SPACE = 3
    NEWLINE = 4
    BLANK = 5
    """A byte of any other white space."""
    SIGN = 6
    """Any other ASCII character."""
    APOSTROPHE = 7
    SLASH = 8
    OTHER = 9
    """A byte of a character outside ASCII."""
    LEAD = 10
    """The first byte of a character outside ASCII that may be white space."""


KINDS = len(Kind)


class Says(IntFlag):
    """What a pair of neighbouring bytes allows; a cut needs all three of the pairs around it."""

    MIDDLE = 1
    """A cut between the two."""
    BEFORE = 2
    """A cut before the first of them."""
    BEHIND = 4
    """A cut behind the second of them."""


WHITE = frozenset({Kind.SPACE, Kind.NEWLINE, Kind.BLANK})
EDGE_BYTE = 0xFF
"""A byte that UTF-8 never uses; it stands between texts."""
WHITE_OUTSIDE_ASCII = tuple(
    chr(code).encode()
    for code in (0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000)
)
r"""White space as Unicode defines it, which is what ``\s`` means in the patterns."""


@frozen
class Pattern:
    """What is certain of one pattern."""

    last_space: bool = True
    """Of several blanks the last space goes to the word behind it; False: a run stays whole."""
    line_ends: bool = True
    """A run of line ends is cut off from what follows; False: only a single one is."""
    words_end: bool = True
    """A sign ends a word of letters; an apostrophe does so, too, unless ``apostrophes`` is off."""
    apostrophes: bool = True
    single_digits: bool = False
    """Every digit stands alone; False: a run of digits is cut off from letters and signs."""


GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*"
    r"|\s*[\r\n]|\s+(?!\S)|\s+"
)
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_O200K = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_SHORT}"
    rf"|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_SHORT}"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PATTERNS = {
    GPT2: Pattern(line_ends=False),
    _QWEN: Pattern(single_digits=True),
    # Llama 3 and others write cl100k's pattern with groups of three digits in Qwen's words.
    _QWEN.replace(r"|\p{N}|", r"|\p{N}{1,3}|"): Pattern(),
    _CL100K: Pattern(),
    _O200K: Pattern(apostrophes=False),
    # tiny-chatts
    r"\p{N}| ?[^\s\p{N}]+|\s+": Pattern(
        last_space=False, line_ends=False, words_end=False, single_digits=True
    ),
}
"""What is certain of the patterns of GPT-2, Qwen 2 and 3, Llama 3, cl100k, o200k, tiny-chatts."""


class _TokenizerFile(msgspec.Struct):
    """The fields of a tokenizer.json that decide where a text may be cut."""

    class Model(msgspec.Struct):
        """The decoder skips the vocabulary and the merges."""

        type: str | None = None
        dropout: float | None = None

    model: Model
    pre_tokenizer: dict[str, Any] | None = None
    normalizer: dict[str, Any] | None = None
    added_tokens: list[dict[str, Any]] = []


@frozen
class Cuts:
    """Where a tokenizer's texts may be cut."""

    pairs: bytes
    """What two neighbouring bytes say of a cut (`Says`), by ``first * KINDS + second``."""
    added: re.Pattern[bytes] | None
    """Finds the added tokens, which the tokenizer looks for before anything else; None: none."""


def cuts_of(document: bytes) -> Cuts | None:
    """Where texts may be cut, by the bytes of a tokenizer.json; None: nothing is certain.

    Besides the pattern, nothing may look over a cut. NFC joins no character with one of ASCII white
    space before it, and all cuts lie beside ASCII. An added token must be found as it is written:
    not only between words, and not with the white space around it.
    """
    try:
        found = msgspec.json.decode(document, type=_TokenizerFile)
    except msgspec.MsgspecError:
        return None
    pattern = PATTERNS.get(_pattern_of(found.pre_tokenizer or {}) or "")
    if (
        pattern is None
        or found.model.type not in ("BPE", None)
        or found.model.dropout
        or found.normalizer not in (None, {"type": "NFC"})
        or not all(_as_written(token, found.normalizer) for token in found.added_tokens)
    ):
        return None
    return Cuts(pairs=_pairs(pattern), added=_finder(found.added_tokens))


def _pattern_of(step: dict[str, Any]) -> str | None:
    """The pattern of a pre-tokenizer that only cuts by it and writes bytes as characters."""
    first, *rest = step.get("pretokenizers") or [step]
    if first.get("type") == "ByteLevel" and not rest:
        plain = first.get("use_regex", True) and not first.get("add_prefix_space")
        return GPT2 if plain else None
    if (
        first.get("type") != "Split"
        or first.get("behavior") != "Isolated"
        or first.get("invert")
        or [each.get("type") for each in rest] not in ([], ["ByteLevel"])
        or any(each.get("use_regex", True) or each.get("add_prefix_space") for each in rest)
    ):
        return None
    found = (first.get("pattern") or {}).get("Regex")
    return found if isinstance(found, str) else None


def _as_written(token: dict[str, Any], normalizer: dict[str, Any] | None) -> bool:
    looks_around = token.get("lstrip") or token.get("rstrip") or token.get("single_word")
    changed = token.get("normalized") and normalizer is not None
    return bool(token.get("content")) and not looks_around and not changed


def _finder(tokens: list[dict[str, Any]]) -> re.Pattern[bytes] | None:
    """Finds the longest added token at each place, as the tokenizer does."""
    texts = sorted((str(token["content"]) for token in tokens), key=len, reverse=True)
    return re.compile(b"|".join(re.escape(text.encode()) for text in texts)) if texts else None


@cache
def _pairs(pattern: Pattern) -> bytes:
    said = bytes(_said(pattern, first, second) for first, second in product(Kind, repeat=2))
    return said.ljust(256, b"\0")


def _said(pattern: Pattern, first: Kind, second: Kind) -> int:
    """What a pair says of a cut before it, in its middle and behind it."""
    says = Says(0)
    if first is not Kind.SPACE or second not in WHITE | {Kind.EDGE}:
        says |= Says.BEFORE
    if second is not Kind.NEWLINE or pattern.line_ends or first not in WHITE:
        says |= Says.BEHIND
    return says | Says.MIDDLE if _is_cut(pattern, first, second) else says


def _is_cut(pattern: Pattern, first: Kind, second: Kind) -> bool:
    """Whether there is a cut between two kinds, if what lies around them allows it."""
    if Kind.EDGE in (first, second):
        return True
    if second is Kind.SPACE:
        return pattern.last_space or first not in WHITE
    if second in WHITE:
        return False
    if first is Kind.NEWLINE:
        # o200k's signs take slashes with them that follow their line ends.
        return second is not Kind.SLASH
    if first in WHITE or first >= Kind.OTHER or second >= Kind.OTHER:
        return False
    if second is Kind.DIGIT:
        return first is not Kind.DIGIT or pattern.single_digits
    if first is Kind.DIGIT:
        return True
    if first is not Kind.LETTER or second is Kind.LETTER or not pattern.words_end:
        return False
    return second is not Kind.APOSTROPHE or pattern.apostrophes


def kinds() -> bytes:
    """The kind of each of the 256 bytes; a LEAD is OTHER unless white space begins with it."""
    return bytes(_kind(byte) for byte in range(256))


def _kind(byte: int) -> Kind:
    if byte == EDGE_BYTE:
        return Kind.EDGE
    if byte >= 0x80:
        leads = {white[0] for white in WHITE_OUTSIDE_ASCII}
        return Kind.LEAD if byte in leads else Kind.OTHER
    character = chr(byte)
    if character.isalpha():
        return Kind.LETTER
    if character.isdigit():
        return Kind.DIGIT
    named = {" ": Kind.SPACE, "\n": Kind.NEWLINE, "'": Kind.APOSTROPHE, "/": Kind.SLASH}
    # Python counts four control characters as white space that Unicode and the patterns do not.
    return named.get(character, Kind.BLANK if character in "\t\r\v\f" else Kind.SIGN)
