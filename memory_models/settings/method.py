"""Which weights are trained, and by what adapter."""

from __future__ import annotations

from memory_models.frozen import frozen
from memory_models.settings.choices import (
    ALL_LINEAR,
    EMBEDDING,
    HEAD,
    FinetuningType,
)
from memory_models.settings.counts import LARGEST_COUNT, at_least_one

ALPHA_FACTOR = 2.0
"""LoRA's alpha over its rank if no alpha is given."""
ADALORA_INIT_FACTOR = 1.5
"""AdaLoRA's initial rank over its target rank if no initial rank is given."""
TRAIN_WEIGHTS = (FinetuningType.FULL, FinetuningType.FREEZE)
"""Methods without an adapter."""


@frozen
class Method:
    """Which weights are trained: an adapter of some shape, the last layers, or all weights."""

    finetuning_type: FinetuningType = FinetuningType.LORA
    lora_rank: int = 8
    """LoRA rank of every adapter; the target rank of AdaLoRA."""
    lora_alpha: float | None = None
    """Numerator of LoRA's scale; None: twice the rank. The value changes no bytes."""
    lora_dropout: float = 0.0
    lora_target: tuple[str, ...] | str = ALL_LINEAR
    """Module names, or ``all-linear``."""
    adalora_init_rank: int | None = None
    """LoRA rank that AdaLoRA starts with; None: 1.5 times ``lora_rank``."""
    freeze_trainable_layers: int = 2
    """Number of last decoder layers that the ``freeze`` method trains."""
    modules_to_save: tuple[str, ...] = ()
    """Of embedding and lm_head, those of which a whole copy is trained beside the adapters."""
    rank_pattern: tuple[tuple[str, int], ...] = ()
    """LoRA ranks of single targets, by name; the others have ``lora_rank``."""
    alpha_pattern: tuple[tuple[str, float], ...] = ()
    """Alphas of single targets, by name. They change no bytes."""
    adapter_ranks: tuple[int, ...] = ()
    """multi-LoRA: LoRA rank of each trial on the shared base; empty: one run with ``lora_rank``."""

    def __post_init__(self) -> None:
        """Refuse values that no run can have."""
        at_least_one(self, "lora_rank", "freeze_trainable_layers")
        if not 0 <= self.lora_dropout < 1:
            raise ValueError(f"lora_dropout must be in [0, 1), not {self.lora_dropout}")
        if self.adalora_init_rank is not None and self.adalora_init_rank < self.lora_rank:
            raise ValueError(
                f"adalora_init_rank {self.adalora_init_rank} is below "
                f"the target rank lora_rank {self.lora_rank}"
            )
        if self.adapter_ranks and min(self.adapter_ranks) < 1:
            raise ValueError(f"adapter_ranks must be at least 1, not {min(self.adapter_ranks)}")
        self._check_patterns()
        self._check_saved()

    def _check_patterns(self) -> None:
        for name, value in (*self.rank_pattern, *self.alpha_pattern):
            if value <= 0 or value > LARGEST_COUNT:
                raise ValueError(f"the pattern of {name:.60} must be above 0, not {value}")
        whole = self.finetuning_type in (FinetuningType.ADALORA, *TRAIN_WEIGHTS)
        if whole and (self.rank_pattern or self.alpha_pattern):
            raise ValueError(
                f"rank_pattern and alpha_pattern need lora, not {self.finetuning_type}"
            )

    def _check_saved(self) -> None:
        for name in self.modules_to_save:
            if name not in (EMBEDDING, HEAD):
                raise ValueError(
                    f'modules_to_save takes {EMBEDDING} and {HEAD}, not "{name:.60}": name other '
                    "modules in lora_target"
                )
            if self.adapts(name):
                raise ValueError(f"{name} is in lora_target and in modules_to_save: take one")
        adapted = self.adapts(EMBEDDING) or self.adapts(HEAD)
        if self.modules_to_save and not self.uses_adapter:
            raise ValueError(f"modules_to_save needs an adapter, not {self.finetuning_type}")
        if adapted and self.finetuning_type not in (FinetuningType.LORA, FinetuningType.RSLORA):
            raise ValueError(
                f"{EMBEDDING} and {HEAD} take lora or rslora as targets, not "
                f"{self.finetuning_type}: name them in modules_to_save"
            )

    def adapts(self, name: str) -> bool:
        """Whether an adapter sits on embedding or lm_head, which ``all-linear`` leaves out."""
        named = isinstance(self.lora_target, tuple) and name in self.lora_target
        return named and self.uses_adapter

    @property
    def trains_embedding(self) -> bool:
        """Whether anything of the embedding gets a gradient."""
        return self.trains_everything or EMBEDDING in self.modules_to_save or self.adapts(EMBEDDING)

    @property
    def is_uniform(self) -> bool:
        """Whether every adapter has one rank, and adapters are all that is trained."""
        vocabulary = self.modules_to_save or self.adapts(EMBEDDING) or self.adapts(HEAD)
        return not (vocabulary or self.rank_pattern or self.alpha_pattern)

    def rank_of(self, name: str) -> int:
        """LoRA rank of the adapter on a target, in memory."""
        return dict(self.rank_pattern).get(name, self.adapter_rank)

    def ranks_of(self, name: str) -> tuple[int, ...]:
        """LoRA rank of each adapter on a target of this name."""
        return self.adapter_ranks or (self.rank_of(name),)

    @property
    def uses_adapter(self) -> bool:
        """Whether the base is frozen and an adapter is trained."""
        return self.finetuning_type.uses_adapter

    @property
    def trains_base(self) -> bool:
        """Whether weights of the decoder layers get gradients."""
        return not self.uses_adapter

    @property
    def trains_everything(self) -> bool:
        """Whether embedding and lm_head get gradients too."""
        return self.finetuning_type is FinetuningType.FULL

    @property
    def is_adalora(self) -> bool:
        """Whether training reallocates the LoRA rank of each adapter."""
        return self.finetuning_type is FinetuningType.ADALORA

    @property
    def alpha(self) -> float:
        """The numerator of LoRA's scale."""
        return ALPHA_FACTOR * self.lora_rank if self.lora_alpha is None else self.lora_alpha

    @property
    def adapter_rank(self) -> int:
        """LoRA rank of the adapter's matrices in memory."""
        if self.is_adalora:
            return self.adalora_init_rank or max(
                self.lora_rank, int(ADALORA_INIT_FACTOR * self.lora_rank)
            )
        return self.lora_rank

    @property
    def ranks(self) -> tuple[int, ...]:
        """LoRA rank of each adapter on a linear."""
        return self.adapter_ranks or (self.adapter_rank,)
