"""The catalogue row of a GPU by its name, as a driver prints it or as a person writes it."""

from __future__ import annotations

import re
from functools import lru_cache

from memory_models.units import GIB
from tsplanner.errors import UsageError, named
from tsplanner.hardware.gpus.cards import CATALOG
from tsplanner.hardware.gpus.catalog import Gpu, name_key, size_in

SIZE_MARGIN = 0.08
"""A size may differ from the advertised one by this share: in-line ECC hides 6.25 %, and
firmware hides a little more."""

CLOSE = 0.7
"""Likeness of two names, from 0 to 1, from which one may be a slip for the other: ``2080Tee`` is
0.77 like ``2080Ti``; ``4090 Laptop``, another chip, is 0.57 like ``4090``."""
OTHER_MAKERS = {
    "AMD": r"amd|radeon|instinct|mi ?\d{2,3}[ax]?|rx ?\d{4}\s?\w*",
    "Apple": r"apple|m[1-9] ?(?:pro|max|ultra)?",
    "Intel": r"intel|arc|gaudi ?\d?",
    "Google": r"google|tpu",
    "Huawei": r"huawei|ascend",
}
"""Patterns of the names of accelerators that are not planned for, by their maker."""


@lru_cache(maxsize=64)
def gpu_by_driver_name(name: str, total_bytes: int) -> Gpu | None:
    """The row of a card in this machine; None for a card that is not in the catalogue.

    Kept, as a rack has a thousand cards of one name.
    """
    key = name_key(name)
    rows = [gpu for gpu in CATALOG if key in gpu.keys or key in gpu.names.patterns_with_size]
    if len(rows) < 2:
        return rows[0] if rows else None
    # A driver also says how much memory the card has, which makes a bare name unambiguous. Of two
    # boards with the same memory the first in the catalogue is meant.
    size = total_bytes / GIB
    return next((gpu for gpu in rows if size_of(gpu, size) is not None), None)


def gpu_by_text(text: str) -> tuple[Gpu, int]:
    """The row and the advertised memory size in GiB that a person means.

    Raises UsageError for an unknown name, for a name that several cards share, and for a memory
    size that the card is not sold with.
    """
    key, size = name_key(text), size_in(text)
    rows = [
        gpu for gpu in CATALOG if key in gpu.keys or (size and key in gpu.names.patterns_with_size)
    ]
    if not rows:
        raise UsageError(_unknown(text, key))
    if size is None:
        choices = [(gpu, each) for gpu in rows for each in gpu.memory_gib]
    else:
        choices = [(gpu, each) for gpu in rows if (each := size_of(gpu, size)) is not None]
    if len(choices) == 1:
        return choices[0]
    if choices:
        raise UsageError(
            f"{named(text.strip())} can be {_listed(choices)}: write the one you mean, "
            f'for example "{_written(choices[-1])}"'
        )
    known = [(gpu, each) for gpu in rows for each in (*gpu.memory_gib, *gpu.modified_gib)]
    raise UsageError(f"{named(text.strip())}: no such memory size, it can be {_listed(known)}")


def size_of(gpu: Gpu, size_gib: float) -> int | None:
    """The advertised size in GiB nearest to ``size_gib``; None if no size is near."""
    for each in (*gpu.memory_gib, *gpu.modified_gib):
        if abs(size_gib - each) <= SIZE_MARGIN * each:
            return each
    return None


def _unknown(text: str, key: str) -> str:
    """The sentence on a name without a row: another maker's, or perhaps a mistyped one."""
    written = named(text.strip())
    for maker, names in OTHER_MAKERS.items():
        if re.search(rf"\b(?:{names})\b", text, re.IGNORECASE):
            return (
                f"{written} is made by {maker}, and only NVIDIA's GPUs are supported: "
                'name one, or plan for the CPU with "cpu"'
            )
    import difflib  # only a mistyped name needs it

    # By keys, so that case and the name of the vendor do not matter.
    by_key = {
        name_key(gpu.name): gpu.name
        for gpu in CATALOG
        if _digits(name_key(gpu.name)) == _digits(key)
    }
    close = difflib.get_close_matches(key, list(by_key), n=1, cutoff=CLOSE)
    if close:
        return f'unknown GPU {written}. Did you mean "{by_key[close[0]]}"?'
    return (
        f"unknown GPU {written}: name it as nvidia-smi prints it, or describe it by memory and "
        'compute capability, such as "24GiB sm_86"'
    )


def _digits(key: str) -> list[str]:
    """The digits of a name, sorted: another number is another card, and no slip for this one."""
    return sorted(letter for letter in key if letter.isdigit())


def _written(choice: tuple[Gpu, int]) -> str:
    """Name and size as a person would write them unambiguously."""
    gpu, size = choice
    return gpu.name if f"{size}GB" in gpu.name else f"{gpu.name} {size}GiB"


def _listed(choices: list[tuple[Gpu, int]]) -> str:
    """The choices in one phrase."""
    words = [_written(choice) for choice in choices]
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
