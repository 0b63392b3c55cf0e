"""Bytes of a base that processes share out, worked out by hand."""

from __future__ import annotations

import pytest

from memory_models.estimate import estimate_memory
from memory_models.settings import (
    FinetuningType,
    LossKernel,
    Quantization,
    TrainingSettings,
    changed,
    from_flat,
)
from memory_models.sharding.fully_sharded import (
    gathered_bytes,
    gathered_layers,
    head_bytes,
    layers_bytes,
    other_slices_bytes,
)
from memory_models.sharding.held_gradients import gradients
from memory_models.sharding.offload import built_bytes
from memory_models.sharding.states import model_states
from memory_models.states.weights import base_weight_bytes
from memory_models.units import MIB
from tests.support.small_models import CONFIGS
from tsplanner.models.source import read_architecture, read_model

LLAMA = read_architecture(CONFIGS["llama"], name="llama", source="test")
"""D 1,024, F 2,816, key heads of 256 in all, four layers."""
MATRICES = 2 * 1024 * 1024 + 2 * 256 * 1024 + 3 * 2816 * 1024
"""Query and output, key and value, gate, up and down: 11,272,192 elements."""
LAYER = 2 * (MATRICES + 2 * 1024)
"""With two norms, in bf16."""
QWEN = read_model("qwen2.5-14b").architecture
"""48 layers; embedding and head of 152,064 x 5,120 share no weight."""


def settings(**values: object) -> TrainingSettings:
    """LoRA on two processes that share the base out."""
    return from_flat(TrainingSettings, **{"world_size": 2, "fsdp": True, **values})  # type: ignore[arg-type]


def test_a_layer_is_its_weights() -> None:
    """4 x 22,548,480 bytes in bf16; in nf4 half a byte per element of the matrices."""
    assert layers_bytes(LLAMA, settings().states) == 4 * LAYER == 4 * 22_548_480
    packed = settings(quantization=Quantization.NF4, upcast_unquantized=False)
    assert layers_bytes(LLAMA, packed.states) == 4 * (MATRICES // 2 + 2 * 2 * 1024)


@pytest.mark.parametrize("processes", [2, 4])
def test_each_process_keeps_its_slice(processes: int) -> None:
    """Half or three quarters are elsewhere; each of 30 slices ends in a rest of at most 1 MiB."""
    elsewhere = other_slices_bytes(LLAMA, settings(world_size=processes).states)
    whole = 4 * LAYER + 2 * 2 * 1024 * LLAMA.vocabulary.vocab_size
    assert 0 <= whole * (processes - 1) / processes - elsewhere <= 30 * MIB


def test_a_copy_on_each_of_two_machines_is_in_halves() -> None:
    """Four processes hold what two hold, and gather as much; the fused loss has chunks of two."""
    four, two = settings(world_size=4, nodes=2, fsdp_per_host=True), settings()
    assert other_slices_bytes(LLAMA, four.states) == other_slices_bytes(LLAMA, two.states)
    assert gathered_layers(LLAMA, four.states) == gathered_layers(LLAMA, two.states)
    assert four.head.processes == 2
    found, expected = (
        estimate_memory(LLAMA, changed(each, loss_kernel=LossKernel.FUSED)) for each in (four, two)
    )
    assert found.peak_allocated_bytes == expected.peak_allocated_bytes


def test_a_single_card_of_each_machine_has_nobody_to_share_with() -> None:
    """The base is whole there, as under DDP."""
    alone = settings(world_size=2, nodes=2, fsdp_per_host=True)
    assert other_slices_bytes(LLAMA, alone.states) == 0


def test_a_frozen_head_of_its_own_is_sliced() -> None:
    """152,064 x 5,120 x 2 bytes; not where a copy of it is trained."""
    assert head_bytes(QWEN, settings().states) == 152_064 * 5_120 * 2
    assert head_bytes(QWEN, settings(modules_to_save=("lm_head",)).states) == 0
    assert head_bytes(read_model("qwen2.5-0.5b").architecture, settings().states) == 0


def test_a_pass_gathers_layers_and_under_the_plain_loss_the_head() -> None:
    """The fused loss sends states to the slices of the head instead."""
    layers = layers_bytes(QWEN, settings().states)
    assert gathered_bytes(QWEN, settings().states) == layers + 152_064 * 5_120 * 2
    fused = settings(loss_kernel=LossKernel.FUSED).states
    assert gathered_bytes(QWEN, fused) == layers
    assert gathered_layers(QWEN, fused).head == 0


def test_a_trained_embedding_stays_whole() -> None:
    """Its copy is trained, and the frozen one lies beside it: 152,064 x 5,120 x 2 bytes."""
    other = other_slices_bytes(QWEN, settings().states)
    copied = other_slices_bytes(QWEN, settings(modules_to_save=("embed_tokens",)).states)
    assert other - copied == pytest.approx(152_064 * 5_120, abs=MIB)


def test_a_72b_in_4_bits_has_its_tables_in_halves() -> None:
    """Two copies of 152,064 x 8,192 x 2 bytes, less the two layers of 0.44 GB that work without."""
    large = read_model("qwen2.5-72b").architecture
    packed = {"quantization": Quantization.NF4_DQ, "upcast_unquantized": False}
    found = [
        estimate_memory(large, settings(loss_kernel=kernel, sequence_length=512, **packed))
        for kernel in (LossKernel.PLAIN, LossKernel.FUSED)
    ]
    plain, fused = (each.peak_allocated_bytes.expected for each in found)
    assert plain - fused > 2 * 152_064 * 8_192 * 2 - 4 * 0.44e9
    assert fused < 24 * 2**30


def test_a_working_layer_is_whole_and_the_next_one_is_on_its_way() -> None:
    """Two layers, and a third one before a layer works, for the buffer before it goes late.

    Two copies of the head around its product under the plain loss, and none while the loss is made;
    nothing without FSDP2.
    """
    found = gathered_layers(QWEN, settings().states)
    layer = layers_bytes(QWEN, settings().states) / 48
    assert found.forward == found.last == found.first == pytest.approx(2 * layer, rel=1e-6)
    assert found.entering == pytest.approx(layer, rel=1e-6)
    assert (found.head, found.loss) == (2 * 152_064 * 5_120 * 2, 0)
    assert not any(gathered_layers(QWEN, settings(fsdp=False).states))


def test_one_process_has_nobody_to_share_with() -> None:
    """Its estimate is that of a plain run."""
    alone, plain = settings(world_size=1), settings(world_size=1, fsdp=False)
    assert other_slices_bytes(QWEN, alone.states) == 0
    assert estimate_memory(QWEN, alone).process_bytes == estimate_memory(QWEN, plain).process_bytes


def test_the_estimate_is_smaller_by_the_slices_and_larger_by_what_is_gathered() -> None:
    """A 14B in bf16 on two cards: half of it, and rests of 338 slices."""
    fused = {"loss_kernel": LossKernel.FUSED}
    shared, whole = (estimate_memory(QWEN, settings(fsdp=on, **fused)) for on in (True, False))
    parts, before = (
        {part.name: part.bytes for part in found.components} for found in (shared, whole)
    )
    kept = before["base weights"] / 2
    assert 0 <= parts["base weights"] - kept <= 338 * MIB
    assert parts["gathered parameters"] > 0
    assert any("FSDP" in each or "fsdp" in each for each in shared.assumptions)


def test_each_process_builds_a_4_bit_base_whole_in_host_memory() -> None:
    """72B in NF4 on two cards: 42.5 GB of packed weights and tables each, less the 0.5 GiB that a
    runtime takes later; two H200s' host held 84.4 GB with runtimes. A plain base has shared pages.
    """
    large = read_model("qwen2.5-72b").architecture
    packed = {"quantization": Quantization.NF4_DQ, "upcast_unquantized": False}
    nf4 = settings(loss_kernel=LossKernel.FUSED, sequence_length=384, **packed)
    found = built_bytes(large, nf4.states)
    assert found == base_weight_bytes(large, nf4.states) - 512 * MIB
    runtimes = estimate_memory(large, settings(loss_kernel=LossKernel.FUSED)).host_bytes.expected
    measured = 84.4e9
    host = estimate_memory(large, nf4).host_bytes
    assert host.expected == runtimes + 2 * found == pytest.approx(measured, rel=0.02)
    assert built_bytes(large, settings().states) == 0


FULL = {"finetuning_type": FinetuningType.FULL, "loss_kernel": LossKernel.FUSED}


def test_a_model_that_is_trained_whole_is_in_halves_with_its_states() -> None:
    """Of 14.77e9 weights in bf16: 14.77 GB of weights and 29.5 of two moments, no buckets; each of
    579 slices ends in a rest of at most 1 MiB.
    """
    found = model_states(QWEN, settings(**FULL).states)
    assert 0 <= found.weights - 14.77e9 <= 579 * MIB
    assert 0 <= found.states - 2 * 14.77e9 <= 2 * 579 * MIB
    assert (found.trained, found.buffers) == (0, 0)
    assert found.host == base_weight_bytes(QWEN, settings(**FULL).states) - 512 * MIB


def test_a_trained_root_is_whole_with_its_gradients() -> None:
    """Embedding and head, 152,064 x 5,120 x 2 bytes each, from forward to the end of backward;
    their gradients come whole, and once more while they are scattered.
    """
    table = 152_064 * 5_120 * 2
    states = settings(**FULL).states
    gathered = gathered_layers(QWEN, states)
    assert (gathered.loss, gathered.end, gathered.head) == (2 * table, 2 * table, 0)
    held = gradients(QWEN, states)
    whole = gradients(QWEN, settings(**FULL, fsdp=False).states)
    assert held.end == -(-(whole.end - 2 * table) // 2) + 4 * table
    assert (whole.last, held.last) == (table, table)
    assert held.kept == -(-whole.kept // 2)
    assert settings(**FULL).head.processes == 1


def test_four_cards_hold_what_one_cannot() -> None:
    """8B in pure bf16: 16.4 GB of weights and 32.8 of moments, a quarter of them on each of four;
    tables and their gradients take most of the rest.
    """
    eight = read_model("qwen3-8b").architecture
    found = estimate_memory(eight, settings(**FULL, world_size=4, sequence_length=1024))
    parts = {part.name: part.bytes for part in found.components}
    assert parts["base weights"] == pytest.approx(8.19e9 * 2 / 4, rel=0.01)
    assert parts["optimizer states"] == pytest.approx(8.19e9 * 4 / 4, rel=0.01)
    alone = estimate_memory(eight, settings(**FULL, world_size=1, sequence_length=1024))
    assert found.process_bytes.expected < alone.process_bytes.expected / 2
    assert any("trained whole" in each for each in found.assumptions)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"finetuning_type": FinetuningType.FREEZE}, "not by freeze"),
        (
            {"finetuning_type": FinetuningType.FULL, "fsdp_per_host": True, "nodes": 2},
            "fsdp_per_host needs a frozen base",
        ),
        ({"quantization": Quantization.INT8}, "not int8"),
        ({"streamed_layers": 2}, "streamed_layers"),
        ({"zero_stage": 3}, "zero_stage"),
        ({"fsdp": False, "fsdp_per_host": True}, "fsdp_per_host needs fsdp"),
        ({"fsdp": False, "fsdp_whole_model": True}, "fsdp_whole_model needs fsdp"),
    ],
)
def test_what_has_no_frozen_slices_is_refused(values: dict[str, object], says: str) -> None:
    """The sentence names the setting."""
    with pytest.raises(ValueError, match=says):
        settings(**values)
