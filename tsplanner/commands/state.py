"""``tsplanner state``: what is kept of this machine between plans, and how to forget it."""

from __future__ import annotations

import argparse
import json
import time
from enum import StrEnum
from pathlib import Path
from typing import Any

from tsplanner import runs
from tsplanner.commands.views.screen import Screen
from tsplanner.datasets.store.columns import COLUMNS
from tsplanner.errors import EXIT_OK
from tsplanner.planner.gather.probe_points import (
    AGES_AFTER_DAYS,
    CPU_DEVICE,
    ProbePoint,
    installed_versions,
    read_points,
    why_aged,
)
from tsplanner.planner.settings import HardwareSettings
from tsplanner.report.probe_table import candidate_words
from tsplanner.report.text import table
from tsplanner.settings import state_folder, state_parts

EPILOG = """examples:
  tsplanner state                        every correction, and whether it still counts
  tsplanner state --clear corrections    forget what probes measured
"""
UNKNOWN = "-"
OUR_FILES = ("json", "lock", *COLUMNS)
"""Endings of the files that lie in folders of ours: notes, locks and the columns of tokens."""


class Clear(StrEnum):
    """What ``--clear`` forgets."""

    CORRECTIONS = "corrections"
    ALL = "all"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb."""
    parser.epilog = EPILOG
    parser.add_argument(
        "--clear",
        nargs="?",
        const=Clear.CORRECTIONS,
        choices=list(Clear),
        metavar="corrections|all",
        help="forget what probes measured (corrections, if nothing is named), or all of it [none]",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def from_arguments(namespace: argparse.Namespace) -> int:
    """Run the verb from parsed flags."""
    clear = None if namespace.clear is None else Clear(namespace.clear)
    return run(clear=clear, as_json=namespace.json)


def run(*, clear: Clear | None = None, as_json: bool = False) -> int:
    """List what is kept, or forget it; 0.

    Raises:
        TsplannerError: a file cannot be removed.
    """
    if clear is not None:
        return _forget(clear, as_json=as_json)
    points, unread = read_points()
    installed, now = installed_versions(), time.time()
    rows = [(point, why_aged(point, installed, now)) for point in points]
    if as_json:
        corrections = [correction_values(point, why) for point, why in rows]
        print(json.dumps({"folder": str(state_folder()), **_sizes(), "corrections": corrections}))
    else:
        _print(rows, unread)
    return EXIT_OK


def _forget(clear: Clear, *, as_json: bool) -> int:
    """Remove files of the state folder by their own names; what else lies there stays."""
    removed = []
    for name, path in state_parts().items():
        if clear is Clear.CORRECTIONS and name != Clear.CORRECTIONS:
            continue
        for file in _files(path):
            with runs.clear_disk_errors(file):
                file.unlink(missing_ok=True)
            removed.append(str(file))
    if as_json:
        print(json.dumps({"folder": str(state_folder()), "removed": removed}))
        return EXIT_OK
    screen = Screen()
    for removed_file in removed:
        screen.line(f"removed  {removed_file}")
    if not removed:
        screen.line(f"Nothing to forget in {state_folder()}.")
    return EXIT_OK


def _files(path: Path) -> list[Path]:
    """The file itself, or the files of a folder of ours, by the names that we give them."""
    if path.is_dir() and not path.is_symlink():
        return sorted(file for ending in OUR_FILES for file in path.glob(f"*.{ending}"))
    return [path] if path.is_file() else []


def _sizes() -> dict[str, Any]:
    """Number of files and bytes of every part."""
    return {
        "parts": {
            name: {"path": str(path), "files": len(found), "bytes": sum(map(_size, found))}
            for name, path in state_parts().items()
            for found in (_files(path),)
        }
    }


def _size(path: Path) -> int:
    return path.stat().st_size


def correction_values(point: ProbePoint, why: str | None) -> dict[str, Any]:
    """One correction for ``--json``; ``why``: why it counts no more, None if it counts."""
    return {
        "model": point.model,
        "architecture": point.kind.architecture,
        "method": point.kind.finetuning_type,
        "device": point.kind.device_name,
        "host": point.host_name,
        "ran_as": candidate_words(_hardware(point)),
        "kernels": point.kind.kernels.decoder_kernels,
        "sequence_length": point.sequence_length,
        "date": _date(point),
        "versions": {name: point.versions.get(name) for name in ("tsplanner", "torch")},
        "memory_factor": point.memory_factor,
        "time_factor": point.time_factor,
        "step_waits_for": "host" if point.bound_by_launch else "device",
        "counts": why is None,
        "why_not": why,
    }


def _hardware(point: ProbePoint) -> HardwareSettings:
    """The hardware settings that a point was measured with."""
    return HardwareSettings(
        accelerator="cpu" if point.kind.device_name == CPU_DEVICE else "cuda",
        batch=point.batch,
        base=point.kind.base,
        kernels=point.kind.kernels,
        sharding=point.kind.sharding,
    )


def _date(point: ProbePoint) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(point.unix_time))


def _print(rows: list[tuple[ProbePoint, str | None]], unread: int) -> None:
    """The folder, its parts, and a line a correction."""
    screen = Screen()
    screen.line(f"State   {state_folder()}", "bold")
    for name, part in _sizes()["parts"].items():
        files = f"{part['files']} file{'' if part['files'] == 1 else 's'}"
        screen.line(f"  {name:<14}{files}, {part['bytes']:,} bytes")
    screen.line()
    if not rows:
        screen.line("No corrections: no probe of this version has ended here.")
    for number, line in enumerate(_table(rows) if rows else []):
        screen.line(line, "" if number else "bold")
    if unread:
        lines = "1 line" if unread == 1 else f"{unread} lines"
        screen.line(f"{lines} of an older version or cut off: no plan uses what is written there.")
    screen.line()
    screen.line(
        f"A correction counts for its own model, method, kernels, device and length, for "
        f"{AGES_AFTER_DAYS} days and for these versions. plan --no-corrections leaves all out; "
        "state --clear forgets them.",
        "dim",
    )


def _table(rows: list[tuple[ProbePoint, str | None]]) -> list[str]:
    heading = ["date", "model", "method", "ran as", "length", "bytes", "seconds", "counts"]
    lines = [heading]
    for point, why in rows:
        fused = point.kind.kernels.decoder_kernels.is_ours
        words = f"{candidate_words(_hardware(point))} · {'fused' if fused else 'reference'} kernels"
        if point.kind.device_name != CPU_DEVICE:
            words = f"{point.kind.device_name} · {words}"
        method, length = str(point.kind.finetuning_type), f"{point.sequence_length:,}"
        factors = [_factor(point.memory_factor), _factor(point.time_factor)]
        counts = "yes" if why is None else f"no: {why}"
        lines.append([_date(point), point.model, method, words, length, *factors, counts])
    return table(lines, left=4)


def _factor(value: float | None) -> str:
    return UNKNOWN if value is None else f"x {value:.2f}"
