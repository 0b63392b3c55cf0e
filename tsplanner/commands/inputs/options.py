"""Flags that several verbs share. A flag carries the name of the field it sets."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from memory_models.settings import (
    Attention,
    DecoderKernels,
    Dtype,
    FinetuningType,
    LossKernel,
    Optimizer,
    Quantization,
    paths,
)
from tsplanner.commands.inputs.aliases import BATCH
from tsplanner.commands.inputs.values import (
    ALL,
    NONE,
    Method,
    alphas,
    budget,
    count,
    cutoff,
    fraction,
    layers,
    memory_size,
    method,
    names,
    not_negative,
    number_of_epochs,
    path,
    path_text,
    positive,
    positive_float,
    quantization,
    ranks,
    saved_modules,
    seed,
    switch,
    targets,
)
from tsplanner.commands.inputs.words import SETTINGS
from tsplanner.datasets.records import DataSource, LossOn
from tsplanner.errors import UsageError
from tsplanner.planner.request import Pins
from tsplanner.planner.settings import LearningSettings
from tsplanner.runs import SAVES

if TYPE_CHECKING:  # only a file of one's own needs the reader
    from tsplanner.planner.gather.deepspeed_file import DeepSpeedFile


class Added(argparse.Action):
    """A flag that adds up where it is repeated: two ``--gpus`` describe one machine."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        """Add the value to those before it."""
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, values if before is None else f"{before} + {values}")


def add_subject(parser: argparse.ArgumentParser) -> None:
    """Model, data and machine."""
    group = parser.add_argument_group("what and where")
    group.add_argument(
        "--model", metavar="NAME", help="folder, config.json, preset or hub id [tiny-chatts]"
    )
    group.add_argument(
        "--dataset",
        type=path_text,
        nargs="+",
        action="extend",
        metavar="FILE",
        help="files or folders of training rows [none: full-length rows; tiny-chatts: a sample]",
    )
    group.add_argument(
        "--columns",
        metavar="PAIRS",
        help="your names of the fields: prompt=instruction,answer=reply [found by name]",
    )
    group.add_argument(
        "--tokenizer",
        type=path_text,
        metavar="FOLDER",
        help="folder of another tokenizer [the model's own]",
    )
    group.add_argument(
        "--on-bad-rows",
        choices=["refuse", "drop"],
        default="refuse",
        help="what to do about rows that cannot be read [%(default)s]",
    )
    group.add_argument(
        "--gpus",
        "--device",
        action=Added,
        metavar="TEXT",
        help="GPUs, such as '2x RTX 3090'; repeated flags add up [those of this machine]",
    )
    group.add_argument(
        "--machine",
        metavar="FILE",
        help="a machine file, or one that ships here: 8x-h100-80gib [this machine]",
    )
    group.add_argument(
        "--host-memory",
        type=memory_size,
        metavar="SIZE",
        help="RAM there, such as 1TiB [its own; with --gpus by a rule, printed where it decides]",
    )
    group.add_argument(
        "--nodes", type=positive, metavar="N", help="machines like that, used together [1]"
    )
    group.add_argument(
        "--node-link",
        type=positive_float,
        metavar="GBIT",
        help="network of one of them in Gbit/s [by its cards, which a note says]",
    )
    group.add_argument("--cpu", action="store_true", help="plan for the CPU despite the GPUs")


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


def add_pins(parser: argparse.ArgumentParser) -> None:
    """Hardware settings; each one given is pinned, the rest the planner chooses."""
    group = parser.add_argument_group(
        "hardware settings [chosen by the planner]; one that is given is pinned"
    )

    def pin(name: str, default: str = "", **shape: Any) -> None:
        """A flag for a setting, in the words that every verb has for it."""
        flag = f"--{name.replace('_', '-')}"
        group.add_argument(flag, help=f"{SETTINGS[name]}{default}", **shape)

    on_off: dict[str, Any] = {"type": switch, "metavar": "on|off"}
    pin("world_size", type=positive, metavar="N")
    pin("micro_batch_size", type=positive, metavar="N")
    pin("token_budget", "; none: pad [by what is faster]", type=budget, metavar="N|none")
    pin("gradient_checkpointing", **on_off)
    pin("checkpointed_layers", "; all: all or none [as few as fit]", type=layers, metavar="N|all")
    pin("attention", choices=names(Attention))
    # Liger's kernels are other trainers': `estimate` sizes them, and our worker has none.
    pin("loss_kernel", choices=[LossKernel.PLAIN.value, LossKernel.FUSED.value])
    pin("optimizer", choices=names(Optimizer))
    words = f"{SETTINGS['decoder_kernels']} [compiled from capability 8.0 with Triton, else fused]"
    own = [each for each in DecoderKernels if each is not DecoderKernels.LIGER]
    kernels: dict[str, Any] = {"type": DecoderKernels, "choices": own}
    group.add_argument(
        "--kernels",
        dest="decoder_kernels",
        help=words,
        metavar="reference|fused|compiled",
        **kernels,
    )
    pin("model_dtype", choices=names(Dtype))
    kinds = ", ".join([NONE, *names(Quantization)])
    pin("quantization", f": {kinds} [by what fits]", type=quantization, metavar="NAME")
    pin("upcast_unquantized", " [off]", **on_off)
    pin("zero_stage", type=int, choices=[0, 1, 2, 3])
    pin("fsdp", "; no GPU has run it yet [off]", **on_off)
    pin("offload_optimizer", **on_off)
    pin("offload_param", **on_off)
    pin("streamed_layers", " [none; with --allow-streaming as few as fit]", type=count, metavar="N")
    pin("host_checkpoints", **on_off)
    pin("stream_from_files", " [off, where the host has room]", **on_off)
    pin("passes_together", " [all of a step that fit]", type=positive, metavar="N")
    group.add_argument(
        "--deepspeed",
        type=path,
        metavar="FILE",
        help=f"{SETTINGS['deepspeed']}: pins what it fixes, and memory is sized by it [none]",
    )
    group.add_argument(
        "--allow-rounding",
        action="store_true",
        help="take a quantised base or an 8-bit optimizer where it is faster [only where needed]",
    )
    group.add_argument(
        "--allow-streaming",
        action="store_true",
        help="stream layers from host RAM where nothing else fits unrounded; no GPU has run it yet",
    )
    group.add_argument(
        "--cpu-threads",
        type=positive,
        metavar="N",
        help="CPU threads per training process [by the model's size]",
    )


PINNED: dict[str, Callable[[Any], object]] = {
    "world_size": int,
    "micro_batch_size": int,
    "token_budget": int,
    "gradient_checkpointing": bool,
    "checkpointed_layers": int,
    "attention": Attention,
    "loss_kernel": LossKernel,
    "optimizer": Optimizer,
    "decoder_kernels": DecoderKernels,
    "model_dtype": Dtype,
    "quantization": Quantization,
    "upcast_unquantized": bool,
    "zero_stage": int,
    "fsdp": bool,
    "offload_optimizer": bool,
    "offload_param": bool,
    "streamed_layers": int,
    "host_checkpoints": bool,
    "stream_from_files": bool,
    "passes_together": int,
    "cpu_threads": int,
}
"""Hardware settings that a flag pins, with what makes the flag's value one of the setting."""

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


def pins(options: argparse.Namespace, file: DeepSpeedFile | None = None) -> Pins:
    """Hardware settings that were given, and those that a DeepSpeed file fixes.

    Raises:
        UsageError: the two contradict each other.
    """
    found: dict[str, object] = {}
    for name, kind in PINNED.items():
        given = getattr(options, name)
        if given is not None:
            # A pin of None fixes the setting to None; the planner chooses a
            # setting that has no pin.
            found[name] = None if given in (NONE, ALL) else kind(given)
    if file is not None:
        from tsplanner.planner.gather.deepspeed_file import merged

        found = merged(found, file) | {"deepspeed": file.config}
    return Pins(**found)


def add_plan_argument(parser: argparse.ArgumentParser) -> None:
    """--plan and --saves."""
    parser.add_argument(
        "--plan",
        type=path,
        metavar="FILE",
        help="plan.json to start from [the newest under --saves]",
    )
    add_saves_argument(parser)


def add_saves_argument(parser: argparse.ArgumentParser) -> None:
    """--saves, the folder that plans and runs are kept in."""
    parser.add_argument(
        "--saves",
        type=path,
        default=SAVES,
        metavar="FOLDER",
        help="folder of all runs [%(default)s]",
    )


def add_random_weights_argument(parser: argparse.ArgumentParser) -> None:
    """--random-weights, for a model that has none on purpose."""
    parser.add_argument(
        "--random-weights",
        action="store_true",
        help="train a model that has no weights from random ones",
    )


def add_force_argument(parser: argparse.ArgumentParser, more: str = "") -> None:
    """--force, for what starts a worker; ``more`` is what else it means to the verb."""
    parser.add_argument(
        "--force",
        action="store_true",
        help="start even where less memory is free than the plan needs, or files changed since"
        + (more and f"; {more}"),
    )


def data_source(options: argparse.Namespace) -> DataSource | None:
    """The dataset that was typed; None: none was.

    Raises UsageError: --columns is no list of pairs, or comes without a dataset.
    """
    if options.dataset is None:
        if options.columns is not None:
            raise UsageError("--columns names the fields of a dataset: add --dataset FILE.")
        return None
    if options.columns is None:
        return DataSource(paths=tuple(options.dataset))
    from tsplanner.datasets.rows.columns import parsed_columns

    return DataSource(paths=tuple(options.dataset), columns=parsed_columns(options.columns))
