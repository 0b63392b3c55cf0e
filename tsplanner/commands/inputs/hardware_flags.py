"""Flags of hardware settings, and which of them a person pins."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from memory_models.settings import (
    Attention,
    DecoderKernels,
    Dtype,
    LossKernel,
    Optimizer,
    Quantization,
)
from tsplanner.commands.inputs.values import (
    ALL,
    NONE,
    budget,
    counts,
    inputs,
    layers,
    names,
    path,
    positive,
    quantization,
    switch,
)
from tsplanner.commands.inputs.words import SETTINGS
from tsplanner.planner.request import Pins

if TYPE_CHECKING:  # only a file of one's own needs the reader
    from tsplanner.planner.gather.deepspeed_file import DeepSpeedFile


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
    pin("loss_kernel", choices=[LossKernel.PLAIN.value, LossKernel.FUSED.value])
    pin("optimizer", choices=names(Optimizer))
    words = f"{SETTINGS['decoder_kernels']} [compiled from capability 8.0 with Triton, else fused]"
    group.add_argument(
        "--kernels",
        dest="decoder_kernels",
        help=words,
        metavar="reference|fused|compiled",
        # Liger's are other trainers': `estimate` sizes them, and our worker has none.
        choices=[each.value for each in DecoderKernels if each is not DecoderKernels.LIGER],
    )
    pin("model_dtype", choices=names(Dtype))
    kinds = ", ".join([NONE, *names(Quantization)])
    pin("quantization", f": {kinds} [by what fits]", type=quantization, metavar="NAME")
    pin("upcast_unquantized", " [off]", **on_off)
    pin("zero_stage", type=int, choices=[0, 1, 2, 3])
    pin("fsdp", " [by what is faster, under adapters]", **on_off)
    pin("fsdp_per_host", " [by what is faster]", **on_off)
    pin("offload_optimizer", **on_off)
    pin("offload_param", **on_off)
    pin(
        "streamed_layers",
        "; N,N: of each GPU [as few as fit, where the base does not; 0: none]",
        type=counts,
        metavar="N|N,N",
    )
    pin(
        "inputs_on_device",
        "; all: all [as many as fit, where they count]",
        type=inputs,
        metavar="N|all",
    )
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
    "fsdp_per_host": bool,
    "offload_optimizer": bool,
    "offload_param": bool,
    "streamed_layers": lambda given: given,
    "inputs_on_device": int,
    "stream_from_files": bool,
    "passes_together": int,
    "cpu_threads": int,
}
"""Hardware settings that a flag pins, with what makes the flag's value one of the setting."""


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
