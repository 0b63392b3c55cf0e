"""``tsplanner gpus``: the cards that ``--gpus`` knows by name, and the machines by file."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from tsplanner.commands.views.screen import Screen
from tsplanner.errors import EXIT_OK, UsageError, did_you_mean, named
from tsplanner.hardware.describe import OLDEST_CAPABILITY
from tsplanner.hardware.gpus.cards import CATALOG
from tsplanner.hardware.gpus.catalog import Gpu
from tsplanner.report.text import table
from tsplanner.settings import configs_folder

EPILOG = """examples:
  tsplanner gpus              every card and machine file
  tsplanner gpus a100         those with a100 in their name
  tsplanner plan --gpus '2x RTX 3090 + 1x RTX 4090'
  tsplanner plan --gpus '24GiB sm_86'      a card that is not in the list
"""
HEADING = ["card", "GiB", "sm", "matrix TFLOP/s", "memory GB/s"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb."""
    parser.add_argument("filter", nargs="?", metavar="FILTER", help="part of a name")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def from_arguments(options: argparse.Namespace) -> int:
    """Run the verb from parsed flags."""
    return run(part=(options.filter or "").lower(), as_json=options.json)


def run(*, part: str, as_json: bool) -> int:
    """List cards and machine files with ``part`` in their names; 0.

    Raises UsageError: nothing has that name.
    """
    usable = [gpu for gpu in CATALOG if gpu.compute_capability >= OLDEST_CAPABILITY]
    cards = [gpu for gpu in usable if part in gpu.name.lower()]
    machines = [name for name in machine_names() if part in name]
    if not cards and not machines:
        hint = did_you_mean(part, [gpu.name for gpu in usable])
        raise UsageError(
            f"No card and no machine file has {named(part)} in its name.{hint} Any card can be "
            'described by memory and compute capability, such as "24GiB sm_86".'
        )
    if as_json:
        print(json.dumps({"cards": [_plain(gpu) for gpu in cards], "machines": machines}))
        return EXIT_OK
    screen = Screen()
    for number, line in enumerate(table([HEADING, *map(_row, cards)], left=1) if cards else []):
        screen.line(line, "" if number else "bold")
    if machines:
        screen.line()
        screen.line(f"Machine files, for --machine: {', '.join(machines)}")
    screen.line("Rates are those of the datasheets: dense bf16 or fp16, fp32 accumulation.", "dim")
    return EXIT_OK


def machine_names() -> list[str]:
    """Names of the machine files that ship here, as ``--machine`` takes them."""
    return sorted(path.stem for path in (configs_folder() / "machines").glob("*.yaml"))


def _sizes(gpu: Gpu) -> Sequence[int]:
    return (*gpu.memory_gib, *gpu.modified_gib)


def _row(gpu: Gpu) -> list[str]:
    major, minor = gpu.compute_capability
    return [
        gpu.name,
        " or ".join(map(str, _sizes(gpu))),
        f"{major}{minor}",
        f"{gpu.matrix_flops_per_second / 1e12:.4g}",
        f"{gpu.memory_bytes_per_second / 1e9:,.0f}",
    ]


def _plain(gpu: Gpu) -> dict[str, object]:
    """A card as plain values."""
    return {
        "name": gpu.name,
        "memory_gib": list(_sizes(gpu)),
        "compute_capability": list(gpu.compute_capability),
        "matrix_flops_per_second": gpu.matrix_flops_per_second,
        "memory_bytes_per_second": gpu.memory_bytes_per_second,
        "source": gpu.source,
    }
