"""Formula and trace agree on the bytes of streamed steps."""

from __future__ import annotations

from typing import Any

import pytest

from memory_models.estimate import estimate_memory
from memory_models.settings import DecoderKernels, FinetuningType, LossKernel, Quantization, changed
from tests.support.small_models import CONFIGS
from tests.tracing.test_formula_against_trace import BASE
from tsplanner import install
from tsplanner.models.source import read_architecture
from tsplanner.tracing.client import trace_all
from tsplanner.tracing.records import Subject, TraceOutcome, TraceRequest
from tsplanner.tracing.traced_estimate import workspace_bytes

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(install.missing(install.TRACING)), reason="needs the training libraries"
    ),
]

TOLERANCE = 0.005
HOST = {"host_checkpoints": True}
FUSED = {"loss_kernel": LossKernel.FUSED, "kernels": DecoderKernels.FUSED}
PACKED: dict[str, dict[str, Any]] = {
    form.value: {"quantization": form, "upcast_unquantized": False} for form in Quantization
}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("llama", {"streamed_layers": 4, "gradient_accumulation_steps": 4}),
    ("llama", {"streamed_layers": 2, "gradient_accumulation_steps": 4, **HOST, **FUSED}),
    ("qwen3", {"streamed_layers": 4, "gradient_accumulation_steps": 8, **FUSED}),
    ("qwen3", {"streamed_layers": 4, "gradient_accumulation_steps": 8, **FUSED, **HOST}),
    ("gpt_neox", {"streamed_layers": 3, "gradient_accumulation_steps": 2}),
    ("gemma3", {"streamed_layers": 3, "gradient_accumulation_steps": 3, **HOST}),
    *(
        (family, {"streamed_layers": 3, "gradient_accumulation_steps": 4, **PACKED[form], **FUSED})
        for family, form in (("llama", "nf4"), ("qwen3", "nf4-dq"), ("qwen3", "int8"))
    ),
    ("qwen3", {"streamed_layers": 4, "gradient_accumulation_steps": 4, **HOST, **PACKED["nf4"]}),
    ("llama", {"streamed_layers": 4, "gradient_accumulation_steps": 2, **HOST, **PACKED["fp8"]}),
    (
        "phi3",
        {
            "streamed_layers": 3,
            "gradient_accumulation_steps": 2,
            "finetuning_type": FinetuningType.DORA,
            **HOST,
        },
    ),
]


def test_formula_and_trace_agree_on_streamed_layers() -> None:
    """The trace runs the worker's own schedule; 4 to 8 passes, inputs on the device or the host."""
    requests = [
        TraceRequest(
            subject=Subject(config=CONFIGS[family]),
            settings=changed(BASE, **changes),
            workspace_bytes=workspace_bytes(None),
        )
        for family, changes in CASES
    ]
    outcomes: list[TraceOutcome] = []
    trace_all(requests, outcomes.append)
    for (family, changes), asked, outcome in zip(CASES, requests, outcomes, strict=True):
        assert outcome.trace is not None, outcome.error
        architecture = read_architecture(CONFIGS[family], name=family, source="test")
        found = estimate_memory(architecture, asked.settings).peak_allocated_bytes.expected
        assert found == pytest.approx(outcome.trace.peak_allocated_bytes, rel=TOLERANCE), changes
