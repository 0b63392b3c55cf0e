"""A model without a reader: its shapes are the real model's, and so are its layers' bytes."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("peft")

from benchmarks.collect.family_configs import tiny_config
from memory_models.architecture import Architecture
from memory_models.estimate import estimate_memory
from memory_models.recorded.recording import make_known, recipe_of
from memory_models.settings import FinetuningType, Method, TrainingSettings, from_flat
from memory_models.states.adapters import trainable_parameters
from memory_models.states.weights import total_parameters
from tests.support.strangers import STRANGERS, config_of
from tsplanner.errors import TsplannerError
from tsplanner.tracing.model import base_model
from tsplanner.tracing.recording.stranger import Stranger, recordable
from tsplanner.tracing.records import Subject, TraceRequest
from tsplanner.tracing.trace import trace_memory
from tsplanner.training.adapters import trainable_count

WORKSPACE = 2 * 32 * 2**20


def described(model_type: str) -> tuple[Subject, Architecture]:
    """A small model, its layers recorded on demand."""
    subject = Subject(config=config_of(model_type))
    stranger = Stranger(subject)
    make_known(model_type, stranger.record)
    return subject, stranger.describe(model_type, model_type)


@pytest.mark.parametrize("model_type", STRANGERS)
def test_parameters_are_counted_to_the_last_one(model_type: str) -> None:
    """All of the model, and those that LoRA on every linear trains."""
    from tsplanner.tracing.model import build

    subject, found = described(model_type)
    model = base_model(subject, TrainingSettings())
    assert total_parameters(found) == sum(p.numel() for p in model.parameters())
    trained = build(subject, TrainingSettings(), 3)
    assert trainable_parameters(found, Method()) == trainable_count(trained)


@pytest.mark.parametrize("model_type", STRANGERS)
@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.slow
def test_an_estimate_by_recording_is_that_of_the_whole_trace(
    model_type: str, checkpointed: bool
) -> None:
    """Within 0.5 % at another batch and length than those of the recording.

    It lies between the bytes of the tensors and those of their blocks, of which the allocator
    leaves up to 1 MiB unused; that weighs nothing in a model of usual size.
    """
    subject, found = described(model_type)
    settings = from_flat(
        TrainingSettings,
        micro_batch_size=3,
        sequence_length=1280,
        gradient_accumulation_steps=2,
        gradient_checkpointing=checkpointed,
        lora_rank=4,
    )
    said = estimate_memory(found, settings).peak_allocated_bytes.expected
    request = TraceRequest(subject=subject, settings=settings, workspace_bytes=WORKSPACE)
    trace = trace_memory(request)
    assert 0.995 * sum(trace.components.values()) <= said <= 1.005 * trace.peak_allocated_bytes


def test_layers_that_differ_are_told_apart() -> None:
    """DeepSeek's first layer is dense and keeps less than a sparse one."""
    subject = Subject(config=config_of("deepseek_v2"))
    stranger = Stranger(subject)
    recording = stranger.record(recipe_of(TrainingSettings().layer, masked=False))
    assert recording.pattern == (0, 1, 1, 1)
    assert len(recording.layers) == 2


def test_full_fine_tuning_trains_every_parameter() -> None:
    """Positions and norms are trained too."""
    _, found = described("gpt2")
    full = Method(finetuning_type=FinetuningType.FULL)
    assert trainable_parameters(found, full) == total_parameters(found)


def test_a_window_is_set_wherever_the_config_has_one() -> None:
    """Also in the text section of a wrapper."""
    subject = Subject(config={"sliding_window": 9, "text_config": {"sliding_window": 8, "x": 1}})
    assert recordable(subject, 5).config == {
        "sliding_window": 5,
        "text_config": {"sliding_window": 5, "x": 1},
    }


def test_a_table_of_positions_is_long_enough_for_every_recorded_row() -> None:
    """The longest row has five times 256 tokens; a longer table stays as it is."""
    subject = Subject(config={"n_positions": 64, "max_position_embeddings": 4096})
    assert recordable(subject, 5).config == {"n_positions": 1280, "max_position_embeddings": 4096}


@pytest.mark.parametrize("model_type", ["mamba2", "lfm2"])
def test_what_grows_with_chunks_or_is_padded_by_row_still_has_a_recording(model_type: str) -> None:
    """Mamba 2 squares its chunks, and a short convolution pads every row."""
    stranger = Stranger(Subject(config=tiny_config(model_type)))
    found = stranger.record(recipe_of(TrainingSettings().layer, masked=False))
    assert not found.any_rows
    assert all(size.per_token >= 0 for layer in found.layers for size, _ in layer.kept)


def test_layers_that_share_matrices_are_refused() -> None:
    """Zamba's attention layers are one, so its modules hold more than the model has."""
    stranger = Stranger(Subject(config=tiny_config("zamba2")))
    with pytest.raises(TsplannerError, match="layers that share matrices cannot be planned"):
        stranger.describe("mine", "key")


def test_a_model_of_other_versions_reads_alike() -> None:
    """A description does not depend on the name that people give the model."""
    subject = Subject(config=config_of("gpt2"))
    one, two = (Stranger(subject).describe(name, "key") for name in ("a", "b"))
    assert replace(one, name="") == replace(two, name="")
