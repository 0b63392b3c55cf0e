"""``tsplanner gpus``: which cards and rented machines are known by name, with their datasheets."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from tsplanner.commands.views.screen import Screen
from tsplanner.errors import EXIT_OK
from tsplanner.hardware.describe import OLDEST_CAPABILITY
from tsplanner.hardware.gpus.cards import CATALOG
from tsplanner.hardware.gpus.catalog import Gpu, name_key
from tsplanner.hardware.gpus.instances import INSTANCES, Instance
from tsplanner.hardware.gpus.names import gpu_by_text
from tsplanner.hardware.gpus.reported import reported_gib
from tsplanner.report.text import table

EPILOG = """examples:
  tsplanner gpus                  every card and every machine of a cloud
  tsplanner gpus 4090             those with 4090 in their name
  tsplanner gpus hopper           those of an architecture
  tsplanner gpus p4d              what a cloud's machine has
"""
NONE = "-"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb."""
    parser.add_argument(
        "filter", nargs="?", metavar="FILTER", help="part of a name, an architecture, or sm_86"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def from_arguments(namespace: argparse.Namespace) -> int:
    """Run the verb from parsed flags."""
    return run(filter=namespace.filter, as_json=namespace.json)


def run(*, filter: str | None = None, as_json: bool = False) -> int:
    """List the cards and the rented machines that have ``filter`` in their name; 0.

    Raises:
        UsageError: nothing has that name; says who makes such a card, or what was meant.
    """
    if as_json:
        print(json.dumps(document(filter)))
    else:
        _print(*_found(filter or ""))
    return EXIT_OK


def document(filter: str | None) -> dict[str, Any]:
    """The cards and machines as plain values. Raises UsageError: nothing has that name."""
    cards, machines = _found(filter or "")
    return {
        "gpus": [_plain(gpu) for gpu in cards],
        "machines": [
            {
                "name": each.name,
                "gpus": each.gpus,
                "ram_gib": each.ram_gib,
                "cpu_count": each.cpu_count,
            }
            for each in machines
        ],
    }


def _found(text: str) -> tuple[list[Gpu], list[Instance]]:
    """Cards and machines by a part of their name; machines of the cards where these are few.

    Raises:
        UsageError: there is neither.
    """
    if not text.strip():
        return list(CATALOG), list(INSTANCES.values())
    part, key = text.strip().lower(), name_key(text)
    cards = [
        gpu
        for gpu in CATALOG
        if part in gpu.name.lower()
        or part in gpu.generation.lower()
        or part in (_capability(gpu), f"sm_{_capability(gpu).replace('.', '')}")
        or (key and key in gpu.keys)
    ]
    machines = [each for each in INSTANCES.values() if part in f"{each.name}\n{each.gpus}".lower()]
    if not cards and not machines:
        cards = [gpu_by_text(text)[0]]
    return cards, machines


def is_planned(gpu: Gpu) -> bool:
    """Whether plans are made for a card: PyTorch, Triton and bitsandbytes of today run on it."""
    return gpu.compute_capability >= OLDEST_CAPABILITY


def _plain(gpu: Gpu) -> dict[str, object]:
    """A card as plain values; rates are per second."""
    return {
        "name": gpu.name,
        "memory_gib": list(gpu.memory_gib),
        "total_bytes": [gpu.total_bytes(size) for size in gpu.memory_gib],
        "reported_gib": list(reported_gib(gpu.name)),
        "compute_capability": _capability(gpu),
        "architecture": gpu.generation,
        "matrix_flops": gpu.matrix_flops_per_second,
        "memory_bytes": gpu.memory_bytes_per_second,
        "host_link_bytes": gpu.host_link_bytes_per_second,
        "nvlink_bytes": gpu.links.nvlink_bytes_per_second,
        "planned": is_planned(gpu),
        "source": gpu.source,
    }


def _capability(gpu: Gpu) -> str:
    major, minor = gpu.compute_capability
    return f"{major}.{minor}"


def _print(cards: Sequence[Gpu], machines: Sequence[Instance]) -> None:
    screen = Screen()
    if cards:
        heading = ["GPU", "GiB", "reported", "sm", "TFLOP/s", "GB/s", "NVLink", "source"]
        _table(screen, [heading, *(_row(gpu) for gpu in cards)], left=1)
    if machines:
        heading = ["rented machine", "GPUs", "RAM GiB", "vCPUs"]
        rows = [[each.name, each.gpus, f"{each.ram_gib}", f"{each.cpu_count}"] for each in machines]
        _table(screen, [heading, *rows], left=2)
    old = [gpu.name for gpu in cards if not is_planned(gpu)]
    if old:
        major, minor = OLDEST_CAPABILITY
        screen.line(
            f"Not planned for: {', '.join(old)}; today's PyTorch, Triton and bitsandbytes start at "
            f"compute capability {major}.{minor}.",
            "dim",
        )
    screen.line(
        "Reported: GiB that CUDA said it has, where somebody published it. TFLOP/s: dense 16-bit "
        "products with sums in fp32. Any other card: --gpus '24GiB sm_86'.",
        "dim",
    )


def _row(gpu: Gpu) -> list[str]:
    nvlink = gpu.links.nvlink_bytes_per_second
    return [
        gpu.name,
        ", ".join(f"{size}" for size in gpu.memory_gib),
        _reported(gpu),
        _capability(gpu),
        f"{gpu.matrix_flops_per_second / 1e12:.0f}",
        f"{gpu.memory_bytes_per_second / 1e9:,.0f}",
        NONE if nvlink is None else f"{nvlink / 1e9:.0f}",
        gpu.source,
    ]


def _reported(gpu: Gpu) -> str:
    """What CUDA reported of it, or the range."""
    found = reported_gib(gpu.name)
    ends = dict.fromkeys((f"{found[0]:.1f}", f"{found[-1]:.1f}")) if found else {NONE: None}
    return " to ".join(ends)


def _table(screen: Screen, rows: list[list[str]], *, left: int) -> None:
    for number, line in enumerate(table(rows, left=left)):
        screen.line(line, "" if number else "bold")
    screen.line()
