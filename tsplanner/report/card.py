"""The model card beside trained weights: what they are, from what, how, and what came of it.

Nothing of this machine's folders is in it: whoever hands weights on hands the card on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from memory_models.units import counted, format_gib
from tsplanner import __version__, runs
from tsplanner.planner.forecast import training_rows
from tsplanner.planner.plan import Plan
from tsplanner.planner.settings import pace_given
from tsplanner.planner.steps import epochs_of
from tsplanner.reading import read_text
from tsplanner.report.records.overfitting import overfitting, record_points
from tsplanner.report.records.read_runs import device_name, sharding_label
from tsplanner.report.serving import Place, code, servers, shared_place
from tsplanner.report.text import duration, loss, parameters
from tsplanner.training.record import Record

CARD_FILE = "README.md"
HEADER = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
LICENCE_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE")
LONGEST_NAME = 80


def write_card(plan: Plan, record: Record, folder: Path, place: Place) -> Path:
    """Write README.md into the folder of the weights, and return its path."""
    path = folder / CARD_FILE
    runs.write_text(path, card(plan, record, place))
    return path


def card(plan: Plan, record: Record, place: Place, checked: str = "") -> str:
    """The text of the card; ``checked``: what a merge was checked by."""
    shared = shared_place(plan, place)
    method = plan.learning.method.finetuning_type
    what = f"{plan.model.name}, {method} on {plan.dataset.name}"
    merged = place.merged and method.uses_adapter
    return "\n".join(
        [
            *_header(plan, place),
            f"# {what}{', merged' if merged else ''}",
            "",
            *_warning(plan),
            _first_words(plan, place, merged=merged) + (f" {checked}" if checked else ""),
            "",
            *_section("Base and licence", _base(plan)),
            *_section("Data", _data(plan)),
            *_section("Settings", _settings(plan)),
            *_section("Losses", _losses(record, place)),
            *_section("Run", _run(plan, record)),
            "## Use",
            "",
            *_use_notes(plan, shared),
            "```python",
            *code(plan, shared),
            "```",
            "",
            *(f"- {sentence}" for sentence in servers(plan, shared)),
            "",
        ]
    )


def _header(plan: Plan, place: Place) -> Iterator[str]:
    """What a hub reads of a card."""
    import yaml

    told: dict[str, Any] = {
        "library_name": "peft" if place.is_adapter else "transformers",
        "pipeline_tag": "text-generation",
        "base_model": plan.model.name,
        "tags": ["tsplanner", str(plan.learning.method.finetuning_type)],
    }
    if (licence := licence_of(plan.model.path)) is not None:
        told["license"] = licence
    yield "---"
    yield yaml.safe_dump(told, sort_keys=False, allow_unicode=True).rstrip("\n")
    yield "---"
    yield ""


def licence_of(folder: str | None) -> str | None:
    """The licence that the card in a base's folder names; None: it names none."""
    import yaml

    if folder is None:
        return None
    try:
        found = HEADER.match(read_text(Path(folder) / CARD_FILE))
        told = yaml.safe_load(found.group(1)) if found else None
    except (OSError, ValueError, yaml.YAMLError):
        return None
    name = told.get("license") if isinstance(told, Mapping) else None
    return str(name)[:LONGEST_NAME] if isinstance(name, str) and name.strip() else None


def _warning(plan: Plan) -> list[str]:
    why = plan.model.without_weights
    if why is None:
        return []
    return [f"**RANDOM WEIGHTS: {why}. What was learned is worth nothing.**", ""]


def _first_words(plan: Plan, place: Place, *, merged: bool) -> str:
    trained = parameters(plan.model.parameters_trainable)
    total = parameters(plan.model.parameters_total)
    if merged:
        what = f"The {total} parameters of the base with an adapter of {trained} merged into them"
    elif place.is_adapter:
        what = f"An adapter of {trained} parameters for a base of {total}"
    else:
        what = f"A model of {total} parameters, of which {trained} were trained"
    return f"{what}, made with tsplanner {__version__}."


def _section(heading: str, rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    yield f"## {heading}"
    yield ""
    yield "| | |"
    yield "|---|---|"
    for name, value in rows:
        yield f"| {name} | {_cell(value)} |"
    yield ""


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _base(plan: Plan) -> Iterator[tuple[str, str]]:
    hardware = plan.hardware.base
    yield "base", f"{plan.model.name} ({plan.model.model_type})"
    rounded = "" if hardware.quantization is None else f", rounded to {hardware.quantization}"
    yield "as it was trained on", f"{hardware.model_dtype}{rounded}"
    licence = licence_of(plan.model.path)
    own = Path(plan.model.path) if plan.model.path is not None else None
    if licence is not None:
        yield "licence of the base", licence
    elif own is not None and any((own / name).is_file() for name in LICENCE_FILES):
        yield "licence of the base", "see the licence file in its folder"
    else:
        yield "licence of the base", "its folder names none: look it up before you hand this on"


def _data(plan: Plan) -> Iterator[tuple[str, str]]:
    lengths, data = plan.dataset.lengths, plan.learning.data
    trained = training_rows(lengths.rows_kept, data.validation_fraction)
    yield "dataset", plan.dataset.name
    yield "rows", f"{lengths.rows_total:,}, of which {lengths.rows_kept:,} could be used"
    yield "trained on / held out", f"{trained:,} / {lengths.rows_kept - trained:,}"
    yield "positions of a row", f"{lengths.mean:,.0f} on average, {lengths.longest:,} at most"
    yield "loss on", f"{data.loss_on}, of rows cut at {data.cutoff_len:,} tokens"


def _settings(plan: Plan) -> Iterator[tuple[str, str]]:
    learning, optimization = plan.learning, plan.learning.optimization
    method = learning.method
    yield "method", str(method.finetuning_type)
    if method.uses_adapter:
        targets = method.lora_target
        names = targets if isinstance(targets, str) else ", ".join(targets)
        yield (
            "rank / alpha / dropout",
            (f"{method.lora_rank} / {method.alpha:g} / {method.lora_dropout:g}"),
        )
        yield "targets", names
        if method.modules_to_save:
            yield "trained whole", ", ".join(method.modules_to_save)
    yield "learning rate", f"{optimization.learning_rate:g}, {optimization.lr_scheduler_type}"
    epochs = epochs_of(learning, plan.time.steps_per_epoch)
    yield "planned", f"{counted(plan.time.total_steps, 'step')}, {epochs:.3g} epochs"
    yield "effective batch", str(plan.hardware.effective_batch_size)
    yield "optimizer", str(plan.hardware.kernels.optimizer)
    for name, value in pace_given(learning).items():
        yield name, f"{value}"
    yield "seed", str(learning.seed)


def _losses(record: Record, place: Place) -> Iterator[tuple[str, str]]:
    losses = record.losses
    best = min(losses.evaluations, key=lambda each: each.loss, default=None)
    yield "held out, before", loss(losses.start_eval_loss)
    if best is not None:
        own = " (these weights)"
        yield (
            "held out, best",
            (f"{loss(best.loss)} after step {best.step}{'' if place.last else own}"),
        )
        yield "held out, last", f"{loss(losses.evaluations[-1].loss)}{own if place.last else ''}"
    yield "training, first and last step", f"{loss(losses.first_loss)}, {loss(losses.last_loss)}"
    for sentence in overfitting(record_points(record)).sentences:
        yield "curve", sentence
    if record.message:
        yield "end", record.message
    if losses.values is not None:
        values = losses.values
        yield "values checked", f"right in {values.right} of {counted(values.answers, 'answer')}"
    yield "unit", "mean cross-entropy per answer token, nats"


def _run(plan: Plan, record: Record) -> Iterator[tuple[str, str]]:
    device, count = device_name(plan, record), plan.hardware.sharding.world_size
    yield "hardware", device if count == 1 else f"{count} x {device}"
    if plan.hardware.sharding.zero_stage:
        yield "sharding", sharding_label(plan.hardware)
    peak = format_gib(record.memory.process_bytes, unit=True)
    foretold = format_gib(plan.memory.process_bytes.expected, unit=True)
    yield (
        "memory",
        (f"{peak} at the peak, {foretold} predicted"),
    )
    yield "time", f"{counted(record.steps, 'step')} in {duration(record.timing.seconds)}"
    yield "versions", ", ".join(f"{name} {found}" for name, found in record.versions.items())


def _use_notes(plan: Plan, place: Place) -> Iterator[str]:
    if plan.model.path is not None and place.is_adapter:
        yield (
            f'Put the folder or the hub\'s id of the base in place of "{place.base}". '
            "`adapter_config.json` names the folder that the base had where it was trained."
        )
        yield ""
    if place.is_adapter and plan.hardware.base.multiplies_8bit:
        yield (
            f"It was trained on its base in {plan.hardware.base.quantization}, whose products are "
            "tsplanner's own: the plain base answers nearly the same, and `tsplanner merge` keeps "
            "the rounded values."
        )
        yield ""
    if plan.architecture.encoder is not None:
        yield "The code needs tsplanner for ChatTS's own classes; it runs none of a model's folder."
        yield ""
