"""Liger's own code, run without values, against the formulas; skipped where it is not installed."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from memory_models.activations.liger.patches import PATCHES
from memory_models.estimate import estimate_memory
from memory_models.settings import (
    Attention,
    DecoderKernels,
    FinetuningType,
    LossKernel,
    Quantization,
    TrainingSettings,
    changed,
    from_flat,
)
from tests.support.small_models import CONFIGS
from tsplanner import install
from tsplanner.errors import TsplannerError
from tsplanner.models.source import read_architecture
from tsplanner.tracing.client import trace_all
from tsplanner.tracing.records import Subject, TraceOutcome, TraceRequest
from tsplanner.tracing.traced_estimate import workspace_bytes

pytestmark = pytest.mark.skipif(
    bool(install.missing(install.TRACING)), reason="needs the training libraries"
)
INSTALLED = find_spec("liger_kernel") is not None and find_spec("triton") is not None
needs_liger = pytest.mark.skipif(not INSTALLED, reason="needs liger-kernel and triton")

PEAK_TOLERANCE = 0.015
"""As of the grid of formulas and traces; the allocator's rounding counts at these sizes."""
LIGER = from_flat(
    TrainingSettings,
    sequence_length=1024,
    micro_batch_size=2,
    decoder_kernels=DecoderKernels.LIGER,
    loss_kernel=LossKernel.LIGER,
)
KEPT = {"gradient_checkpointing": False}
CASES = [
    *((family, {}) for family in ("llama", "qwen2", "qwen3", "gemma3", "phi3", "glm4", "smollm3")),
    *((family, KEPT) for family in ("llama", "qwen2", "qwen3", "gemma3", "phi3", "glm4")),
    ("gemma2", {"attention": Attention.EAGER}),
    ("gemma2", {"attention": Attention.EAGER, **KEPT}),
    ("llama", {"finetuning_type": FinetuningType.DORA, **KEPT}),
    ("qwen2", {"quantization": Quantization.NF4_DQ, "upcast_unquantized": False}),
    ("qwen3", {"gradient_accumulation_steps": 3, **KEPT}),
]


def test_a_trace_of_kernels_that_are_not_installed_says_what_to_install() -> None:
    """One sentence, before any model is patched."""
    if INSTALLED:
        pytest.skip("liger-kernel is installed")
    from tsplanner.tracing.fake_cuda.liger_kernels import use_liger

    with pytest.raises(TsplannerError, match="pip install liger-kernel"):
        use_liger(object())


@needs_liger
@pytest.mark.slow
def test_the_formulas_agree_with_ligers_own_code() -> None:
    """Eight families: Liger's functions run on tensors without values, launching nothing."""
    found: list[TraceOutcome] = []
    settings = [changed(LIGER, **changes) for _, changes in CASES]
    requests = [
        TraceRequest(
            subject=Subject(config=CONFIGS[family]),
            settings=each,
            workspace_bytes=workspace_bytes(None),
        )
        for (family, _), each in zip(CASES, settings, strict=True)
    ]
    trace_all(requests, found.append)
    for (family, _), each, outcome in zip(CASES, settings, found, strict=True):
        assert outcome.trace is not None, outcome.error
        architecture = read_architecture(CONFIGS[family], name=family, source="test")
        expected = estimate_memory(architecture, each).peak_allocated_bytes.expected
        assert expected == pytest.approx(outcome.trace.peak_allocated_bytes, rel=PEAK_TOLERANCE)


@needs_liger
def test_liger_still_knows_every_type_of_the_table() -> None:
    """Its registry grows from version to version."""
    from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN

    assert set(PATCHES) <= set(MODEL_TYPE_TO_APPLY_LIGER_FN)
