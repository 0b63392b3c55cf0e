"""Which trials may share one base in one process, and what stands in the way of the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from memory_models.frozen import frozen
from memory_models.settings import ALL_LINEAR, FinetuningType, Quantization
from memory_models.states.expert_adapters import EXPERT_NAMES
from tsplanner.models.decoders import READERS
from tsplanner.planner.explain.reasons import Data, Obstacle
from tsplanner.planner.explain.sentences import ENGLISH, sentence
from tsplanner.planner.explain.templates import Phrase
from tsplanner.planner.settings import HardwareSettings, LearningSettings

SHARING_METHODS = frozenset({FinetuningType.LORA, FinetuningType.RSLORA})
STRANGE_HEADS = (
    "mup_width_multiplier",
    "logits_mup_width_multiplier",
    "output_multiplier",
    "logits_soft_cap",
)
"""config.json keys that change the logits after the head in ways the fused loss does not repeat."""
EXPERT_KEYS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
"""config.json keys that count the experts of a mixture."""
LOSS_DRIVEN = frozenset({"reduce_lr_on_plateau", "greedy"})
"""Learning-rate schedules that ask for a loss at every step."""


@frozen
class SharingRefusal:
    """Why a trial cannot share its base."""

    obstacle: Obstacle
    data: Data
    """The value of the setting at fault, as ``detail``."""

    def sentence(self, *, every_trial: bool = False, language: str = ENGLISH) -> str:
        """One sentence for a person, about one trial or about all of them."""
        phrase = Phrase.EVERY_TRIAL_ALONE if every_trial else Phrase.THIS_TRIAL_ALONE
        why = sentence(self.obstacle, self.data, language)
        return sentence(phrase, {"why": why}, language)


def sharing_refusal(
    learning: LearningSettings,
    hardware: HardwareSettings,
    config: Mapping[str, object] | None = None,
) -> SharingRefusal | None:
    """The first obstacle that keeps a trial from sharing its base; None: it can share.

    Every refused setting trains the base, draws random numbers in the middle of a step, or looks
    over all rows of a batch: with it a trial would learn something else in company than alone.
    ``config``: the model's config.json.
    """
    return next(_refusals(learning, hardware, config or {}), None)


def _refusals(
    learning: LearningSettings, hardware: HardwareSettings, config: Mapping[str, object]
) -> Iterator[SharingRefusal]:
    method, schedule = learning.method, str(learning.optimization.lr_scheduler_type)
    batch, micro = learning.optimization.effective_batch_size, hardware.batch.micro_batch_size
    # A model that also sees keeps the sizes of its language model in a section of its own.
    text = config.get("text_config")
    config = {**config, **text} if isinstance(text, Mapping) else config
    # Families name their dropouts differently (``attn_pdrop``, ``hidden_dropout``).
    dropouts = [key for key, value in config.items() if "drop" in key and _positive(value)]
    strange = [key for key in STRANGE_HEADS if config.get(key) not in (None, 1, 1.0)]
    int8, sharding = Quantization.INT8, hardware.sharding
    noise = learning.optimization.neftune_noise_alpha
    shares = method.finetuning_type in SHARING_METHODS
    experts, kind = _experts(method.lora_target, config), str(config.get("model_type", ""))
    checks: tuple[tuple[Obstacle, bool, str | int], ...] = (
        (Obstacle.METHOD, not shares, str(method.finetuning_type)),
        (Obstacle.NO_FORMULA, bool(kind) and kind not in READERS, kind),
        (Obstacle.EXPERTS, bool(experts), ", ".join(experts)),
        (Obstacle.OWN_SHAPES, not method.is_uniform, ""),
        (Obstacle.LORA_DROPOUT, bool(method.lora_dropout), f"{method.lora_dropout:g}"),
        (Obstacle.BASE_DROPOUT, bool(dropouts), ", ".join(dropouts)),
        (Obstacle.LM_HEAD, bool(strange), ", ".join(strange)),
        (Obstacle.INT8, hardware.base.quantization is int8, str(int8)),
        (Obstacle.NEFTUNE, noise is not None, f"{noise or 0:g}"),
        (Obstacle.SCHEDULE, schedule in LOSS_DRIVEN, schedule),
        (Obstacle.WORLD_SIZE, sharding.world_size > 1, sharding.world_size),
        (Obstacle.ZERO, sharding.zero_stage > 0, sharding.zero_stage),
        (Obstacle.STREAMED, hardware.streaming.streams, ""),
        (Obstacle.BATCH_SIZE, batch % micro != 0, batch),
    )
    for obstacle, holds, detail in checks:
        if holds:
            yield SharingRefusal(obstacle=obstacle, data={"detail": detail, "micro_batch": micro})


def _experts(targets: tuple[str, ...] | str, config: Mapping[str, object]) -> list[str]:
    """Targets that may mean the experts of a mixture."""
    mixture = any(_positive(config.get(key)) for key in EXPERT_KEYS)
    if targets == ALL_LINEAR or not mixture:
        return []
    return [name for name in targets if name in EXPERT_NAMES]


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0
