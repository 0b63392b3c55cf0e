"""``tsplanner estimate``: the bare estimator, one configuration or many."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TextIO

from memory_models.architecture import Architecture
from memory_models.device import Device
from memory_models.estimate import estimate_memory
from memory_models.records import Interval, MemoryEstimate
from memory_models.settings import ALL_LINEAR
from tsplanner.commands.cases import CASE_KEYS, Case, read_case
from tsplanner.commands.options import names, positive, switch, targets
from tsplanner.commands.screen import Screen, gib
from tsplanner.errors import EXIT_OK, TsplannerError, UsageError

EPILOG = """examples:
  tsplanner estimate --model qwen2.5-14b --sequence-length 4096 --lora-target q_proj,k_proj,v_proj
  tsplanner estimate --cases cases.jsonl > estimates.jsonl
"""

NULLABLE = "null"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb: the keys of a case."""
    parser.add_argument("--cases", metavar="FILE", help="JSON lines, one case each; - for stdin")
    for key, kind in CASE_KEYS.items():
        flag = f"--{key.replace('_', '-')}"
        parser.add_argument(flag, **_flag(key, kind))  # type: ignore[arg-type]
    parser.add_argument("--json", action="store_true", help="one JSON document, no words")


def _flag(key: str, kind: object) -> dict[str, object]:
    """Argparse's arguments for one key."""
    if key == "lora_target":
        return {"type": targets, "metavar": "NAMES", "help": f"names, or {ALL_LINEAR}"}
    if kind is bool:
        return {"type": switch, "metavar": "on|off"}
    if kind is int:
        whole = int if key == "zero_stage" else positive
        return {"type": whole, "metavar": "N"}
    if kind is float:
        return {"type": float, "metavar": "X"}
    if isinstance(kind, type) and kind is not str:
        values = names(kind)
        if key in ("autocast", "quantization"):
            values = [NULLABLE, *values]
        return {"choices": values}
    return {"metavar": key.upper()}


def from_arguments(options: argparse.Namespace) -> int:
    """Run the verb from parsed flags."""
    given = {key: getattr(options, key) for key in CASE_KEYS if getattr(options, key) is not None}
    if options.cases is not None:
        if given:
            raise UsageError(f"--cases and --{sorted(given)[0]} exclude each other.")
        return run_cases(options.cases)
    for key in ("autocast", "quantization"):
        if given.get(key) == NULLABLE:
            given[key] = None
    if isinstance(given.get("lora_target"), tuple):
        given["lora_target"] = list(given["lora_target"])
    return run_one(given, as_json=options.json)


def run_one(given: Mapping[str, object], *, as_json: bool) -> int:
    """Estimate one case and print it.

    Raises:
        UsageError: the case cannot be.
    """
    try:
        case = read_case(given, {})
        estimate = estimate_memory(case.architecture, case.settings, case.device)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{error}.") from error
    if as_json or not sys.stdout.isatty():
        print(json.dumps(document(estimate)))
    else:
        _print_estimate(case, estimate)
    return EXIT_OK


def run_cases(name: str) -> int:
    """Estimate every case of a file, one JSON document a line, in order.

    Raises:
        UsageError: the file cannot be read.
    """
    if name == "-":
        # Bytes that are no UTF-8 spoil their own line, not the run.
        source: Any = nullcontext(io.TextIOWrapper(sys.stdin.buffer, "utf-8", errors="replace"))
    else:
        try:
            source = Path(name).open(encoding="utf-8", errors="replace")  # noqa: SIM115 closed below
        except OSError as error:
            raise UsageError(f"--cases {name} cannot be read: {error.strerror}.") from error
    with source as lines:
        _estimate_lines(lines, sys.stdout)
    return EXIT_OK


def _estimate_lines(lines: Iterable[str], out: TextIO) -> None:
    """Each line's estimate or error; models are read once."""
    models: dict[str, Architecture] = {}
    devices: dict[str, Device] = {}
    for line in lines:
        if line.strip():
            out.write(json.dumps(_line_result(line, models, devices)) + "\n")


def _line_result(
    line: str, models: dict[str, Architecture], devices: dict[str, Device]
) -> dict[str, object]:
    try:
        given = json.loads(line, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        return {"case": line.strip()[:2000], "error": f"not valid JSON: {error}"}
    if not isinstance(given, dict):
        return {"case": given, "error": "a case must be a JSON object"}
    try:
        case = read_case(given, models, devices)
        estimate = estimate_memory(case.architecture, case.settings, case.device)
    except (TsplannerError, ValueError, OverflowError) as error:
        return {"case": given, "error": str(error)}
    return {"case": given, **document(estimate)}


def _no_number(word: str) -> float:
    """NaN and Infinity are not JSON: echoing them would break the reader of our output."""
    raise ValueError(f"{word} is no JSON value")


def document(estimate: MemoryEstimate) -> dict[str, object]:
    """An estimate as plain values, by the names that scripts rely on."""
    return {
        "peak_allocated_bytes": _interval(estimate.peak_allocated_bytes),
        "peak_reserved_bytes": _interval(estimate.peak_reserved_bytes),
        "process_bytes": _interval(estimate.process_bytes),
        "host_bytes": _interval(estimate.host_bytes),
        "parameters": {
            "total": estimate.parameters_total,
            "trainable": estimate.parameters_trainable,
        },
        "components": {part.name: part.bytes for part in estimate.components},
        "peak_instant": estimate.peak_instant,
        "assumptions": list(estimate.assumptions),
    }


def _interval(interval: Interval) -> dict[str, int]:
    return {"expected": interval.expected, "upper": interval.upper}


def _print_estimate(case: Case, estimate: MemoryEstimate) -> None:
    screen = Screen()
    screen.line(
        f"{case.architecture.name} · {estimate.parameters_total:,} parameters "
        f"({estimate.parameters_trainable:,} trained) · peak in {estimate.peak_instant}",
        "bold",
    )
    screen.line(f"  {'GiB':<28}{'expected':>10}{'95 % bound':>12}")
    for name, interval in (
        ("peak allocated", estimate.peak_allocated_bytes),
        ("peak reserved", estimate.peak_reserved_bytes),
        ("process", estimate.process_bytes),
        ("host", estimate.host_bytes),
    ):
        screen.line(f"  {name:<28}{gib(interval.expected):>10}{gib(interval.upper):>12}", "bold")
    for part in estimate.components:
        screen.line(f"    {part.name:<26}{gib(part.bytes):>10}")
    for note in estimate.assumptions:
        screen.line(f"  assumed: {note}", "dim")
