"""LoRA on experts: the formulas against the trace, for PEFT's way and for ours."""

from __future__ import annotations

import pytest

from memory_models.estimate import estimate_memory
from memory_models.settings import (
    DecoderKernels,
    LossKernel,
    Quantization,
    TrainingSettings,
    changed,
    from_flat,
)
from tsplanner import install
from tsplanner.models.source import read_architecture
from tsplanner.tracing.client import trace_all
from tsplanner.tracing.records import Subject, TraceOutcome, TraceRequest
from tsplanner.tracing.traced_estimate import workspace_bytes

pytestmark = pytest.mark.skipif(
    bool(install.missing(install.TRACING)), reason="needs the training libraries"
)

PEAK_TOLERANCE = 0.005
"""Blocks that the allocator does not split are in the trace alone; at this width they are small."""
CONFIG: dict[str, object] = {
    "model_type": "qwen3_moe",
    "hidden_size": 2048,
    "num_hidden_layers": 4,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "moe_intermediate_size": 768,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
}
BASE = from_flat(
    TrainingSettings,
    sequence_length=1024,
    micro_batch_size=2,
    lora_rank=16,
    lora_target=("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    loss_kernel=LossKernel.FUSED,
)
KEPT, FUSED = {"gradient_checkpointing": False}, {"decoder_kernels": DecoderKernels.FUSED}
HALF_PARTS = {"quantization": Quantization.NF4, "upcast_unquantized": False}
CASES: list[dict[str, object]] = [
    {},
    {**KEPT},
    {**FUSED},
    {**FUSED, **KEPT},
    {**FUSED, **KEPT, "gradient_accumulation_steps": 2},
    {**FUSED, **KEPT, "lora_target": ("q_proj", "gate_up_proj")},
    {**FUSED, **KEPT, **HALF_PARTS},
    {**HALF_PARTS},
]


def settings_of(case: dict[str, object]) -> TrainingSettings:
    """How a case trains."""
    return changed(BASE, **case)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def traces() -> list[TraceOutcome]:
    """Outcomes of all cases, from one worker."""
    outcomes: list[TraceOutcome] = []
    requests = [
        TraceRequest(
            subject=Subject(config=CONFIG),
            settings=settings_of(case),
            workspace_bytes=workspace_bytes(None),
        )
        for case in CASES
    ]
    trace_all(requests, outcomes.append)
    return outcomes


@pytest.mark.slow
@pytest.mark.parametrize("place", range(len(CASES)))
def test_formula_and_trace_agree(place: int, traces: list[TraceOutcome]) -> None:
    """Four layers of 128 experts, 2 x 1024 tokens: within half a percent."""
    trace = traces[place].trace
    assert trace is not None, traces[place].error
    architecture = read_architecture(CONFIG, name="mixture", source="test")
    estimate = estimate_memory(architecture, settings_of(CASES[place]))
    assert trace.parameters_trainable == estimate.parameters_trainable
    expected = estimate.peak_allocated_bytes.expected
    assert expected == pytest.approx(trace.peak_allocated_bytes, rel=PEAK_TOLERANCE), trace
