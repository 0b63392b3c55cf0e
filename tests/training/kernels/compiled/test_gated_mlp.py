"""The whole MLP as one function: the values of its parts, and fewer tensors kept."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from tests.training.kernels.compiled.test_pieces import fresh
from tsplanner.training.kernels.compiled.gated_mlp import GatedMlp
from tsplanner.training.kernels.compiled.linears import AdapterCopies, Group


class Mlp(nn.Module):
    """down(silu(gate(x)) * up(x))."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.gate, self.up = nn.Linear(8, 12, bias=False), nn.Linear(8, 12, bias=False)
        self.down = nn.Linear(12, 8, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The result [..., 8]."""
        result: torch.Tensor = self.down(nn.functional.silu(self.gate(x)) * self.up(x))
        return result


def adapted(targets: list[str]) -> Any:
    """The MLP with LoRA of rank 3 on some of its linears."""
    if not targets:
        return Mlp().requires_grad_(False)
    config = LoraConfig(r=3, lora_alpha=6, target_modules=targets, init_lora_weights=False)
    return get_peft_model(Mlp(), config).base_model.model


def as_one(model: Any, x: torch.Tensor) -> torch.Tensor:
    """The compiled function on the model's linears."""
    entry, down = Group([model.gate, model.up]), Group([model.down])
    AdapterCopies([entry, down]).refresh()
    result: torch.Tensor = GatedMlp.apply(x, entry, down, *entry.sides, *down.sides)
    return result


@pytest.mark.parametrize("targets", [["gate", "up", "down"], ["down"], ["up"], []])
def test_one_function_gives_what_the_parts_give(targets: list[str]) -> None:
    """Values and gradients of x and of every adapter, wherever adapters sit."""
    model, x = adapted(targets), fresh(2, 5, 8)
    trained = [x, *(each for each in model.parameters() if each.requires_grad)]
    incoming = fresh(2, 5, 8, seed=1).detach()
    plain = model(x)
    wanted = torch.autograd.grad(plain, trained, incoming)
    ours = as_one(model, x)
    assert torch.allclose(ours, plain, atol=1e-5)
    found = torch.autograd.grad(ours, trained, incoming)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(found, wanted, strict=True))


def test_backward_keeps_two_wide_tensors_where_the_parts_keep_three() -> None:
    """Gate and up, and not their product, which backward makes again."""
    model, x = adapted(["gate", "up", "down"]), fresh(2, 5, 8)

    def wide(run: Any) -> int:
        kept: set[int] = set()

        def note(tensor: torch.Tensor) -> torch.Tensor:
            if tensor.dim() > 1 and tensor.shape[-1] == 12 and tensor.numel() == 120:
                kept.add(tensor.data_ptr())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            run()
        return len(kept)

    assert wide(lambda: as_one(model, x)) == 2
    assert wide(lambda: model(x)) >= 3


def test_an_input_without_a_gradient_gets_none() -> None:
    """The first layer of a model without checkpoints."""
    model = adapted(["gate", "up", "down"])
    as_one(model, fresh(2, 8).detach()).sum().backward()
    assert all(each.grad is not None for each in model.parameters() if each.requires_grad)
