"""``tsplanner merge``: an adapter in its base, as a model that needs nothing beside it."""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from memory_models.frozen import frozen
from memory_models.settings import Dtype
from memory_models.units import GIB, MIB, counted, format_gib
from tsplanner import install, runs
from tsplanner.commands.inputs.values import names, path
from tsplanner.commands.views.interrupted import say_interrupted
from tsplanner.console import command
from tsplanner.errors import EXIT_OK, TsplannerError
from tsplanner.folders.owner import refuse_led
from tsplanner.planner.files import read_plan
from tsplanner.planner.plan import Plan
from tsplanner.probe.preflight import refuse_what_changed
from tsplanner.probe.process_records import read_record
from tsplanner.processes.signals import signals_as_interrupts
from tsplanner.report.card import CARD_FILE, card
from tsplanner.report.serving import Place, code, servers
from tsplanner.training.merging.client import run_merge
from tsplanner.training.merging.records import Compared, Merged, MergeRequest
from tsplanner.trust import add_trust_argument

EPILOG = """examples:
  tsplanner merge saves/qwen2.5-7b/lora/20261122-1
  tsplanner merge saves/qwen2.5-7b/qlora/20261122-1 --output merged --model-dtype bf16
"""
ADAPTER = "adapter"
CONFIG = "adapter_config.json"
DTYPE_BYTES = {Dtype.FP32: 4, Dtype.BF16: 2, Dtype.FP16: 2}
STORED = {"float32": Dtype.FP32, "bfloat16": Dtype.BF16, "float16": Dtype.FP16}
"""Dtypes as config.json writes them."""
SIZES = ((GIB, "GiB"), (MIB, "MiB"), (1024, "KiB"))
LEAST_SAID = 1e-4
"""A smaller difference is said to be below it."""
PROCESS_BYTES = 2 << 30
"""Of the merging process beside the weights: libraries, one matrix in fp32, the logits."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.epilog = EPILOG
    parser.add_argument(
        "run", type=path, metavar="RUN", help="a run's folder, or the folder of its adapter"
    )
    parser.add_argument(
        "--output", type=path, metavar="FOLDER", help="where the model goes [RUN/merged]"
    )
    parser.add_argument(
        "--model-dtype", choices=names(Dtype), help="of the written weights [as the base is stored]"
    )
    parser.add_argument("--cpu", action="store_true", help="merge on the CPU [where the plan ran]")
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace an older folder, and go on where the base's files changed since",
    )
    add_trust_argument(parser)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


@frozen
class MergeOptions:
    """What a person asks of a merge."""

    run: Path
    output: Path | None = None
    """None: ``merged`` in the run's folder."""
    dtype: Dtype | None = None
    """None: as the base is stored."""
    cpu: bool = False
    force: bool = False
    as_json: bool = False


def from_arguments(namespace: argparse.Namespace) -> int:
    """Call `run` with what was parsed."""
    return run(
        MergeOptions(
            run=namespace.run,
            output=namespace.output,
            dtype=None if namespace.model_dtype is None else Dtype(namespace.model_dtype),
            cpu=namespace.cpu,
            force=namespace.force,
            as_json=namespace.json,
        )
    )


@frozen
class Asked:
    """A merge that may begin."""

    plan: Plan
    run: Path
    adapter: Path
    output: Path
    dtype: Dtype


def run(options: MergeOptions) -> int:
    """Merge, check and print; the folder is written whole or not at all."""
    install.require("merge", install.TRAINING)
    asked = checked(options)
    shown = not options.as_json
    if shown:
        base = asked.plan.model.name
        print(f"merge  {asked.adapter} into {base}, {asked.dtype}", flush=True)
    try:
        with signals_as_interrupts():
            found = merged(asked, on_cpu=options.cpu, shown=shown)
    except KeyboardInterrupt as error:
        again = f"Nothing was written. Again with  {command('merge', options.run)}"
        return say_interrupted(error, again, as_json=options.as_json)
    if options.as_json:
        print(json.dumps(document(asked, found), indent=2))
    else:
        print("\n".join(result_lines(asked, found)))
    return EXIT_OK


def checked(options: MergeOptions) -> Asked:
    """What is merged, and where to; raises TsplannerError for what cannot be merged."""
    is_adapter = (options.run / CONFIG).is_file() and not (options.run / runs.PLAN_FILE).is_file()
    folder = options.run.parent if is_adapter else options.run
    if not (folder / runs.PLAN_FILE).is_file():
        raise TsplannerError(
            f"{folder} is no run's folder, for it has no {runs.PLAN_FILE}: name the one that train "
            "or tune printed."
        )
    plan = read_plan(folder / runs.PLAN_FILE)
    method = plan.learning.method.finetuning_type
    if not method.uses_adapter:
        raise TsplannerError(
            f"{folder} trained the weights themselves ({method}): {folder / 'model'} is a model as "
            "it is, and there is nothing to merge."
        )
    refuse_led(folder)
    adapter = options.run if is_adapter else folder / ADAPTER
    if not (adapter / CONFIG).is_file():
        raise TsplannerError(
            f"{adapter} holds no adapter: the run has saved none yet; go on with  "
            + command("train", "--run-folder", folder, "--resume")
        )
    _refuse_base(plan, force=options.force)
    output = options.output or folder / "merged"
    if output.exists() and not options.force:
        raise TsplannerError(
            f"{output} is there already: name another --output, or replace it with --force."
        )
    if output.exists() and not (output / "config.json").is_file():
        raise TsplannerError(f"{output} holds something else than a model: name another --output.")
    dtype = options.dtype or stored_dtype(plan)
    _refuse_without_room(plan, output, dtype)
    return Asked(plan=plan, run=folder, adapter=adapter, output=output, dtype=dtype)


def _refuse_base(plan: Plan, *, force: bool) -> None:
    """Raise TsplannerError for a base that is not what the adapter was trained on."""
    if (why := plan.model.without_weights) is not None:
        raise TsplannerError(
            f"{plan.model.name} was trained from random weights ({why}): there is no base to merge "
            "into."
        )
    base = Path(str(plan.model.path))
    if not (base / "config.json").is_file():
        raise TsplannerError(
            f"The base of the adapter is not in {base} any more: put it back, and merge again."
        )
    if not force:
        refuse_what_changed(plan)


def _refuse_without_room(plan: Plan, output: Path, dtype: Dtype) -> None:
    """Raise TsplannerError for a disk or a memory that the model has no room in."""
    from tsplanner.hardware.host import read_host

    size = plan.model.parameters_total * DTYPE_BYTES[dtype]
    runs.require_disk_space(output.parent, size + (64 << 20))
    free = read_host().available_bytes
    if free < size + PROCESS_BYTES:
        raise TsplannerError(
            f"A merge holds the whole model: {format_gib(size + PROCESS_BYTES, unit=True)} of RAM, "
            f"and {format_gib(free, unit=True)} are free; end what uses it, or merge on a larger "
            "machine."
        )


def stored_dtype(plan: Plan) -> Dtype:
    """The dtype that the base's config.json names; that of the plan where it names none of ours."""
    config = plan.model.config
    text = config.get("text_config")
    inner = text if isinstance(text, dict) else {}
    for holder in (config, inner):
        for key in ("dtype", "torch_dtype"):
            if (found := STORED.get(str(holder.get(key)))) is not None:
                return found
    return plan.hardware.base.autocast or plan.hardware.base.model_dtype


def merged(asked: Asked, *, on_cpu: bool = False, shown: bool = False) -> Merged:
    """Write a folder of another name, and rename it once it is whole and checked."""
    output = asked.output
    fresh, old = (output.parent / f".{output.name}.{each}" for each in ("new", "old"))
    with runs.clear_disk_errors(output.parent):
        output.parent.mkdir(parents=True, exist_ok=True)
        for leftover in (fresh, old):
            shutil.rmtree(leftover, ignore_errors=True)
        try:
            request = MergeRequest(
                plan=asked.plan,
                adapter=str(asked.adapter),
                output=str(fresh),
                dtype=asked.dtype,
                on_cpu=on_cpu,
            )
            found = run_merge(
                request, lambda stage: print(f"  {stage}", flush=True) if shown else None
            )
            _write_card(asked, found, fresh)
            if output.exists():
                output.rename(old)
            fresh.rename(output)
        finally:
            for leftover in (fresh, old):
                shutil.rmtree(leftover, ignore_errors=True)
    return found


def _write_card(asked: Asked, found: Merged, folder: Path) -> None:
    record = read_record(asked.run)
    if record is None:  # a run that was stopped has an adapter and no record
        return
    text = card(asked.plan, record, _place(asked), f"Checked: {compared_words(found.compared)}.")
    runs.write_text(folder / CARD_FILE, text)


def _place(asked: Asked) -> Place:
    base = str(asked.plan.model.path)
    return Place(weights=str(asked.output), base=base, merged=True, run=str(asked.run))


def compared_words(found: Compared) -> str:
    """How near the merged model is to base and adapter."""
    same = round(found.same_token * found.positions)
    whose = "of the dataset" if found.from_dataset else "of random tokens"
    off = "less than 0.01%" if found.difference < LEAST_SAID else f"{found.difference:.2%}"
    return (
        f"logits off by {off} of their size on {counted(found.rows, 'row')} "
        f"{whose}, where the adapter moves them by {found.effect:.0%}; the same most likely token "
        f"at {same:,} of {counted(found.positions, 'position')}"
    )


def size_words(size: int) -> str:
    """Bytes in the unit that reads best."""
    unit, name = next((pair for pair in SIZES if size >= pair[0]), SIZES[-1])
    return f"{size / unit:,.1f} {name}"


def result_lines(asked: Asked, found: Merged) -> list[str]:
    """What a person reads at the end."""
    place, plan = _place(asked), asked.plan
    first, *rest = code(plan, place)
    files = counted(found.files, "file")
    return [
        f"done   {asked.output}/   {files} of weights, {size_words(found.bytes)}",
        f"check  {compared_words(found.compared)}",
        f"use    {first}",
        *(f"       {line}".rstrip() for line in rest),
        *(f"serve  {sentence}" for sentence in servers(plan, place)),
    ]


def document(asked: Asked, found: Merged) -> dict[str, Any]:
    """The same as plain values."""
    return {
        "output": str(asked.output),
        "adapter": str(asked.adapter),
        "base": str(asked.plan.model.path),
        "model_dtype": str(asked.dtype),
        **asdict(found),
    }
