"""NEFTune's noise takes no memory at the peak: it is gone before the first layer's MLP."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch")

from memory_models.settings import (
    FinetuningType,
    LossKernel,
    TrainingSettings,
    from_flat,
)
from tests.support.small_models import CONFIGS
from tsplanner.tracing import trace
from tsplanner.tracing.records import Subject, TraceRequest
from tsplanner.training.solo.embedding_noise import EmbeddingNoise

pytestmark = pytest.mark.slow

ROWS, LENGTH = 2, 256


@pytest.mark.parametrize(
    "settings",
    [
        {"gradient_checkpointing": False},
        {"gradient_checkpointing": True, "loss_kernel": LossKernel.FUSED},
        {
            "gradient_checkpointing": True,
            "loss_kernel": LossKernel.FUSED,
            "finetuning_type": FinetuningType.FULL,
        },
    ],
    ids=["kept", "checkpointed", "full"],
)
def test_a_step_with_noise_peaks_where_one_without_it_does(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last byte, by a trace of the real model."""
    asked = from_flat(TrainingSettings, micro_batch_size=ROWS, sequence_length=LENGTH, **settings)
    request = TraceRequest(subject=Subject(config=CONFIGS["llama"]), settings=asked)
    quiet = trace.trace_memory(request)
    own, joined = trace.prepared, []

    def prepared(model: Any, *more: Any) -> Any:
        step, noise = own(model, *more), EmbeddingNoise(5.0, seed=1)
        noise.rows = [(row, 0, LENGTH, row) for row in range(ROWS)]
        noise.join(model.get_input_embeddings())
        joined.append(noise)
        return step

    monkeypatch.setattr(trace, "prepared", prepared)
    noisy = trace.trace_memory(request)
    assert joined
    assert noisy.peak_allocated_bytes == quiet.peak_allocated_bytes
