"""Which trials may share one base in one process, and what stands in the way of the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from memory_models.settings import FinetuningType, Quantization
from tsplanner.planner.settings import HardwareSettings, LearningSettings

SHARING_METHODS = frozenset({FinetuningType.LORA, FinetuningType.RSLORA})
STRANGE_HEADS = ("logit_scale", "logits_scaling", "mup_width_multiplier")
"""config.json keys that change the logits after the head in ways the fused loss does not repeat."""
LOSS_DRIVEN = frozenset({"reduce_lr_on_plateau", "greedy"})
"""Learning-rate schedules that ask for a loss at every step."""


class Obstacle(StrEnum):
    """What keeps a trial from sharing its base with other trials."""

    METHOD = "method"
    LORA_DROPOUT = "lora_dropout"
    BASE_DROPOUT = "base_dropout"
    LM_HEAD = "lm_head"
    INT8 = "int8"
    SCHEDULE = "schedule"
    WORLD_SIZE = "world_size"
    ZERO = "zero"
    BATCH_SIZE = "batch_size"


REASONS = {
    Obstacle.METHOD: "{detail} changes or reads the base's own weights",
    Obstacle.LORA_DROPOUT: "lora_dropout {detail} draws its masks batch by batch",
    Obstacle.BASE_DROPOUT: "the base has a dropout of its own ({detail})",
    Obstacle.LM_HEAD: "multi-LoRA takes the fused loss, which does not know {detail}",
    Obstacle.INT8: "{detail} looks for outliers over all rows of a batch",
    Obstacle.SCHEDULE: "the schedule {detail} follows the loss",
    Obstacle.WORLD_SIZE: "it runs on {detail} ranks",
    Obstacle.ZERO: "ZeRO stage {detail} shards the base",
    Obstacle.BATCH_SIZE: "effective batch {detail}",
}
"""The reason of each obstacle as a clause; ``detail`` names the setting at fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharingRefusal:
    """Why a trial cannot share its base."""

    obstacle: Obstacle
    detail: str
    """The value of the setting at fault, as a person reads it."""

    def sentence(self, subject: str = "This trial runs") -> str:
        """One sentence for a person, on one trial or on all."""
        return f"{subject} alone: {REASONS[self.obstacle].format(detail=self.detail)}."


def sharing_refusal(
    learning: LearningSettings,
    hardware: HardwareSettings,
    config: Mapping[str, object] | None = None,
) -> SharingRefusal | None:
    """The first obstacle that keeps a trial from sharing its base; None: it can share.

    What is refused either trains the base, draws random numbers in the middle of a step, or looks
    over all rows of a batch: there a trial would learn something else in company than alone.
    ``config``: the model's config.json.
    """
    return next(_refusals(learning, hardware, config or {}), None)


def _refusals(
    learning: LearningSettings, hardware: HardwareSettings, config: Mapping[str, object]
) -> Iterator[SharingRefusal]:
    batch, micro = learning.optimization.effective_batch_size, hardware.batch.micro_batch_size
    dropouts = [key for key, value in config.items() if "drop" in key and _positive(value)]
    strange = [key for key in STRANGE_HEADS if config.get(key) not in (None, 1, 1.0)]
    checks = (
        (
            Obstacle.METHOD,
            learning.method.finetuning_type not in SHARING_METHODS,
            str(learning.method.finetuning_type),
        ),
        (
            Obstacle.LORA_DROPOUT,
            bool(learning.method.lora_dropout),
            f"{learning.method.lora_dropout:g}",
        ),
        (Obstacle.BASE_DROPOUT, bool(dropouts), ", ".join(dropouts)),
        (Obstacle.LM_HEAD, bool(strange), ", ".join(strange)),
        (Obstacle.INT8, hardware.base.quantization is Quantization.INT8, "int8"),
        (
            Obstacle.SCHEDULE,
            learning.optimization.lr_scheduler_type in LOSS_DRIVEN,
            str(learning.optimization.lr_scheduler_type),
        ),
        (Obstacle.WORLD_SIZE, hardware.sharding.world_size > 1, str(hardware.sharding.world_size)),
        (Obstacle.ZERO, hardware.sharding.zero_stage > 0, f"{hardware.sharding.zero_stage}"),
        (Obstacle.BATCH_SIZE, batch % micro != 0, f"{batch} is no multiple of micro-batch {micro}"),
    )
    for obstacle, holds, detail in checks:
        if holds:
            yield SharingRefusal(obstacle=obstacle, detail=detail)


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0
