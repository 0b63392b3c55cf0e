"""The chunked loss against PyTorch's own."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tests.support.shrunk import config_of
from tsplanner.training.kernels.fused_loss import (
    LogitChanges,
    chunk_rows,
    fused_cross_entropy,
    logit_changes,
    use_fused_loss,
)


def whole_loss(
    hidden: torch.Tensor,
    head: nn.Linear,
    labels: torch.Tensor,
    items: int,
    changes: LogitChanges,
) -> torch.Tensor:
    """All logits at once."""
    factor, softcap = changes
    logits = factor * head(hidden[:, :-1]).float()
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    flat = nn.functional.cross_entropy(
        logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100, reduction="sum"
    )
    return flat / items


def test_chunk_holds_as_many_logits_as_there_are_hidden_values() -> None:
    """4096 positions of a 152064-word, 5120-wide model: 4096 / 30 = 137, up to 256 rows."""
    assert chunk_rows(4096, 5120, 152064) == 256
    assert chunk_rows(1, 8, 8) == 1


@pytest.mark.parametrize("softcap", [None, 5.0])
@pytest.mark.parametrize("factor", [1.0, 0.125])
@pytest.mark.parametrize("bias", [False, True])
def test_fused_loss_and_its_gradients_equal_the_plain_ones(
    softcap: float | None, factor: float, bias: bool
) -> None:
    """Loss, and gradients of hidden states, head and bias agree to fp32 rounding."""
    changes = LogitChanges(factor=factor, softcap=softcap)
    torch.manual_seed(0)
    head = nn.Linear(8, 50, bias=bias)
    labels = torch.randint(0, 50, (3, 17))
    labels[:, :6] = -100
    hidden = torch.randn(3, 17, 8, requires_grad=True)
    twin = hidden.detach().clone().requires_grad_()
    twin_head = nn.Linear(8, 50, bias=bias)
    twin_head.load_state_dict(head.state_dict())
    ours = fused_cross_entropy(hidden, head, labels, num_items_in_batch=40, changes=changes)
    plain = whole_loss(twin, twin_head, labels, 40, changes)
    (3.0 * ours).backward()
    (3.0 * plain).backward()
    torch.testing.assert_close(ours, plain)
    torch.testing.assert_close(hidden.grad, twin.grad)
    torch.testing.assert_close(head.weight.grad, twin_head.weight.grad)
    if bias:
        torch.testing.assert_close(head.bias.grad, twin_head.bias.grad)


def test_frozen_head_gets_no_gradient() -> None:
    """Under LoRA the head stays as it is."""
    head = nn.Linear(8, 50, bias=False).requires_grad_(False)
    hidden = torch.randn(1, 9, 8, requires_grad=True)
    fused_cross_entropy(hidden, head, torch.randint(0, 50, (1, 9))).backward()
    assert head.weight.grad is None
    assert hidden.grad is not None


def test_row_without_labels_adds_nothing() -> None:
    """A micro-batch cut down to its question has loss 0 and gradient 0."""
    head = nn.Linear(8, 50)
    hidden = torch.randn(2, 9, 8, requires_grad=True)
    labels = torch.full((2, 9), -100)
    loss = fused_cross_entropy(hidden, head, labels, num_items_in_batch=7)
    loss.backward()
    assert loss.item() == 0.0
    assert hidden.grad is not None
    assert hidden.grad.abs().sum().item() == 0.0


@pytest.mark.parametrize(
    ("model_type", "keys", "factor"),
    [
        ("granite", {"logits_scaling": 8.0}, 1 / 8),
        ("cohere", {"logit_scale": 0.0625}, 0.0625),
        ("falcon_h1", {"lm_head_multiplier": 0.25}, 0.25),
        ("hyperclovax", {"logits_scaling": 0.5}, 0.5),
        ("llama", {}, 1.0),
    ],
)
def test_a_configs_factor_is_the_one_of_its_model(
    model_type: str, keys: dict[str, float], factor: float
) -> None:
    """Granite divides by the number by which HyperCLOVA X multiplies."""
    assert logit_changes(SimpleNamespace(model_type=model_type, **keys)).factor == factor


@pytest.mark.parametrize("model_type", ["llama", "granite", "cohere", "gemma2", "olmo2", "phi"])
def test_the_models_own_loss_and_the_fused_one_are_the_same(model_type: str) -> None:
    """The real model of transformers, small, in fp32."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(**config_of(model_type))
    model = transformers.AutoModelForCausalLM.from_config(config)
    rows = torch.randint(3, 100, (2, 9))
    plain = model(input_ids=rows, labels=rows).loss
    use_fused_loss(model)
    torch.testing.assert_close(model(input_ids=rows, labels=rows).loss, plain)
