"""From a GPU's name, as a driver prints it or as a person writes it, to its catalogue row."""

from __future__ import annotations

import difflib

from memory_models.units import GIB
from tsplanner.errors import UsageError
from tsplanner.hardware.catalog import CATALOG, Gpu, name_key, size_in

SIZE_MARGIN = 0.08
"""How far a size may lie from the one on the box: in-line ECC hides 6.25 %, firmware a little."""


def gpu_by_driver_name(name: str, total_bytes: int) -> Gpu | None:
    """Row of a card that is here; None for one that the catalogue does not know."""
    key = name_key(name)
    rows = [gpu for gpu in CATALOG if key in gpu.keys or key in gpu.names.patterns_with_size]
    if len(rows) < 2:
        return rows[0] if rows else None
    # A driver says how much memory the card has, so the questions that a bare name leaves open
    # are answered here. Of two boards with the same memory the catalogue's first is meant.
    size = total_bytes / GIB
    return next((gpu for gpu in rows if _size_of(gpu, size) is not None), None)


def gpu_by_text(text: str) -> tuple[Gpu, int]:
    """Row and memory size (GiB, as on the box) that a person means.

    Raises UsageError for an unknown name, for a name that several cards share, and for a memory
    size that the card does not come with.
    """
    key, size = name_key(text), size_in(text)
    rows = [
        gpu for gpu in CATALOG if key in gpu.keys or (size and key in gpu.names.patterns_with_size)
    ]
    if not rows:
        raise UsageError(f'unknown GPU "{text.strip()}".{_closest(key)}')
    if size is None:
        choices = [(gpu, each) for gpu in rows for each in gpu.memory_gib]
    else:
        choices = [(gpu, each) for gpu in rows if (each := _size_of(gpu, size)) is not None]
    if len(choices) == 1:
        return choices[0]
    if choices:
        raise UsageError(
            f'"{text.strip()}" can be {_listed(choices)}: write the one you mean, '
            f'for example "{_written(choices[-1])}"'
        )
    known = [(gpu, each) for gpu in rows for each in (*gpu.memory_gib, *gpu.modified_gib)]
    raise UsageError(f'"{text.strip()}": no such memory size, it can be {_listed(known)}')


def _size_of(gpu: Gpu, size_gib: float) -> int | None:
    """Size on the box that ``size_gib`` stands for."""
    for each in (*gpu.memory_gib, *gpu.modified_gib):
        if abs(size_gib - each) <= SIZE_MARGIN * each:
            return each
    return None


def _closest(key: str) -> str:
    """`` Did you mean …?`` by keys, so that case and vendor words do not weigh."""
    by_key = {name_key(gpu.name): gpu.name for gpu in CATALOG}
    close = difflib.get_close_matches(key, list(by_key), n=1, cutoff=0.5)
    if close:
        return f' Did you mean "{by_key[close[0]]}"?'
    return " Name it as nvidia-smi prints it, or add a row to tsplanner/hardware/catalog.py"


def _written(choice: tuple[Gpu, int]) -> str:
    """Name and size as a person would type them, with no question left."""
    gpu, size = choice
    return gpu.name if f"{size}GB" in gpu.name else f"{gpu.name} {size}GiB"


def _listed(choices: list[tuple[Gpu, int]]) -> str:
    """Choices in one phrase."""
    words = [_written(choice) for choice in choices]
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
