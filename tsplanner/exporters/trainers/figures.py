"""What every other project's trainer is told of a plan: weights, rows and numbers of steps."""

from __future__ import annotations

from memory_models.architecture import Architecture
from memory_models.settings import (
    Quantization,
)
from memory_models.states.chatts_remote_code import as_released
from tsplanner.errors import TsplannerError
from tsplanner.exporters.launch import ExportOptions
from tsplanner.exporters.rows.form import RowsAs
from tsplanner.models.quantized import stored_base
from tsplanner.planner import steps
from tsplanner.planner.forecast import training_rows
from tsplanner.planner.plan import Plan


def architecture_of(plan: Plan) -> Architecture:
    """The plan's architecture under our own code or, with remote code, under the authors' code."""
    found = plan.architecture
    return as_released(found) if plan.model.trust_remote_code else found


def text_only(plan: Plan, trainer: str) -> Architecture:
    """The plan's architecture, if the model reads only text.

    Raises:
        TsplannerError: the model reads series.
    """
    found = architecture_of(plan)
    if found.encoder is not None:
        raise TsplannerError(
            f"{trainer} does not read time series: export llamafactory, whose ChatTS fork does, or "
            "plan again with a text model."
        )
    return found


def rounds_base_to(plan: Plan) -> Quantization | None:
    """The quantisation that a trainer must be asked for; None: none, or the folder has it.

    Raises:
        TsplannerError: the plan multiplies in 8 bits, which only our own worker does.
    """
    base = plan.hardware.base
    if base.multiplies_8bit:
        raise TsplannerError(
            f"No other trainer multiplies a frozen base as {base.quantization}: run the plan with "
            "tsplanner train, or plan again with --quantization none or nf4-dq."
        )
    return None if stored_base(plan.model.config) else base.quantization


def weights_of(plan: Plan, options: ExportOptions) -> str:
    """Folder or hub id of the weights.

    Raises:
        TsplannerError: the plan has no weights, and the user named none.
    """
    if options.weights is not None:
        return options.weights
    if plan.model.path is None or not plan.model.has_weights:
        raise TsplannerError(
            f"{plan.model.name} has no weights beside its config.json: give --weights FOLDER (or a "
            "hub id), or plan again with a folder that has them."
        )
    return plan.model.path


def dataset_of(plan: Plan) -> str:
    """Path of the dataset.

    Raises:
        TsplannerError: the plan names no dataset.
    """
    if plan.dataset.path is None:
        raise TsplannerError(
            "The plan names no dataset, so there is nothing to train on: plan again with "
            "--dataset FILE."
        )
    return plan.dataset.path


def rows_notes(plan: Plan, options: ExportOptions, trainer: str) -> list[str]:
    """What a trainer makes of the rows; raises TsplannerError if the plan names no dataset."""
    dataset_of(plan)
    if options.rows is RowsAs.TOKENS:
        return [
            f"rows/ holds token ids and labels as tsplanner's worker makes them: {trainer} learns "
            f"the same tokens (loss on: {plan.learning.data.loss_on}) from the same rows, cut at "
            f"{plan.learning.data.cutoff_len} tokens."
        ]
    return [
        f"rows/ holds dialogues, which {trainer} renders, masks and cuts in its own way: "
        "docs/your-data.md says where that differs from tsplanner's worker.",
    ]


def why_unpacked(plan: Plan, options: ExportOptions) -> str:
    """Why a trainer's own packing is off, as a clause."""
    if options.repacked:
        return (
            "since the plan packs the rows of one step, and this would put other rows into a step: "
            f"rows are padded here, micro-batch {plan.hardware.batch.micro_batch_size}, and the "
            "packed plan's time does not hold"
        )
    return "as the plan pads one row per sample"


def held_out_rows(plan: Plan) -> int:
    """Number of held-out rows, as our own worker counts them."""
    kept = plan.dataset.lengths.rows_kept
    return kept - training_rows(kept, plan.learning.data.validation_fraction)


def warmup_steps(plan: Plan) -> int:
    """Number of warm-up steps, as our own worker counts them.

    A number is exported because each trainer rounds a share of the steps in another way.
    """
    return steps.warmup_steps(plan.learning, plan.time.total_steps)
