"""What all passes of a layer-major step hold, worked out by hand."""

from __future__ import annotations

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


def settings(*, on_host: bool) -> TrainingSettings:
    """Three passes of 512 tokens through four layers."""
    return from_flat(
        TrainingSettings,
        streamed_layers=4,
        host_checkpoints=on_host,
        gradient_accumulation_steps=3,
        sequence_length=512,
    )


def test_inputs_on_the_device_are_those_of_all_layers_and_passes() -> None:
    """4 x 3 inputs and 3 results of 10 bytes; at the last layer all inputs, two gradients of other
    passes, and the result of the one at work, whose gradient its program counts.
    """
    found = layer_major_totals(LLAMA, settings(on_host=False), ONE)
    assert found.all_kept == 10 * (12 + 3)
    assert found.all_kept - found.last_kept + found.boundary == 10 * (12 + 2)
    assert found.below_trained + found.boundary == 10 * (3 + 2)
    assert found.backward == found.first_backward == 100 + 10


def test_compiled_kernels_do_not_keep_the_result() -> None:
    """Its place is taken by a product that a checkpointed layer keeps; int8 rows keep both."""
    compiled = changed(settings(on_host=False), kernels=DecoderKernels.COMPILED)
    assert layer_major_totals(LLAMA, compiled, ONE).backward == 100
    rounded = changed(compiled, quantization=Quantization.W8A8, upcast_unquantized=False)
    assert layer_major_totals(LLAMA, rounded, ONE).backward == 110


def test_inputs_on_the_host_leave_two_on_the_device() -> None:
    """The one that is read and the one that comes; and two gradients of other passes."""
    found = layer_major_totals(LLAMA, settings(on_host=True), ONE)
    assert found.all_kept == 10 * (1 + 3)
    assert found.all_kept - found.last_kept + found.boundary == 10 * (2 + 2)
    assert found.below_trained + found.boundary == 10 * (2 + 2)


def test_the_host_holds_the_inputs_in_the_dtype_of_the_stream() -> None:
    """4 layers x 3 passes x 512 tokens x 1,024 values of 2 bytes."""
    assert host_input_bytes(LLAMA, settings(on_host=True)) == 4 * 3 * 512 * 1024 * 2
    assert host_input_bytes(LLAMA, settings(on_host=False)) == 0


def test_every_pass_keeps_its_rotary_tables() -> None:
    """Sines and cosines of 512 positions and 64 values of a head, in bf16."""
    assert tables_bytes(LLAMA, settings(on_host=False)) == 2 * 512 * 64 * 2
