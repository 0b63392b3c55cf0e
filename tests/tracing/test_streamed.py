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
LENGTH = 1536
"""Tokens of a row. The small models' products in the MLP take 16.5 MiB of them, of whose blocks the
allocator splits the rest off; of 11 MiB it does not, which a formula per layer leaves out."""
HOST = {"inputs_on_device": 0}
SOME = {"inputs_on_device": 1}
"""Of four layers, or three."""
FUSED = {"loss_kernel": LossKernel.FUSED, "kernels": DecoderKernels.FUSED}
PACKED: dict[str, dict[str, Any]] = {
    form.value: {"quantization": form, "upcast_unquantized": False} for form in Quantization
}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("llama", {"streamed_layers": 4, "gradient_accumulation_steps": 4}),
    ("llama", {"streamed_layers": 2, "gradient_accumulation_steps": 4, **HOST, **FUSED}),
    ("qwen3", {"streamed_layers": 4, "gradient_accumulation_steps": 8, **FUSED}),
    ("qwen3", {"streamed_layers": 4, "gradient_accumulation_steps": 8, **FUSED, **HOST}),
    ("qwen3", {"streamed_layers": 4, "gradient_accumulation_steps": 8, **FUSED, **SOME}),
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
            settings=changed(BASE, **{"sequence_length": LENGTH, **changes}),
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


WIDE = {
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "num_hidden_layers": 4,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "vocab_size": 8192,
    "max_position_embeddings": 4096,
}


def test_formula_and_trace_agree_where_one_input_is_a_large_share() -> None:
    """Layers 2,048 wide and passes of 4,096 tokens, so that an input (16 MiB) is 2 % of the peak;
    no workspace beside them.
    """
    config = {**CONFIGS["qwen3"], **WIDE}
    config.pop("layer_types", None)
    cases = [
        {
            "streamed_layers": layers,
            "gradient_accumulation_steps": passes,
            "sequence_length": 2048,
            "loss_kernel": LossKernel.FUSED,
            "kernels": kernels,
            **({} if form is None else PACKED[form]),
            **host,
        }
        for layers, passes, host in ((4, 4, HOST), (2, 2, {}), (4, 4, {"inputs_on_device": 2}))
        for kernels, forms in (
            (DecoderKernels.REFERENCE, (None, "fp8", "w8a8")),
            (DecoderKernels.FUSED, (None, "nf4", "int8")),
            (DecoderKernels.COMPILED, (None, "nf4-dq", "fp8", "w8a8")),
        )
        for form in forms
    ]
    settings = [changed(BASE, **case) for case in cases]
    outcomes: list[TraceOutcome] = []
    subject = Subject(config=config)
    trace_all([TraceRequest(subject=subject, settings=each) for each in settings], outcomes.append)
    architecture = read_architecture(config, name="wide", source="test")
    for case, each, outcome in zip(cases, settings, outcomes, strict=True):
        assert outcome.trace is not None, outcome.error
        estimate = estimate_memory(architecture, each)
        workspace = sum(
            part.bytes for part in estimate.components if part.name == "cuBLAS workspace"
        )
        found = estimate.peak_allocated_bytes.expected - workspace
        assert found == pytest.approx(outcome.trace.peak_allocated_bytes, rel=TOLERANCE), case
