"""Which trials may share one base in one process, and one sentence for those that may not."""

from __future__ import annotations

from collections.abc import Mapping

from memory_models.settings import FinetuningType, Quantization
from tsplanner.planner.settings import HardwareSettings, LearningSettings

PACKED_METHODS = frozenset({FinetuningType.LORA, FinetuningType.RSLORA})
STRANGE_HEADS = ("logit_scale", "logits_scaling", "mup_width_multiplier")
"""config.json keys that change the logits after the head in ways the fused loss does not repeat."""
LOSS_DRIVEN = frozenset({"reduce_lr_on_plateau", "greedy"})
"""Schedules that ask for a loss at every step."""


def packing_refusal(
    learning: LearningSettings,
    hardware: HardwareSettings,
    config: Mapping[str, object] | None = None,
) -> str | None:
    """Why a trial runs unpacked, as one sentence; None: it can share the base.

    What is refused either trains the base, draws random numbers in the middle of a step, or looks
    over all rows of a batch: there a trial would learn something else in company than alone.
    ``config``: the model's config.json.
    """
    method, micro = learning.method.finetuning_type, hardware.batch.micro_batch_size
    scheduler = learning.optimization.lr_scheduler_type
    batch = learning.optimization.effective_batch_size
    strange = [key for key in STRANGE_HEADS if (config or {}).get(key) not in (None, 1, 1.0)]
    dropouts = [key for key in config or () if "drop" in key and _positive((config or {})[key])]
    reasons = {
        f"{method} changes or reads the base's own weights": method not in PACKED_METHODS,
        f"lora_dropout {learning.method.lora_dropout:g} draws its masks batch by batch": bool(
            learning.method.lora_dropout
        ),
        f"the base has a dropout of its own ({', '.join(dropouts)})": bool(dropouts),
        f"packs take the fused loss, which does not know {', '.join(strange)}": bool(strange),
        "int8 looks for outliers over all rows of a batch": hardware.base.quantization
        is Quantization.INT8,
        f"the schedule {scheduler} follows the loss": scheduler in LOSS_DRIVEN,
        f"it runs on {hardware.sharding.world_size} ranks": hardware.sharding.world_size > 1,
        f"ZeRO stage {hardware.sharding.zero_stage} shards the base": hardware.sharding.zero_stage
        > 0,
        f"effective batch {batch} is no multiple of micro-batch {micro}": (batch % micro != 0),
    }
    found = [reason for reason, holds in reasons.items() if holds]
    return f"This trial runs unpacked: {found[0]}." if found else None


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0
