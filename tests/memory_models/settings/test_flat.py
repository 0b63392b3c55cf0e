"""Composed settings, read and written by the names of their fields."""

from __future__ import annotations

import pytest
from hypothesis import assume, given

from memory_models.settings import (
    DecoderKernels,
    FinetuningType,
    Method,
    Streaming,
    TrainingSettings,
    changed,
    field_types,
    flat,
    from_flat,
    paths,
)
from tests.support.drawn_settings import any_settings


def test_a_path_leads_to_each_field() -> None:
    """A field of an inner record has the name of that record before its own."""
    found = paths(TrainingSettings)
    assert found["lora_rank"] == ("method", "lora_rank")
    assert found["sequence_length"] == ("sequence_length",)
    assert "method" not in found


def test_types_are_found_by_the_fields_name() -> None:
    """Whatever record the field is in."""
    found = field_types(TrainingSettings)
    assert found["finetuning_type"] is FinetuningType
    assert found["sequence_length"] is int
    assert set(found) == set(paths(TrainingSettings))


def test_what_is_left_out_has_its_default() -> None:
    """Inner records without a value are the default records."""
    found = from_flat(TrainingSettings, lora_rank=3)
    assert found.method == Method(lora_rank=3)
    assert found.batch == TrainingSettings().batch


@given(any_settings())
def test_settings_survive_the_way_to_flat_values_and_back(values: TrainingSettings) -> None:
    """No field is lost and none changes its value."""
    assert from_flat(TrainingSettings, **flat(values)) == values


@given(any_settings(), any_settings())
def test_changing_every_field_gives_the_other_settings(
    one: TrainingSettings, other: TrainingSettings
) -> None:
    """Neither record is touched."""
    assume(one != other)
    before = flat(one)
    assert changed(one, **flat(other)) == other
    assert flat(one) == before


def test_a_name_that_no_record_has_is_refused() -> None:
    """The sentence names the record and the field."""
    for attempt in (
        lambda: from_flat(TrainingSettings, lora_width=3),
        lambda: changed(TrainingSettings(), lora_width=3),
    ):
        with pytest.raises(TypeError, match="TrainingSettings has no field lora_width"):
            attempt()


def test_names_of_version_0_1_stand_for_their_fields() -> None:
    """``packed_ranks`` is ``adapter_ranks`` today, and ``kernels`` is ``decoder_kernels``."""
    assert from_flat(Method, packed_ranks=(2, 4)).adapter_ranks == (2, 4)
    old = from_flat(TrainingSettings, kernels=DecoderKernels.FUSED)
    assert old.kernels.decoder_kernels is DecoderKernels.FUSED


def test_the_place_of_inputs_is_a_number_of_layers_today() -> None:
    """On the host were all of them, on the device none was sent; a number of today stays."""
    on_host = from_flat(TrainingSettings, streamed_layers=2, host_checkpoints=True)
    assert on_host.streaming == Streaming(streamed_layers=2, inputs_on_device=0)
    assert from_flat(TrainingSettings, host_checkpoints=False).streaming == Streaming()


def test_values_are_checked_where_the_record_is_built() -> None:
    """Also when one value alone changes."""
    with pytest.raises(ValueError, match="lora_rank must be at least 1"):
        changed(TrainingSettings(), lora_rank=0)
