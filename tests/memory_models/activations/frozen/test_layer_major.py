"""What all passes of a layer-major step hold, worked out by hand."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from memory_models.activations.frozen.layer_major import (
    host_input_bytes,
    layer_major_totals,
    tables_bytes,
)
from memory_models.activations.layers import LayerTotals
from memory_models.settings import (
    DecoderKernels,
    Quantization,
    TrainingSettings,
    changed,
    from_flat,
    input_stays,
)
from tests.support.small_models import CONFIGS
from tsplanner.models.source import read_architecture

LLAMA = read_architecture(CONFIGS["llama"], name="llama", source="test")
ONE = LayerTotals(
    boundary=10,
    all_kept=40,
    last_kept=10,
    below_trained=0,
    forward=0,
    backward=100,
    first_backward=100,
)


def settings(inputs: int | None = None) -> TrainingSettings:
    """Three passes of 512 tokens through four layers."""
    return from_flat(
        TrainingSettings,
        streamed_layers=4,
        inputs_on_device=inputs,
        gradient_accumulation_steps=3,
        sequence_length=512,
    )


def test_inputs_on_the_device_are_those_of_all_layers_and_passes() -> None:
    """4 x 3 inputs and 3 results of 10 bytes; at the last layer all inputs, two gradients of other
    passes, and the result of the one at work, whose gradient its program counts.
    """
    found = layer_major_totals(LLAMA, settings(), ONE)
    assert found.all_kept == 10 * (12 + 3)
    assert found.all_kept - found.last_kept + found.boundary == 10 * (12 + 2)
    assert found.below_trained + found.boundary == 10 * (3 + 2)
    assert found.backward == found.first_backward == 100 + 10


def test_compiled_kernels_do_not_keep_the_result() -> None:
    """Its place is taken by a product that a checkpointed layer keeps; int8 rows keep both."""
    compiled = changed(settings(), kernels=DecoderKernels.COMPILED)
    assert layer_major_totals(LLAMA, compiled, ONE).backward == 100
    rounded = changed(compiled, quantization=Quantization.W8A8, upcast_unquantized=False)
    assert layer_major_totals(LLAMA, rounded, ONE).backward == 110


def test_inputs_on_the_host_leave_two_on_the_device() -> None:
    """The one that is read and the one that comes; and two gradients of other passes."""
    found = layer_major_totals(LLAMA, settings(0), ONE)
    assert found.all_kept == 10 * (1 + 3)
    assert found.all_kept - found.last_kept + found.boundary == 10 * (2 + 2)
    assert found.below_trained + found.boundary == 10 * (2 + 2)


def test_of_one_pass_nothing_comes_while_the_first_layer_reads_the_last_input() -> None:
    """Backward ends with it."""
    alone = changed(settings(0), gradient_accumulation_steps=1)
    assert layer_major_totals(LLAMA, alone, ONE).below_trained + ONE.boundary == 10


def test_some_inputs_on_the_device_are_those_of_as_many_layers_and_one_that_comes() -> None:
    """Of 4 x 3 inputs two layers' are 6, every other one from the end: the last layer's first and
    third, the first layer's second. One comes, and two gradients are of other passes.
    """
    found = layer_major_totals(LLAMA, settings(2), ONE)
    assert found.all_kept == 10 * (6 + 1 + 3)
    assert found.all_kept - found.last_kept + found.boundary == 10 * (6 + 1 + 2)
    # The first layer: one here, one that is read and came, one that comes, two gradients.
    assert found.below_trained + found.boundary == 10 * (1 + 2 + 2)
    assert host_input_bytes(LLAMA, settings(2)) == 2 * 3 * 512 * 1024 * 2


@given(layers=st.integers(1, 80), passes=st.integers(1, 64), kept=st.integers(0, 80))
def test_bytes_lie_on_a_line_between_all_inputs_here_and_none(
    layers: int, passes: int, kept: int
) -> None:
    """A layer more is an input of each pass more; all are what None is; the host has the others."""
    kept, model = min(kept, layers), replace(LLAMA, num_hidden_layers=layers)
    many = {"gradient_accumulation_steps": passes, "streamed_layers": layers}
    chosen = [changed(settings(each), **many) for each in (0, kept, layers, None)]
    none, some, every, without_number = [layer_major_totals(model, each, ONE) for each in chosen]
    assert every == without_number
    # One that comes is on the way until all of them stay.
    assert some.all_kept == none.all_kept + 10 * passes * kept - 10 * (kept == layers)
    at_last = [each.all_kept - each.last_kept for each in (none, some, every)]
    # Where the last layer reads one that stays, it reads none that came.
    assert at_last[1] == at_last[0] + 10 * (passes * kept - (kept > 0) - (kept == layers))
    assert at_last == sorted(at_last) or passes == 1
    assert none.below_trained <= some.below_trained <= max(every.below_trained, 10 * passes)
    host = [host_input_bytes(model, each) for each in chosen]
    assert host == [(layers - each) * passes * 2**20 for each in (0, kept, layers, layers)]


@given(layers=st.integers(1, 80), passes=st.integers(1, 64), kept=st.integers(0, 80))
def test_inputs_that_stay_are_spread_evenly(layers: int, passes: int, kept: int) -> None:
    """As many as the layers have in all, the last layer's first among them, and of any layer as
    many as of any other one, but for one.
    """
    kept = min(kept, layers)
    stays = [input_stays(place, kept, layers) for place in range(layers * passes)]
    assert sum(stays) == kept * passes
    assert stays[0] is (kept > 0)
    each = [sum(stays[start : start + passes]) for start in range(0, layers * passes, passes)]
    assert max(each) - min(each) <= 1
    assert each[-1] == max(0, -(-(passes + 1) * kept // layers) - 1)


def test_the_host_holds_the_inputs_in_the_dtype_of_the_stream() -> None:
    """4 layers x 3 passes x 512 tokens x 1,024 values of 2 bytes."""
    assert host_input_bytes(LLAMA, settings(0)) == 4 * 3 * 512 * 1024 * 2
    assert host_input_bytes(LLAMA, settings()) == 0


def test_every_pass_keeps_its_rotary_tables() -> None:
    """Sines and cosines of 512 positions and 64 values of a head, in bf16."""
    assert tables_bytes(LLAMA, settings()) == 2 * 512 * 64 * 2
