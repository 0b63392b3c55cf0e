"""Bytes of streamed weights, worked out by hand."""

from __future__ import annotations

from memory_models.settings import Quantization, TrainingSettings, from_flat
from memory_models.states.streamed import crossing_bytes, device_bytes, layer_bytes, slab_bytes
from tests.support.small_models import CONFIGS
from tsplanner.models.source import read_architecture

LLAMA = read_architecture(CONFIGS["llama"], name="llama", source="test")
"""D 1,024, F 2,816, key heads of 256 in all, four layers."""
LAYER = 2 * (2 * 1024 * 1024 + 2 * 256 * 1024 + 3 * 2816 * 1024 + 2 * 1024)
"""Query and output, key and value, gate, up and down, two norms, in bf16."""


def settings(streamed: int) -> TrainingSettings:
    """LoRA with so many layers in host memory."""
    return from_flat(TrainingSettings, streamed_layers=streamed)


def test_a_layer_is_its_weights_side_by_side() -> None:
    """22,548,480 bytes: every weight is a multiple of 512 bytes here."""
    assert layer_bytes(LLAMA, settings(4).states) == LAYER == 22_548_480


def test_two_buffers_take_the_place_of_the_streamed_layers() -> None:
    """With all four on the host two buffers are left; with none nothing changes."""
    saved = -device_bytes(LLAMA, settings(4).states)
    assert abs(saved - 2 * LAYER) < 2 * 2**20  # blocks of the allocator
    assert device_bytes(LLAMA, settings(0).states) == 0


def test_the_host_holds_each_streamed_layer_in_whole_pages() -> None:
    """Three layers of 5,505 pages."""
    assert slab_bytes(LLAMA, settings(3).states) == 3 * 5505 * 4096


def test_weights_cross_the_link_twice_per_step() -> None:
    """Four layers forward and four back, less two at each of the two turns, which are in the
    buffers already; one or two layers never have to come again.
    """
    assert crossing_bytes(LLAMA, settings(4).states) == 4 * LAYER
    assert crossing_bytes(LLAMA, settings(3).states) == 2 * LAYER
    assert crossing_bytes(LLAMA, settings(2).states) == 0


def test_a_packed_layer_comes_with_the_constants_of_its_matrices() -> None:
    """Of 22,544,384 / 2 weights of linears: half a byte each in NF4, an fp32 scale per 64 of them;
    with double quantisation a byte per scale and an fp32 one per 256, in blocks of 512 bytes: one
    for each matrix of attention, two for each of the MLP. 4 KiB of norms stay whole.
    """
    weights = (LAYER - 4096) // 2
    norms = 4096
    form = {Quantization.NF4: 4 * weights // 64, Quantization.INT8: weights // 2}
    form[Quantization.NF4_DQ] = weights // 64 + 4 * 512 + 3 * 1024
    for quantization, constants in form.items():
        packed = from_flat(
            TrainingSettings,
            streamed_layers=4,
            quantization=quantization,
            upcast_unquantized=False,
        )
        found = layer_bytes(LLAMA, packed.states)
        assert found == norms + weights // 2 + constants


def test_processes_share_the_layers_that_any_of_them_streams() -> None:
    """Layers 1 and 3 by both, layer 2 by the second alone: three layers, half of them each. Two
    machines have them once each.
    """
    unlike = {"streamed_layers": (2, 3), "world_size": 2}
    page = 4096
    assert slab_bytes(LLAMA, from_flat(TrainingSettings, **unlike).states) == 3 * 5505 * page // 2
    twice = from_flat(TrainingSettings, **{**unlike, "world_size": 4, "nodes": 2})
    assert slab_bytes(LLAMA, twice.states) == 3 * 5505 * page // 2


def test_the_process_that_streams_the_most_has_the_most_to_wait_for() -> None:
    """Four layers cross the link of one process, none that of the other."""
    unlike = from_flat(TrainingSettings, streamed_layers=(2, 4), world_size=2)
    assert crossing_bytes(LLAMA, unlike.states) == 4 * LAYER
    assert crossing_bytes(LLAMA, unlike.of_process(0).states) == 0
