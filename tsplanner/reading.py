"""Text that others wrote, read within limits: JSON, YAML, and the words for a wrong value.

Every way in which a text can be wrong ends in one kind of error, a ValueError, so that a caller
names the file and the way out in one place.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NoReturn

MOST_TEXT_BYTES = 64 * 1024 * 1024
"""A file that is read whole, such as a plan, is smaller; a device such as /dev/zero has no end."""
MOST_YAML_BYTES = 256 * 1024
"""A person wrote it; its parser takes a second for a megabyte."""

_LONE = re.compile(r"\\u[dD][89a-fA-F]")
"""An escape that is half of a character; both halves together are one."""


def read_text(path: Path, most_bytes: int = MOST_TEXT_BYTES) -> str:
    """The text of a file of at most ``most_bytes`` in UTF-8, with or without a byte order mark.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is too large, or its bytes are no UTF-8.
    """
    with path.open("rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError(f"is over {most_bytes // 1024} KiB, which is too large")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 (byte {error.start + 1})") from error


def decoded(text: str, *, finite: bool = True) -> Any:
    """The value of a JSON text, which can be written as JSON again.

    ``finite`` off: NaN and Infinity may stand in it, as in some published config.json.

    Raises:
        ValueError: the text is no JSON, holds NaN or half a character, or is nested too deep.
    """
    try:
        if not finite:
            value = json.loads(text)
        else:
            value = json.loads(text, parse_constant=_no_number, parse_float=_finite)
        if _LONE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("is nested too deep") from None
    except UnicodeEncodeError:
        raise ValueError("holds half a character (a lone surrogate)") from None
    return value


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a JSON value")


def _finite(word: str) -> float:
    value = float(word)
    if abs(value) == float("inf"):
        raise ValueError(f"{word:.40} is out of range")
    return value


def read_yaml(path: Path) -> Any:
    """The value in a YAML file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is too large, nested too deep, or no YAML, with the line where it is known.
    """
    import yaml  # only files that a person wrote are YAML

    text = read_text(path, MOST_YAML_BYTES)
    try:
        return yaml.safe_load(text)
    except RecursionError:
        raise ValueError("is nested too deep") from None
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        where = f"line {place.line + 1} " if place else ""
        raise ValueError(f"{where}is not valid YAML") from None
    # A date or a number that is none ends in whatever Python's own types raise.
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
        raise ValueError(f"is not valid YAML ({error!s:.80})") from None
