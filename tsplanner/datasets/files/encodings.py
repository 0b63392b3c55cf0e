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

ZEROS: tuple[tuple[str, slice], ...] = (
    ("UTF-32LE", slice(1, None, 4)),
    ("UTF-32BE", slice(2, None, 4)),
    ("UTF-16LE", slice(1, None, 2)),
    ("UTF-16BE", slice(0, None, 2)),
)
"""Where the zero bytes of ASCII characters lie in an encoding of wide characters."""

MOST_ZEROS = 0.4
"""Share of zero bytes at these places from which a text has such an encoding: names of fields,
quotes and brackets are ASCII in every language."""

_HIGH = re.compile(rb"[\x80-\xff]+")


def wide_encoding(start: bytes) -> str | None:
    """The encoding of a text of wide characters by its first bytes; None: it has single bytes."""
    for mark, name in MARKS:
        if start.startswith(mark):
            return name
    for name, places in ZEROS:
        found = start[:4096][places]
        other = start[:4096].count(0) - found.count(0)
        # In UTF-16 every second byte is no zero; in UTF-32 three of four bytes are.
        alone = name.startswith("UTF-32") or other == 0
        if found and found.count(0) >= MOST_ZEROS * len(found) and alone and 0 in start:
            return name
    return None


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
