"""What the authors' code of ChatTS holds beside what ours does."""

from __future__ import annotations

import pytest

from memory_models.estimate import estimate_memory
from memory_models.settings import Dtype, Quantization, TrainingSettings, from_flat
from memory_models.sharding.states import model_states
from memory_models.states.chatts_remote_code import as_released
from memory_models.states.weights import base_weight_bytes
from memory_models.step_order import StepPhase
from memory_models.step_phases import phase_peaks
from tsplanner.models.source import read_model

CHATTS_14B = read_model("chatts-14b").architecture


def test_the_released_14b_keeps_rotary_caches_in_every_layer() -> None:
    """48 layers x 2 tables x 32,768 positions x 128: 0.75 GiB in half precision."""
    found = as_released(CHATTS_14B)
    assert found.positions.rotary_buffer_count == 402_653_184
    half = from_flat(TrainingSettings, model_dtype=Dtype.FP16, autocast=Dtype.FP16)
    extra = base_weight_bytes(found, half.states) - base_weight_bytes(CHATTS_14B, half.states)
    assert extra == 0.75 * 2**30


@pytest.mark.parametrize(
    "settings",
    [
        from_flat(TrainingSettings, quantization=Quantization.NF4_DQ),
        from_flat(TrainingSettings, zero_stage=3, world_size=2),
        from_flat(TrainingSettings, zero_stage=3, world_size=2, offload_param=True),
        from_flat(TrainingSettings, zero_stage=2, world_size=8),
    ],
    ids=["quantised", "ZeRO-3", "parameter offload", "ZeRO-2"],
)
def test_nothing_shrinks_the_caches(settings: TrainingSettings) -> None:
    """They are buffers: neither sharded, nor quantised, nor offloaded."""
    ours, theirs = (
        model_states(model, settings.states) for model in (CHATTS_14B, as_released(CHATTS_14B))
    )
    assert theirs.weights - ours.weights == 805_306_368


def test_the_released_14b_copies_its_logits() -> None:
    """While the loss is made: a copy in fp32, less bf16 logits that go: 2 B x 1000 x 152,064."""
    settings = TrainingSettings(sequence_length=1000)
    ours, theirs = (
        max(
            peak.bytes
            for peak in phase_peaks(model, settings)
            if peak.phase is StepPhase.FORWARD_LOSS
        )
        for model in (CHATTS_14B, as_released(CHATTS_14B))
    )
    assert theirs - ours == 304_128_000


@pytest.mark.parametrize("name", ["chatts-8b", "qwen2.5-14b"])
def test_other_models_are_released_as_they_are(name: str) -> None:
    """ChatTS-8B runs on transformers' own Qwen3."""
    found = read_model(name).architecture
    assert as_released(found) == found


def test_only_our_own_code_is_said_to_be_smaller() -> None:
    """An estimate of the released code has the caches in it."""
    said = "our own ChatTS code; the released remote code adds 768 MiB of rotary caches"
    assert said in estimate_memory(CHATTS_14B, TrainingSettings()).assumptions
    released = estimate_memory(as_released(CHATTS_14B), TrainingSettings())
    assert said not in released.assumptions
