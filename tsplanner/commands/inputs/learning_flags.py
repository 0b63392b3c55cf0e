"""Flags of learning settings, and what was given of them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from memory_models.settings import (
    FinetuningType,
    paths,
)
from tsplanner.commands.inputs.aliases import BATCH
from tsplanner.commands.inputs.values import (
    Method,
    alphas,
    count,
    counts,
    cutoff,
    fraction,
    inputs,
    method,
    not_negative,
    number_of_epochs,
    positive,
    positive_float,
    ranks,
    saved_modules,
    seed,
    targets,
)
from tsplanner.commands.inputs.words import SETTINGS
from tsplanner.datasets.records import LossOn
from tsplanner.errors import UsageError
from tsplanner.planner.settings import LearningSettings

if TYPE_CHECKING:  # only a file of one's own needs the reader
    from tsplanner.planner.gather.deepspeed_file import DeepSpeedFile


SCHEDULERS = (
    "cosine",
    "linear",
    "constant",
    "constant_with_warmup",
    "cosine_with_restarts",
    "polynomial",
    "inverse_sqrt",
)
"""Learning-rate schedules of transformers that need nothing but the number of steps."""

METAVARS: dict[Callable[[str], object], str] = {
    positive: "N",
    cutoff: "N",
    seed: "N",
    count: "N",
    counts: "N|N,N",
    inputs: "N|all",
    number_of_epochs: "X",
    not_negative: "X",
    positive_float: "X",
    fraction: "X",
    targets: "NAMES",
    saved_modules: "NAMES",
    ranks: "PAIRS",
    alphas: "PAIRS",
}
"""What stands for a value in the help, by the function that reads it."""


def add_learning(parser: argparse.ArgumentParser) -> None:
    """Learning settings; never changed for memory's sake."""
    defaults = LearningSettings()
    method_defaults, held_out = defaults.method, defaults.data.validation_fraction
    group = parser.add_argument_group("learning settings")
    group.add_argument(
        "--finetuning-type",
        type=method,
        action=Method,
        metavar="METHOD",
        help=f"{', '.join(FinetuningType)}, or qlora: lora on nf4 [lora]",
    )
    for flag, kind, text in (
        ("--lora-rank", positive, f"rank of the adapters [{method_defaults.lora_rank}]"),
        ("--lora-alpha", positive_float, "scale of the adapters [twice the rank]"),
        ("--lora-dropout", fraction, f"{SETTINGS['lora_dropout']} [0]"),
        ("--lora-target", targets, "module names joined by commas, or all-linear [all-linear]"),
        ("--modules-to-save", saved_modules, f"{SETTINGS['modules_to_save']} [none]"),
        ("--rank-pattern", ranks, f"{SETTINGS['rank_pattern']} [none]"),
        ("--alpha-pattern", alphas, "alphas of single targets, such as q_proj=32 [none]"),
        ("--adalora-init-rank", positive, "rank that AdaLoRA starts from [1.5 x rank]"),
        (
            "--freeze-trainable-layers",
            positive,
            f"last layers that freeze trains [{method_defaults.freeze_trainable_layers}]",
        ),
        ("--learning-rate", positive_float, "highest rate of the run [by method and model size]"),
        ("--timeseries-lr", positive_float, "rate of the time-series encoder [--learning-rate]"),
        (
            "--warmup-ratio",
            fraction,
            f"share of the steps in which the rate rises [{defaults.optimization.warmup_ratio}]",
        ),
        ("--warmup-steps", count, "number of these steps [by --warmup-ratio]"),
        ("--weight-decay", not_negative, "decay of trained matrices [0]"),
        (
            "--max-grad-norm",
            not_negative,
            f"gradients are clipped to it; 0: never [{defaults.optimization.max_grad_norm:g}]",
        ),
        ("--neftune-noise-alpha", positive_float, "NEFTune: noise on embeddings, often 5 [none]"),
        (
            "--epochs",
            number_of_epochs,
            f"passes over the rows, also 0.5 [{defaults.optimization.num_train_epochs}]",
        ),
        ("--max-steps", positive, "steps of the run, whatever the epochs [as the epochs have]"),
        (
            "--effective-batch",
            positive,
            f"samples of a step, kept exactly [{defaults.optimization.effective_batch_size}]",
        ),
        (
            "--cutoff-len --sequence-length",
            cutoff,
            f"text tokens of a sample [{defaults.data.cutoff_len}]",
        ),
        (
            "--validation-fraction",
            fraction,
            f"share of the rows that is held out [{held_out}]",
        ),
        ("--eval-steps", positive, "evaluate every N steps, and at the end [every epoch]"),
        ("--save-steps", positive, "keep a checkpoint every N steps [every epoch]"),
        (
            "--early-stopping-patience",
            positive,
            "end after N evaluations without a lower held-out loss [never]",
        ),
        ("--seed", seed, f"seed of shuffling and adapters [{defaults.seed}]"),
    ):
        group.add_argument(*flag.split(), type=kind, metavar=METAVARS[kind], help=text)
    group.add_argument(
        "--lr-scheduler-type",
        choices=SCHEDULERS,
        metavar="NAME",
        help=f"{', '.join(SCHEDULERS)} [{defaults.optimization.lr_scheduler_type}]",
    )
    # Another trainer's word, which together with the micro-batch is the effective batch.
    group.add_argument(f"--{BATCH}", type=positive, help=argparse.SUPPRESS)
    group.add_argument(
        "--loss-on",
        type=LossOn,
        choices=list(LossOn),
        metavar="|".join(LossOn),
        help=f"turns that carry loss where a row does not say so [{defaults.data.loss_on}]",
    )


_FIELD_OF_FLAG = {"epochs": "num_train_epochs", "effective_batch": "effective_batch_size"}
_LEARNING_FIELDS = frozenset(paths(LearningSettings))


def learning_values(
    options: argparse.Namespace, file: DeepSpeedFile | None = None
) -> dict[str, object]:
    """Learning settings that were given, by field name, and the batch of a DeepSpeed file.

    Raises:
        UsageError: the file has another batch than the one that was given.
    """
    found: dict[str, object] = {}
    for flag, value in vars(options).items():
        name = _FIELD_OF_FLAG.get(flag, flag)
        if value is not None and name in _LEARNING_FIELDS:
            found[name] = value
    if options.gradient_accumulation_steps is not None:
        found.setdefault("effective_batch_size", _effective_batch(options))
    if file is not None and file.effective_batch_size is not None:
        batch = found.setdefault("effective_batch_size", file.effective_batch_size)
        if batch != file.effective_batch_size:
            raise UsageError(
                f"--effective-batch {batch} and {file.name} (train_batch_size "
                f"{file.effective_batch_size}) contradict each other: leave one out."
            )
    return found


def _effective_batch(options: argparse.Namespace) -> int:
    """Samples of a step as other trainers say them: micro-batch x accumulation x processes.

    Raises UsageError: the micro-batch is missing, or --effective-batch says otherwise.
    """
    if options.micro_batch_size is None:
        raise UsageError(
            f"--{BATCH} counts micro-batches: give --micro-batch-size beside it, or give "
            "--effective-batch alone."
        )
    processes = options.world_size or 1
    found: int = options.micro_batch_size * options.gradient_accumulation_steps * processes
    if options.effective_batch not in (None, found):
        raise UsageError(
            f"--effective-batch {options.effective_batch} and --{BATCH} "
            f"{options.gradient_accumulation_steps} x --micro-batch-size "
            f"{options.micro_batch_size} x {processes} contradict each other: leave one out."
        )
    return found


ONLY_WITH = {
    "freeze_trainable_layers": (FinetuningType.FREEZE,),
    "adalora_init_rank": (FinetuningType.ADALORA,),
}
"""Flags that some methods alone have."""


def refuse_idle_flags(options: argparse.Namespace) -> None:
    """Raise UsageError for a flag that says nothing beside the others, and would not count."""
    if options.warmup_steps is not None and options.warmup_ratio is not None:
        raise UsageError("--warmup-steps and --warmup-ratio say the same: leave one out.")
    warms = options.warmup_steps or options.warmup_ratio
    if options.lr_scheduler_type == "constant" and warms:
        raise UsageError(
            "The schedule constant has no warm-up: take --lr-scheduler-type constant_with_warmup, "
            "or leave the warm-up out."
        )
    chosen = options.finetuning_type or LearningSettings().method.finetuning_type
    for name, methods in ONLY_WITH.items():
        if getattr(options, name) is not None and chosen not in methods:
            raise UsageError(
                f"--{name.replace('_', '-')} is for --finetuning-type {methods[0]}, not {chosen}: "
                "give that method, or leave the flag out."
            )
