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
    """What a pair of neighbouring bytes says of cuts; the last three need each other."""

    SURE = 1
    """There is a cut between the two, whatever lies around them."""
    MIDDLE = 2
    """There is one between the two, if the pair before and the pair behind allow it."""
    BEFORE = 4
    """There may be one before the first of them."""
    BEHIND = 8
    """There may be one behind the second of them."""


WHITE = frozenset({Kind.SPACE, Kind.NEWLINE, Kind.BLANK})
SIGNS = frozenset({Kind.SIGN, Kind.APOSTROPHE, Kind.SLASH})
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
    slashes: bool = False
    """Line ends that go with signs take the slashes behind them along, as o200k's do."""
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
    _O200K: Pattern(apostrophes=False, slashes=True),
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
    plain: re.Pattern[str]
    """Words that the pattern leaves whole, of a space and ASCII letters at most."""
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
    return Cuts(
        pairs=_pairs(pattern), plain=_plain(found, pattern), added=_finder(found.added_tokens)
    )


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


_SIGN = r"!-/:-@\[-`{-~"
_SIGN_BUT_APOSTROPHE = _SIGN.replace("!-/", "!-&(-/")


def _plain(found: _TokenizerFile, pattern: Pattern) -> re.Pattern[str]:
    """Words of signs, or of letters with one character before them, as they are in one token.

    o200k's pattern cuts words where a capital follows a small letter; GPT-2's cuts off signs.
    """
    steps = [found.pre_tokenizer or {}, *((found.pre_tokenizer or {}).get("pretokenizers") or [])]
    if not any(step.get("type") == "ByteLevel" for step in steps):
        return re.compile("[A-Za-z]+")
    letters = "[A-Za-z]+" if pattern.apostrophes else "[A-Z]?[a-z]+"
    before = " " if pattern is PATTERNS[GPT2] else " " + _SIGN_BUT_APOSTROPHE
    return re.compile(f"[{before}]?{letters}| ?[{_SIGN}]+")


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
    if _is_sure(pattern, first, second):
        says |= Says.SURE
    if _is_cut(pattern, first, second):
        says |= Says.MIDDLE
    if first is not Kind.SPACE or second not in WHITE | {Kind.EDGE}:
        says |= Says.BEFORE
    if _ends_a_token(pattern, first, second):
        says |= Says.BEHIND
    return says


def _is_sure(pattern: Pattern, first: Kind, second: Kind) -> bool:
    """Whether two kinds are never in one token."""
    if Kind.EDGE in (first, second):
        return True
    if first in WHITE or first >= Kind.OTHER or second >= Kind.OTHER:
        return False
    if second in WHITE:
        # Signs take the line ends behind them, of which one kind is a BLANK.
        return second is Kind.SPACE or first in (Kind.LETTER, Kind.DIGIT)
    if second is Kind.DIGIT:
        return first is not Kind.DIGIT or pattern.single_digits
    if first is Kind.DIGIT:
        return True
    if first is not Kind.LETTER or second is Kind.LETTER or not pattern.words_end:
        return False
    return second is not Kind.APOSTROPHE or pattern.apostrophes


def _is_cut(pattern: Pattern, first: Kind, second: Kind) -> bool:
    """Whether two kinds are not in one token where the pairs around them allow it."""
    if second is Kind.SPACE:
        return pattern.last_space or first not in WHITE
    if first is Kind.NEWLINE:
        return second not in WHITE and (second is not Kind.SLASH or not pattern.slashes)
    return pattern.words_end and first in SIGNS and second is Kind.LETTER


def _ends_a_token(pattern: Pattern, first: Kind, second: Kind) -> bool:
    """Whether a token may end behind a line end or a sign, by what is before it."""
    if second is Kind.NEWLINE:
        return pattern.line_ends or first not in WHITE
    # A sign goes with the letters behind it, unless it already goes with what is before it. A slash
    # may have gone with the line end before it.
    joins = SIGNS - {Kind.SLASH} if pattern.slashes else SIGNS
    return second not in SIGNS or first in joins | {Kind.SPACE}


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
