"""Models that also see, by formula and by trace: the tower lies beside the language model."""

from __future__ import annotations

from typing import Any

import pytest

from memory_models.estimate import estimate_memory
from memory_models.settings import (
    FinetuningType,
    LossKernel,
    Quantization,
    TrainingSettings,
    from_flat,
)
from tests.support.small_models import CONFIGS
from tests.support.tiny_vision import ROPE
from tsplanner import install
from tsplanner.models.source import read_architecture
from tsplanner.tracing.client import trace_all
from tsplanner.tracing.records import Subject, TraceOutcome, TraceRequest
from tsplanner.tracing.traced_estimate import workspace_bytes

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(install.missing(install.TRACING)), reason="needs training libraries"),
]

TOLERANCE = 0.015
"""Every layer of Qwen2.5-VL keeps cosines and sines of its own: 1.2 % here, 0.1 % at 7B."""
RECIPES: dict[str, dict[str, Any]] = {
    "lora": {},
    "kept": {"gradient_checkpointing": False, "loss_kernel": LossKernel.FUSED},
    "full": {"finetuning_type": FinetuningType.FULL},
    "nf4": {"quantization": Quantization.NF4, "loss_kernel": LossKernel.FUSED},
}
TOWER = {
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "image_size": 224,
    "patch_size": 14,
}
QWEN = {
    "depth": 4,
    "hidden_size": 512,
    "out_hidden_size": 1024,
    "intermediate_size": 2048,
    "num_heads": 8,
}


def text(family: str, model_type: str, **more: Any) -> dict[str, Any]:
    """The language model: a small one of the family, under its type inside a wrapper."""
    return {**CONFIGS[family], "model_type": model_type, **more}


def rope(half: int) -> dict[str, Any]:
    """Positions of time, height and width."""
    return {"rope_parameters": {**ROPE, "mrope_section": [half // 2, half // 4, half // 4]}}


SEEING: dict[str, dict[str, Any]] = {
    "gemma3": {
        "text_config": text("gemma3", "gemma3_text"),
        "vision_config": {**TOWER, "model_type": "siglip_vision_model", "vision_use_head": False},
    },
    "mistral3": {
        "text_config": text("llama", "mistral"),
        "vision_config": {**TOWER, "model_type": "pixtral"},
    },
    "llava": {
        "text_config": text("llama", "llama"),
        "vision_config": {**TOWER, "model_type": "clip_vision_model"},
    },
    "qwen2_5_vl": {
        "text_config": text("qwen2", "qwen2_5_vl_text", **rope(32)),
        "vision_config": QWEN,
    },
    "qwen3_vl": {
        "text_config": text("qwen3", "qwen3_vl_text", **rope(32)),
        "vision_config": {**QWEN, "deepstack_visual_indexes": [1]},
    },
}
CASES = [(model_type, recipe) for model_type in SEEING for recipe in RECIPES]


def settings(recipe: str) -> TrainingSettings:
    """2 x 1,024 tokens in bf16."""
    return from_flat(TrainingSettings, sequence_length=1024, micro_batch_size=2, **RECIPES[recipe])


@pytest.fixture(scope="module")
def outcomes() -> dict[tuple[str, str], TraceOutcome]:
    """All cases, from one worker."""
    found: list[TraceOutcome] = []
    requests = [
        TraceRequest(
            subject=Subject(config={"model_type": model_type, **SEEING[model_type]}),
            settings=settings(recipe),
            workspace_bytes=workspace_bytes(None),
        )
        for model_type, recipe in CASES
    ]
    trace_all(requests, found.append)
    return dict(zip(CASES, found, strict=True))


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_formula_and_trace_agree_on_models_that_see(
    case: tuple[str, str], outcomes: dict[tuple[str, str], TraceOutcome]
) -> None:
    """Counts are equal, and peaks lie within the tolerance."""
    trace = outcomes[case].trace
    assert trace is not None, outcomes[case].error
    config = {"model_type": case[0], **SEEING[case[0]]}
    architecture = read_architecture(config, name=case[0], source="test")
    estimate = estimate_memory(architecture, settings(case[1]))
    assert trace.parameters_total == estimate.parameters_total
    assert trace.parameters_trainable == estimate.parameters_trainable
    expected = estimate.peak_allocated_bytes.expected
    assert expected == pytest.approx(trace.peak_allocated_bytes, rel=TOLERANCE)
