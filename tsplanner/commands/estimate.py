"""``tsplanner estimate``: the bare estimator, one configuration or many."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memory_models.result import MemoryEstimate
from memory_models.settings import (
    DecoderKernels,
    FinetuningType,
    Quantization,
    TrainingSettings,
    flat,
)
from memory_models.units import format_gib
from tsplanner.commands.inputs.learning_flags import METAVARS
from tsplanner.commands.inputs.options import Added
from tsplanner.commands.inputs.values import (
    ALL,
    NONE,
    Method,
    counts,
    inputs,
    method,
    names,
    path_text,
    positive,
    quantization,
    ranks,
    saved_modules,
    switch,
    targets,
)
from tsplanner.commands.inputs.words import SETTINGS
from tsplanner.commands.views.screen import Screen, trace_status
from tsplanner.errors import EXIT_FAILURE, EXIT_OK, TsplannerError, UsageError
from tsplanner.planner.gather.cases import case_keys
from tsplanner.planner.gather.typed import members
from tsplanner.tracing.estimates import Estimated, Lines, Tracing, formula_of, from_trace
from tsplanner.tracing.records import HybridKernels
from tsplanner.trust import add_trust_argument

if TYPE_CHECKING:  # only a trace needs these
    from tsplanner.tracing.cases import Traced, TracedCase

EPILOG = """examples:
  tsplanner estimate --model qwen2.5-14b --cutoff-len 4096 --lora-target q_proj,k_proj,v_proj
  tsplanner estimate --cases cases.jsonl > estimates.jsonl
  tsplanner estimate --model qwen2.5-14b --cutoff-len 4096 --trace
"""

NULLABLE = "null"
NAMED = {
    "lora_target": targets,
    "modules_to_save": saved_modules,
    "rank_pattern": ranks,
    "streamed_layers": counts,
    "inputs_on_device": inputs,
}
"""Keys whose values are read in their own way, such as several joined by commas."""
ALIASES = {"sequence_length": ["--sequence-length"], "device": ["--device"]}
"""What a case calls the same."""
FLAGS = {"decoder_kernels": "kernels", "sequence_length": "cutoff-len", "device": "gpus"}
"""Flags that have another name than the field they set: that of the other verbs."""
SHOWN = {"inputs_on_device": ALL}
"""What stands for a default of None, where it is not "none"."""
WORDS = {
    **SETTINGS,
    "model": "folder, config.json, preset or hub id [required, or --cases]",
    "device": "GPUs, such as '2x RTX 3090', repeated ones add up: a process each, with the "
    "context and libraries of the smallest [none]",
    "recipe": "a trainer whose habits hold where no flag is given, such as unsloth [none]",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb: the keys of a case."""
    parser.add_argument(
        "--cases",
        type=path_text,
        metavar="FILE",
        help="JSON lines, a case each, - for stdin; prints as many; status 1 if one failed [none]",
    )
    defaults = flat(TrainingSettings())
    for key, kind in case_keys().items():
        flag = f"--{FLAGS.get(key, key).replace('_', '-')}"
        default = f" [{SHOWN.get(key) or _shown(defaults[key])}]" if key in defaults else ""
        words = {"help": f"{WORDS[key]}{default}", **_flag(key, kind)}
        parser.add_argument(flag, *ALIASES.get(key, ()), dest=key, **words)  # type: ignore[arg-type]
    parser.add_argument(
        "--trace", action="store_true", help="run the model without values instead of the formulas"
    )
    parser.add_argument(
        "--hybrid-kernels",
        choices=[item.value for item in HybridKernels],
        default=HybridKernels.INSTALLED.value,
        help="kernels of Mamba and linear-attention layers in a trace [installed]",
    )
    add_trust_argument(parser)
    parser.add_argument(
        "--json", action="store_true", help="one JSON document, no words [in a pipe: always]"
    )


def _shown(default: object) -> str:
    """A default as it would be typed."""
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, float):
        return f"{default:g}"
    return f"{default}" if default not in (None, ()) else NONE


SHAPES: dict[object, dict[str, object]] = {
    bool: {"type": switch, "metavar": "on|off"},
    int: {"type": positive, "metavar": "N"},
    float: {"type": float, "metavar": "X"},
    FinetuningType: {"type": method, "action": Method, "metavar": "METHOD"},
    Quantization: {"type": quantization, "metavar": "NAME"},
    DecoderKernels: {"choices": names(DecoderKernels), "metavar": "|".join(DecoderKernels)},
}
"""Argparse's arguments by the type of a key's value."""


def _flag(key: str, kind: object) -> dict[str, object]:
    """Argparse's arguments for one key."""
    if key in NAMED:
        return {"type": NAMED[key], "metavar": METAVARS[NAMED[key]]}
    member = members(kind)[0]
    if member is int and key == "zero_stage":
        return {"type": int, "metavar": "N"}
    if member in SHAPES:
        return SHAPES[member]
    if key == "device":
        return {"action": Added, "metavar": "TEXT"}
    if member is not str:
        nullable = [NULLABLE, NONE] if member is not kind else []
        return {"choices": [*nullable, *names(member)]}
    return {"metavar": "FILE" if key == "deepspeed" else "NAME"}


def from_arguments(options: argparse.Namespace) -> int:
    """Run the verb from parsed flags."""
    if options.cases is not None:
        given = given_values(options)
        if given:
            raise UsageError(f"--cases and --{sorted(given)[0]} exclude each other.")
        return run_cases(options.cases, tracing(options))
    result = estimated(options)
    if options.json or not sys.stdout.isatty():
        print(json.dumps(result.document))
    else:
        _print_estimate(result.name, result.estimate)
    return EXIT_OK


def given_values(options: argparse.Namespace) -> dict[str, object]:
    """The keys of a case that were given, with their values."""
    given = {key: getattr(options, key) for key in case_keys() if getattr(options, key) is not None}
    for key in ("autocast", "quantization", "inputs_on_device"):
        if given.get(key) in (NULLABLE, NONE, ALL):
            given[key] = None
    for key in NAMED:
        if isinstance(given.get(key), tuple):
            given[key] = list(given[key])
    return given


def tracing(options: argparse.Namespace) -> Tracing:
    """Whether to trace, and how."""
    return Tracing(
        always=options.trace,
        trust_remote_code=options.trust_remote_code,
        hybrid_kernels=HybridKernels(options.hybrid_kernels),
    )


def estimated(options: argparse.Namespace) -> Estimated:
    """The estimate of one case; by a trace if asked to, or if there is no reader.

    Raises:
        UsageError: the case cannot be.
        TsplannerError: it cannot be traced.
    """
    given, how = given_values(options), tracing(options)
    try:
        found = formula_of(given, {}, {}, how)
        traced_case = how.case(given, {}, {}) if found is None else None
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{error}.") from error
    results: list[Estimated | TsplannerError] = [] if found is None else [found]
    if traced_case is not None:
        _run_traces([traced_case], lambda found: results.append(from_trace(found)))
    (result,) = results
    if isinstance(result, TsplannerError):
        raise result
    return result


def run_cases(name: str, how: Tracing) -> int:
    """Estimate every case of a file, one JSON document a line, in order; 1 if one failed.

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
        answers = Lines(sys.stdout, how, _run_traces)
        answers.run(lines)
    return EXIT_FAILURE if answers.failed else EXIT_OK


def _run_traces(
    cases: Sequence[TracedCase], on_result: Callable[[Traced | TsplannerError], None]
) -> None:
    from tsplanner.tracing.cases import run_traces

    with trace_status() as on_case:
        run_traces(cases, on_result, on_case)


def _print_estimate(name: str, estimate: MemoryEstimate) -> None:
    screen = Screen()
    screen.line(
        f"{name} · {estimate.parameters_total:,} parameters "
        f"({estimate.parameters_trainable:,} trained) · peak in {estimate.peak_instant}",
        "bold",
    )
    screen.line(f"  {'GiB':<28}{'expected':>10}{'95 % bound':>12}")
    for quantity, interval in (
        ("peak allocated", estimate.peak_allocated_bytes),
        ("peak reserved", estimate.peak_reserved_bytes),
        ("process", estimate.process_bytes),
        ("host", estimate.host_bytes),
    ):
        screen.line(
            f"  {quantity:<28}{format_gib(interval.expected):>10}{format_gib(interval.upper):>12}",
            "bold",
        )
    for part in estimate.components:
        screen.line(f"    {part.name:<26}{format_gib(part.bytes):>10}")
    for note in estimate.assumptions:
        screen.line(f"  assumed: {note}", "dim")
