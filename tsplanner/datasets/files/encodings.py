"""Texts that are not UTF-8: which encoding they have, and the command that mends them."""

from __future__ import annotations

import codecs
import re
import shlex
from pathlib import Path

MARKS: tuple[tuple[bytes, str], ...] = (
    (codecs.BOM_UTF32_LE, "UTF-32"),  # begins like the mark of UTF-16, so it is tried before it
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
"""Byte order marks that make an encoding certain."""

ZEROS: tuple[tuple[str, str], ...] = (
    ("x000", "UTF-32LE"),
    ("000x", "UTF-32BE"),
    ("x0", "UTF-16LE"),
    ("0x", "UTF-16BE"),
)
"""Where the zeros lie in the first bytes of a text that begins with two ASCII characters.

Source: RFC 4627, section 3.
"""

_HIGH = re.compile(rb"[\x80-\xff]+")


def wide_encoding(start: bytes) -> str | None:
    """The encoding of a text of wide characters by its first bytes; None: it has single bytes."""
    for mark, name in MARKS:
        if start.startswith(mark):
            return name
    zeros = "".join("x" if byte else "0" for byte in start[:4])
    return next((name for pattern, name in ZEROS if zeros.startswith(pattern)), None)


def likely_encoding(data: bytes) -> str:
    """The encoding of bytes that are no UTF-8, as a guess by name."""
    runs = _HIGH.findall(data)
    # In GBK's older part, which holds the usual characters, both bytes of a character are high.
    if runs and all(len(run) % 2 == 0 for run in runs):
        try:
            b"".join(runs).decode("gb2312")
        except UnicodeDecodeError:
            return "WINDOWS-1252"
        return "GBK"
    return "WINDOWS-1252"


def mending(path: Path, encoding: str) -> str:
    """The command that writes a file again in UTF-8."""
    new = path.with_name(f"{path.stem}-utf8{path.suffix}")
    names = shlex.quote(str(path)), shlex.quote(str(new))
    return f"iconv -f {encoding} -t UTF-8 {names[0]} > {names[1]}"
