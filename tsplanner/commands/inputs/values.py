"""Types of the values that flags take.

Each function turns a person's text into a value, or raises argparse.ArgumentTypeError with a
sentence that says what is wrong and what could be written instead.
"""

from __future__ import annotations

import argparse
import errno
import os
import re
from pathlib import Path

from memory_models.settings import ALL_LINEAR, FinetuningType, Quantization, Streaming
from memory_models.units import GIB, MIB
from tsplanner.errors import did_you_mean, quoted

LEAST_PROBE_STEPS = 3
NONE = "none"
ALL = "all"
_LARGEST = 10**12
"""Above every count a run can have; keeps products finite."""

_SIZE = r"(?ai)(\d{1,6}(?:\.\d{1,6})?)((?:[MGT]i?B?)?)"
_UNIT_BYTES = {"m": MIB, "": GIB, "g": GIB, "t": 1024 * GIB}
"""Bytes of a unit by its first letter; without a unit a number means GiB, as in machine files."""
_SMALLEST_HOST = GIB
_LARGEST_HOST = 900 * 1024 * GIB

_UNIT_SECONDS = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_AMOUNT = r"\d{1,6}(?:\.\d{1,6})?"
_DURATION = "".join(rf"(?:({_AMOUNT}){unit})?" for unit in _UNIT_SECONDS)
"""Amounts with their units, the longest unit first; each unit at most once."""


def names(values: type) -> list[str]:
    """The values of a StrEnum."""
    return [str(value) for value in values]  # type: ignore[attr-defined]


QLORA = "qlora"


def method(text: str) -> FinetuningType | str:
    """A training method, or QLORA, which `Method` takes apart."""
    if text.lower() == QLORA:
        return QLORA
    return FinetuningType(_one_of(text, names(FinetuningType)))


class Method(argparse.Action):
    """A method; ``qlora`` is lora on a 4-bit base, unless the base is named as well."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        """Set the method, and for ``qlora`` the base."""
        if values == QLORA:
            values = FinetuningType.LORA
            if namespace.quantization is None:
                namespace.quantization = str(Quantization.NF4)
        setattr(namespace, self.dest, values)


_OTHER_NAMES = {"null": NONE, "4bit": "nf4", "4-bit": "nf4", "8bit": "int8", "8-bit": "int8"}
"""What other trainers call the same."""


def quantization(text: str) -> str:
    """A form of the frozen base by its name here or elsewhere, or ``none``."""
    known = [NONE, *names(Quantization)]
    return _one_of(_OTHER_NAMES.get(text.lower(), text), known)


def _one_of(text: str, known: list[str]) -> str:
    if text not in known:
        raise argparse.ArgumentTypeError(
            f"invalid choice: {quoted(text)} (choose from {', '.join(known)})"
            f"{did_you_mean(text, known)}"
        )
    return text


def targets(text: str) -> tuple[str, ...] | str:
    """``all-linear``, or names separated by commas."""
    if text == ALL_LINEAR:
        return text
    found = tuple(word.strip() for word in text.split(",") if word.strip())
    if not found:
        raise argparse.ArgumentTypeError("give module names separated by commas, or all-linear")
    return found


def saved_modules(text: str) -> tuple[str, ...]:
    """Names of modules separated by commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def ranks(text: str) -> tuple[tuple[str, int], ...]:
    """Whole numbers by module name: ``q_proj=16,v_proj=32``."""
    return tuple((name, positive(number)) for name, number in _pairs(text))


def alphas(text: str) -> tuple[tuple[str, float], ...]:
    """Numbers by module name: ``q_proj=32``."""
    return tuple((name, positive_float(number)) for name, number in _pairs(text))


def _pairs(text: str) -> list[tuple[str, str]]:
    found = [word.partition("=") for word in text.split(",") if word.strip()]
    if not found or not all(name.strip() and number for name, _, number in found):
        raise argparse.ArgumentTypeError("give NAME=NUMBER, separated by commas")
    return [(name.strip(), number.strip()) for name, _, number in found]


def positive(text: str, least: int = 1) -> int:
    """An integer above zero, or from ``least`` on."""
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not an integer") from None
    if value < least:
        raise argparse.ArgumentTypeError(f"must be at least {least}, not {quoted(value)}")
    if value > _LARGEST:
        raise argparse.ArgumentTypeError(f"must be at most {_LARGEST}")
    return value


def count(text: str) -> int:
    """An integer that is not below zero."""
    return positive(text, least=0)


def counts(text: str) -> int | tuple[int, ...]:
    """Layers to stream: an integer that is not below zero, or one for each GPU."""
    try:
        found = Streaming(streamed_layers=tuple(count(word) for word in text.split(",")))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return found.streamed_layers


def path(text: str) -> Path:
    """A path that the system can look up, whether something is there or not."""
    return Path(path_text(text))


def path_text(text: str) -> str:
    """As ``path``, for a flag that may also be a name."""
    try:
        os.lstat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{quoted(text)} holds a null byte") from None
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            reason = f"{quoted(text)} cannot be a path: {error.strerror}"
            raise argparse.ArgumentTypeError(reason) from None
    return text


def seed(text: str) -> int:
    """A seed that every generator takes: NumPy's has 32 bits."""
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not an integer") from None
    if not 0 <= value < 2**32:
        raise argparse.ArgumentTypeError(f"must be from 0 to {2**32 - 1}, not {quoted(text)}")
    return value


def port(text: str) -> int:
    """A TCP port; 0 stands for a free one."""
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not an integer") from None
    if not 0 <= value < 2**16:
        raise argparse.ArgumentTypeError(f"must be from 0 to {2**16 - 1}, not {quoted(text)}")
    return value


def probe_steps(text: str) -> int:
    """The optimizer steps of a probe: the first warms up, and one alone has no median."""
    value = positive(text)
    if value < LEAST_PROBE_STEPS:
        raise argparse.ArgumentTypeError(f"must be at least {LEAST_PROBE_STEPS}, not {value}")
    return value


def number_of_epochs(text: str) -> int | float:
    """Passes over the rows: a whole number, or part of one such as 0.5."""
    try:
        int(text)
    except ValueError:
        value = positive_float(text)
        return int(value) if value == int(value) else value
    return positive(text)


def layers(text: str) -> int | str:
    """An integer above zero, or ``all``."""
    return ALL if text == ALL else positive(text)


def inputs(text: str) -> int | str:
    """An integer that is not below zero, or ``all``."""
    return ALL if text == ALL else count(text)


def budget(text: str) -> int | str:
    """An integer above zero, or ``none``."""
    return NONE if text == NONE else positive(text)


def positive_float(text: str) -> float:
    """A number above zero."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not a number") from None
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0, not {value:g}")
    return value


def not_negative(text: str) -> float:
    """A number that is not below zero."""
    return 0.0 if text.strip().strip("0") in ("", ".") and text.strip() else positive_float(text)


def fraction(text: str) -> float:
    """A number in [0, 1)."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not a number") from None
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"must be in [0, 1), not {value:g}")
    return value


def switch(text: str) -> bool:
    """``on`` or ``off``."""
    if text.lower() not in ("on", "off", "true", "false"):
        raise argparse.ArgumentTypeError(f"give on or off, not {quoted(text)}")
    return text.lower() in ("on", "true")


def cutoff(text: str) -> int:
    """Tokens of a sample's text; under 16 there is no room for a question and an answer."""
    value = positive(text)
    if value < 16:
        raise argparse.ArgumentTypeError(
            f"{value} tokens leave no room for a question and its answer; give at least 16"
        )
    return value


def memory_size(text: str) -> int:
    """Bytes of RAM from ``1TiB``, ``64GiB``, or ``64GB`` and ``64``, which mean GiB as well."""
    found = re.fullmatch(_SIZE, "".join(text.split()))
    size = float(found.group(1)) * _UNIT_BYTES[found.group(2).lower()[:1]] if found else 0
    if not _SMALLEST_HOST <= size <= _LARGEST_HOST:
        raise argparse.ArgumentTypeError(
            f"{quoted(text)} is no size of RAM: write 64GiB or 1.5TiB, from 1GiB to 900TiB"
        )
    return int(size)


def budget_seconds(text: str) -> float:
    """As ``duration_seconds``, with a unit: nobody should wait 90 hours for 90 seconds."""
    number = text.strip()
    if re.fullmatch(_AMOUNT, number):
        raise argparse.ArgumentTypeError(
            f"{number} of what? Write {number}s, {number}m or {number}h"
        )
    return duration_seconds(text)


def duration_seconds(text: str) -> float:
    """Seconds from ``90``, ``45s``, ``5m``, ``3h``, ``1h30m`` or ``2d``; above zero."""
    written = "".join(text.lower().split())
    if re.fullmatch(_AMOUNT, written):
        written += "s"
    found = re.fullmatch(_DURATION, written)
    amounts = found.groups() if found else ()
    pairs = zip(amounts, _UNIT_SECONDS.values(), strict=False)
    seconds = sum(float(amount) * unit for amount, unit in pairs if amount)
    if seconds <= 0:
        raise argparse.ArgumentTypeError(
            f"{quoted(text)} is not a duration: write 90s, 5m or 1h30m"
        )
    return seconds
