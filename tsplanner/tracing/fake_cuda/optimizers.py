"""Trainer's optimizers on fake parameters; those of bitsandbytes only make states of their size."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from memory_models.settings import Optimizer
from memory_models.states.optimizer import BLOCK_8BIT, SMALLEST_8BIT, SMALLEST_PAGED

RATE = 1e-4


def optimizer_for(name: Optimizer, model: nn.Module) -> Any:
    """The optimizer that Trainer makes for a model, with two groups of parameters."""
    return _MAKERS[name](parameter_groups(model), embeddings(model))


def parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Two groups: matrices, which decay, and norms and biases, which do not.

    Source: Trainer.create_optimizer.
    """
    trained = [item for item in model.parameters() if item.requires_grad]
    groups = ([p for p in trained if p.dim() > 1], [p for p in trained if p.dim() <= 1])
    return [{"params": group, "weight_decay": 0.0} for group in groups if group]


def embeddings(model: nn.Module) -> frozenset[int]:
    """Identities of embedding weights, whose states 8-bit optimizers keep in fp32."""
    return frozenset(id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding))


class StatesOnly:
    """The memory of a bitsandbytes optimizer: two states per parameter, and a step in place."""

    def __init__(
        self, groups: Iterable[dict[str, Any]], wide: frozenset[int], *, bits: int, paged: bool
    ) -> None:
        self.parameters = [item for group in groups for item in group["params"]]
        self.wide, self.bits, self.paged = wide, bits, paged
        self.state: dict[int, list[Tensor]] = {}

    def step(self) -> None:
        """Make the states of parameters that have none."""
        for parameter in self.parameters:
            if parameter.grad is not None and id(parameter) not in self.state:
                self.state[id(parameter)] = self._states(parameter)

    def _states(self, parameter: Tensor) -> list[Tensor]:
        count = parameter.numel()
        # Paged states are managed memory, which no allocator of torch sees.
        on_device = not (self.paged and count >= SMALLEST_PAGED)
        if self.bits == 32 or id(parameter) in self.wide or count < SMALLEST_8BIT:
            return [torch.empty(count) for _ in range(2 * on_device)]
        scales = [torch.empty(-(-count // BLOCK_8BIT)) for _ in range(2)]
        return scales + [torch.empty(count, dtype=torch.uint8) for _ in range(2 * on_device)]


def _adamw(groups: Any, wide: frozenset[int], **options: Any) -> Any:
    return torch.optim.AdamW(groups, lr=RATE, **options)


def _adafactor(groups: Any, wide: frozenset[int]) -> Any:
    from transformers.optimization import Adafactor

    return Adafactor(groups, lr=RATE, scale_parameter=False, relative_step=False)


_MAKERS: dict[Optimizer, Callable[[Any, frozenset[int]], Any]] = {
    # torch/optim chooses the foreach form if all parameters are on a GPU, which it cannot see here.
    Optimizer.ADAMW_TORCH: lambda groups, wide: _adamw(groups, wide, foreach=True),
    Optimizer.ADAMW_TORCH_FUSED: lambda groups, wide: _adamw(groups, wide, fused=True),
    Optimizer.SGD: lambda groups, wide: torch.optim.SGD(groups, lr=RATE, foreach=True),
    Optimizer.ADAFACTOR: _adafactor,
    Optimizer.ADAMW_BNB_8BIT: lambda groups, wide: StatesOnly(groups, wide, bits=8, paged=False),
    Optimizer.PAGED_ADAMW_8BIT: lambda groups, wide: StatesOnly(groups, wide, bits=8, paged=True),
    Optimizer.PAGED_ADAMW_32BIT: lambda groups, wide: StatesOnly(groups, wide, bits=32, paged=True),
}
