"""The fused kernels of state-space and linear-attention layers, by hand."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch

from benchmarks.collect.family_configs import tiny_config
from memory_models.settings import TrainingSettings, from_flat
from tsplanner.tracing.fake_cuda import hybrid_kernels
from tsplanner.tracing.fake_cuda.hybrid_kernels import (
    CONVOLUTION,
    LINEAR_ATTENTION,
    MAMBA,
    assumption,
    causal_convolution,
    chosen_packages,
    gated_delta_rule,
    packages_of,
    split_convolution_scan,
)
from tsplanner.tracing.model import build
from tsplanner.tracing.records import HybridKernels, Subject, Trace, TraceRequest
from tsplanner.tracing.trace import trace_memory

BF16 = torch.bfloat16


def kept(result: torch.Tensor, *own: torch.Tensor) -> int:
    """Bytes that a function keeps for backward, beside some tensors of the caller."""
    given = {item.untyped_storage().data_ptr() for item in own}
    found: dict[int, int] = {}
    node: Any = result.grad_fn
    for item in filter(lambda item: item is not None, node.saved_tensors):
        storage = item.untyped_storage()
        if storage.data_ptr() not in given:
            found[storage.data_ptr()] = storage.nbytes()
    return sum(found.values())


def test_the_scan_keeps_its_input_its_output_and_the_norms_scale() -> None:
    """2 rows of 8 positions, 4 heads of 16 in bf16: 2,048 bytes, and 16 scales of 4 bytes."""
    heads, width, state = 4, 16, 8
    inner, channels = heads * width, heads * width + 2 * state
    x = torch.zeros(2, 8, inner + channels + heads, dtype=BF16, requires_grad=True)
    vectors = [torch.zeros(heads) for _ in range(3)]
    weight, bias = torch.zeros(channels, 4, dtype=BF16), torch.zeros(channels, dtype=BF16)
    norm = torch.zeros(inner, dtype=BF16)
    projection = torch.zeros(32, inner, dtype=BF16)
    out = split_convolution_scan(
        x,
        weight,
        bias,
        *vectors,
        4,
        headdim=width,
        ngroups=1,
        rmsnorm_weight=norm,
        outproj_weight=projection,
    )
    assert out.shape == (2, 8, 32)
    own = [x, weight, bias, norm, projection, *vectors]
    assert kept(out, *own) == 2 * 8 * heads * width * 2 + 2 * 8 * 4
    out.sum().backward()
    assert x.grad is not None
    assert x.grad.shape == x.shape


def test_a_projection_that_is_trained_gets_its_gradient() -> None:
    """As do the weights of the convolution; without a norm nothing else is kept."""
    x = torch.zeros(1, 4, 8 + 12 + 2, requires_grad=True)
    weights = [torch.zeros(12, 4), torch.zeros(12), *(torch.zeros(2) for _ in range(3))]
    projection = torch.zeros(6, 8, requires_grad=True)
    weights[0].requires_grad_()
    out = split_convolution_scan(x, *weights, 4, headdim=4, outproj_weight=projection)
    out.sum().backward()
    assert projection.grad is not None
    assert projection.grad.shape == projection.shape
    assert weights[0].grad is not None
    assert weights[1].grad is None


def test_the_delta_rule_keeps_normalised_inputs_gates_and_the_inverse() -> None:
    """1 row of 128 positions, 2 heads of 16 in bf16.

    Queries and keys anew 2 x 8,192 bytes with scales of 1,024 each, gates of 1,024, the inverse
    128 x 2 x 64 x 2 = 32,768.
    """
    query, key, value = (
        torch.zeros(1, 128, 2, 16, dtype=BF16, requires_grad=True) for _ in range(3)
    )
    g = torch.zeros(1, 128, 2, requires_grad=True)
    beta = torch.zeros(1, 128, 2, dtype=BF16, requires_grad=True)
    out, state = gated_delta_rule(query, key, value, g, beta, use_qk_l2norm_in_kernel=True)
    assert (out.shape, state) == (value.shape, None)
    assert kept(out, value, beta) == 2 * 8192 + 2 * 1024 + 1024 + 32768
    out.sum().backward()
    for item in (query, key, value, g, beta):
        assert item.grad is not None
        assert (item.grad.shape, item.grad.dtype) == (item.shape, item.dtype)


def test_the_convolution_keeps_its_input_alone() -> None:
    """A copy only where neither channels nor positions lie side by side."""
    x = torch.zeros(2, 6, 8, requires_grad=True)
    weight = torch.zeros(6, 4)
    out = causal_convolution(x, weight, activation="silu")
    assert kept(out, x, weight) == 0
    out.sum().backward()
    assert x.grad is not None
    scattered = torch.zeros(2, 6, 16, requires_grad=True)[:, :, ::2]
    assert kept(causal_convolution(scattered, weight), scattered) == 2 * 6 * 8 * 4 + 6 * 4 * 4


@pytest.mark.parametrize(
    ("kind", "packages"),
    [
        ("mamba2", [MAMBA, CONVOLUTION]),
        ("qwen3_next", [CONVOLUTION, LINEAR_ATTENTION]),
        ("lfm2", [CONVOLUTION]),
        ("llama", []),
    ],
)
def test_the_code_of_a_model_shows_which_packages_it_would_use(
    kind: str, packages: list[str]
) -> None:
    """By the functions that its module holds."""
    model = build(Subject(config=tiny_config(kind)), from_flat(TrainingSettings), 3)
    assert packages_of(model) == packages


def test_the_kernels_are_said_in_an_assumption() -> None:
    """What is not installed by its name; the others are told to be unmeasured."""
    model = build(Subject(config=tiny_config("mamba2")), from_flat(TrainingSettings), 3)
    plain = assumption(model, chosen_packages(HybridKernels.REFERENCE))
    assert plain.startswith("without the kernels of mamba-ssm and causal-conv1d: transformers'")
    fused = assumption(model, chosen_packages(HybridKernels.FUSED))
    assert fused == "fused kernels of mamba-ssm and causal-conv1d, not measured"


def test_what_is_installed_decides_unless_a_choice_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With mamba-ssm alone, the scan is fused and the convolution is not."""
    monkeypatch.setattr(hybrid_kernels, "find_spec", lambda name: sys if name == MAMBA else None)
    assert chosen_packages(HybridKernels.INSTALLED) == {MAMBA}
    assert chosen_packages(HybridKernels.FUSED) == {MAMBA, CONVOLUTION, LINEAR_ATTENTION}


def traced(kind: str, kernels: HybridKernels) -> Trace:
    """The trace of a tiny model without checkpointing."""
    settings = from_flat(
        TrainingSettings, sequence_length=64, micro_batch_size=2, gradient_checkpointing=False
    )
    return trace_memory(
        TraceRequest(
            subject=Subject(config=tiny_config(kind)), settings=settings, hybrid_kernels=kernels
        )
    )


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "least"), [("mamba2", 2.0), ("qwen3_next", 1.5)])
def test_fused_kernels_save_activations_and_models_get_their_functions_back(
    kind: str, least: float
) -> None:
    """And the same trace is made again afterwards."""
    reference = traced(kind, HybridKernels.REFERENCE)
    fused = traced(kind, HybridKernels.FUSED)
    assert reference.components["activations"] > least * fused.components["activations"]
    again = traced(kind, HybridKernels.REFERENCE)
    assert again.peak_allocated_bytes == reference.peak_allocated_bytes
