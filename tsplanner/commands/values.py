"""Types of the values that flags take: from a person's text, or a sentence about what is wrong."""

from __future__ import annotations

import argparse
import re

from memory_models.settings import ALL_LINEAR

NONE = "none"
ALL = "all"
_LARGEST = 10**12
"""Above every count a run can have; keeps products finite."""
BUDGET = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")
UNIT_SECONDS = (3600, 60, 1)


def names(values: type) -> list[str]:
    """The values of a StrEnum."""
    return [str(value) for value in values]  # type: ignore[attr-defined]


def targets(text: str) -> tuple[str, ...] | str:
    """``all-linear``, or names separated by commas."""
    if text == ALL_LINEAR:
        return text
    found = tuple(word.strip() for word in text.split(",") if word.strip())
    if not found:
        raise argparse.ArgumentTypeError("give module names separated by commas, or all-linear")
    return found


def positive(text: str) -> int:
    """A whole number above zero."""
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    if value > _LARGEST:
        raise argparse.ArgumentTypeError(f"must be at most {_LARGEST}")
    return value


def layers(text: str) -> int | str:
    """A whole number above zero, or ``all``."""
    return ALL if text == ALL else positive(text)


def positive_float(text: str) -> float:
    """A number above zero."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
    return value


def fraction(text: str) -> float:
    """A number in [0, 1)."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"must be in [0, 1), not {text}")
    return value


def switch(text: str) -> bool:
    """``on`` or ``off``."""
    if text.lower() not in ("on", "off", "true", "false"):
        raise argparse.ArgumentTypeError(f"on or off, not {text!r}")
    return text.lower() in ("on", "true")


def cutoff(text: str) -> int:
    """Tokens of a sample's text; under 16 there is no room for a question and an answer."""
    value = positive(text)
    if value < 16:
        raise argparse.ArgumentTypeError(
            f"{value} tokens leave no room for a question and its answer; give at least 16"
        )
    return value


def budget_span(text: str) -> float:
    """Seconds from ``3h``, ``90m``, ``1h30m`` or ``5400s``; a unit is needed."""
    words = text.strip().lower().replace(" ", "")
    found = BUDGET.fullmatch(words)
    if words.replace(".", "", 1).isdigit():
        raise argparse.ArgumentTypeError(f"{text} of what? Write {text}s, {text}m or {text}h")
    parts = [float(part or 0) for part in found.groups()] if found else [0.0]
    seconds = sum(part * unit for part, unit in zip(parts, UNIT_SECONDS, strict=False))
    if not words or seconds <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no span of time: write 3h, 90m or 1h30m")
    return seconds
