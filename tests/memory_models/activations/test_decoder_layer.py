"""One block's tensors, counted by hand.

The toy: D = 8, two heads of 4, one of keys and values, F = 16, adapters of rank 2 on every linear.
Widths below are bytes a token; ``fixed`` are bytes whatever the tokens (autocast's casts of the
adapters: 2 bytes of 2 x (in + out) elements each, 512 in all); scores are bytes of B x S x S.
"""

from __future__ import annotations

import pytest

from memory_models.activations.decoder_layer import LayerMemory, layer_memory
from memory_models.architecture import Activation, Architecture, Linear, Norm, Role
from memory_models.settings import (
    Attention,
    Dtype,
    FinetuningType,
    Quantization,
    TrainingSettings,
    changed,
    from_flat,
)
from tests.support.toy_decoder import ALL, EXPERTS, LAYER_NORM, TOY, attention

LORA = from_flat(
    TrainingSettings,
    lora_rank=2,
    sequence_length=1,
    micro_batch_size=1,
    gradient_checkpointing=False,
)
FULL = changed(LORA, finetuning_type=FinetuningType.FULL)
GEMMA = changed(TOY, norms_per_layer=4, norm_scales_in_fp32=True, activation=Activation.GELU_TANH)
QWEN3 = changed(TOY, qk_norm=True)
OPT = changed(LAYER_NORM, dropouts_per_layer=2)
NEOX = changed(
    TOY,
    kind=Norm.LAYER,
    activation=Activation.GELU,
    parallel_residual=True,
    num_key_value_heads=2,
    linears=(
        Linear(name="query_key_value", role=Role.QKV, in_features=8, out_features=24),
        attention(8, 8, 8)[-1],
        Linear(name="dense_h_to_4h", role=Role.UP, in_features=8, out_features=16),
        Linear(name="dense_4h_to_h", role=Role.DOWN, in_features=16, out_features=8),
    ),
)
PHI3 = changed(
    TOY,
    linears=(
        Linear(name="qkv_proj", role=Role.QKV, in_features=8, out_features=16),
        attention(8, 8, 4)[-1],
        Linear(name="gate_up_proj", role=Role.GATE_UP, in_features=8, out_features=32),
        Linear(name="down_proj", role=Role.DOWN, in_features=16, out_features=8),
    ),
)


def kept(block: LayerMemory) -> tuple[int, int, int]:
    """All kept tensors: bytes a token, fixed, and an attention score."""
    sums = [sum(size[unit] * count for size, count in block.kept) for unit in range(3)]
    return sums[0], sums[1], sums[2]


def of(
    architecture: Architecture, settings: TrainingSettings = LORA, *, masked: bool = False
) -> tuple[int, int, int]:
    """What one block keeps; its own weights are trained where no adapter is."""
    trained = not settings.method.uses_adapter
    return kept(layer_memory(architecture, settings.layer, trained=trained, masked=masked))


def test_a_llama_block_with_lora_keeps_its_hand_counted_bytes() -> None:
    """bf16 under autocast.

    Two norms' fp32 copies 2 x 32; of q, k, v, gate and up each a cast input 16 and A's result 4:
    100; of the output projection 20, of down 32 + 4; attention's query 16, key 8, value 8, result
    16, fp32 log-sum-exp 8: 56; gate, its activation and up 3 x 32.
    """
    assert of(TOY) == (64 + 100 + 20 + 36 + 56 + 96, 512, 0)


def test_a_dropout_on_adapters_keeps_a_byte_an_input() -> None:
    """Six inputs of 8 and one of 16 more than the 372 bytes without."""
    assert of(TOY, changed(LORA, lora_dropout=0.1)) == (372 + 64, 512, 0)


def test_a_trained_block_keeps_the_inputs_of_its_weights() -> None:
    """Norms: the fp32 copy 32 and what the scale multiplies 16, twice; q, k and v share the norm's
    result 16, so do gate and up; down's input 32; attention 56 with the output projection's input;
    MLP 96.
    """
    assert of(TOY, FULL) == (96 + 16 + 16 + 32 + 56 + 96, 0, 0)


def test_an_nf4_base_has_an_fp32_stream_and_mlp() -> None:
    """Norms keep the stream itself, 32 each; q, k, v, gate and up a cast 16 and 4 each; the output
    projection reads attention's result as it is: 4; down 32 + 4; attention 56; the MLP 3 x 64.
    """
    settings = changed(LORA, quantization=Quantization.NF4)
    assert of(TOY, settings) == (64 + 100 + 4 + 36 + 56 + 192, 512, 0)


def test_an_fp32_base_under_autocast_keeps_casts_of_its_weights() -> None:
    """576 frozen elements a block at two bytes beside the adapters' 512."""
    _, fixed, _ = of(TOY, changed(LORA, model_dtype=Dtype.FP32))
    assert fixed == 2 * 576 + 512


def test_dora_keeps_both_results_of_every_linear() -> None:
    """The base's and the adapter's, two bytes each: outputs add up to 64 elements."""
    dora = changed(LORA, finetuning_type=FinetuningType.DORA)
    assert of(TOY, dora) == (372 + 4 * 64, 512, 0)


def test_adalora_keeps_nothing_that_it_divides_by_the_rank() -> None:
    """Rank 3 to begin with: A's results 7 x 2 more; fixed: casts 2 x 3 x 128, and A times the
    singular values in fp32, 4 x 3 x 64.
    """
    adalora = changed(LORA, finetuning_type=FinetuningType.ADALORA)
    assert of(TOY, adalora) == (372 + 14, 768 + 768, 0)


@pytest.mark.parametrize(
    ("architecture", "width", "fixed"),
    [
        # four norms of 32 instead of two
        (GEMMA, 372 + 64, 512),
        # norms of query heads, 8 elements in fp32, and of the key head, 4
        (QWEN3, 372 + 32 + 16, 512),
        # two norms 64; q, k, v and fc1 20 each; o 20; fc2 36; query, key, value and result 16 each
        # and 8; ReLU's result 32; two dropout masks of 8
        (OPT, 64 + 80 + 20 + 36 + 72 + 32 + 16, 448),
        # two norms 64; qkv, o and fc1 20 each; fc2 36; all of qkv 48 for the value's sake, turned
        # query and key 16 each, result 16 and 8; GELU's input 32
        (NEOX, 64 + 60 + 36 + 104 + 32, 384),
        # two norms 64; qkv, o and gate_up 20 each; down 36; qkv 32, query 16, key 8, result 16
        # and 8; gate and up in one 64, the activation 32
        (PHI3, 64 + 60 + 36 + 80 + 96, 416),
        # two norms 64; q, k, v and o 20 each; attention 56; two experts a token: gate and up 128,
        # activation 64, what their weights multiply 32
        (EXPERTS, 64 + 80 + 56 + 224, 224),
    ],
    ids=["gemma", "qwen3", "opt", "gpt_neox", "phi3", "experts"],
)
def test_every_family_keeps_its_hand_counted_bytes(
    architecture: Architecture, width: int, fixed: int
) -> None:
    """LoRA on a bf16 base; fixed bytes are two for each adapter element."""
    assert of(architecture) == (width, fixed, 0)


def test_eager_attention_keeps_its_probabilities() -> None:
    """Two heads' fp32 probabilities 8 and their bf16 copy 4 a score; query, repeated key and value
    16 each instead of sdpa's 56.
    """
    assert of(TOY, changed(LORA, attention=Attention.EAGER)) == (372 - 56 + 48, 512, 12)


def test_a_windowed_block_repeats_its_heads_and_keeps_a_mask() -> None:
    """Key and value 16 each instead of 8; a mask of two bytes a score."""
    assert of(TOY, masked=True) == (372 + 16, 512, 2)


def test_what_is_below_the_first_adapter_keeps_nothing_that_only_the_input_needs() -> None:
    """Where the block's input needs no gradient, its first norm keeps nothing: 32 less."""
    first = layer_memory(TOY, LORA.layer, trained=False, first=True)
    assert kept(first) == (372 - 32, 512, 0)


@pytest.mark.parametrize("architecture", ALL, ids=lambda found: found.name)
@pytest.mark.parametrize("method", FinetuningType)
def test_backward_of_a_recomputed_block_has_all_of_it_at_once(
    architecture: Architecture, method: FinetuningType
) -> None:
    """Its peak is above what the block keeps, and above forward's."""
    settings = changed(LORA, finetuning_type=method, gradient_checkpointing=True)
    block = layer_memory(architecture, settings.layer, trained=not settings.method.uses_adapter)
    width, fixed, _ = kept(block)
    assert block.backward.bytes(64, 0) >= max(64 * width + fixed, block.forward.bytes(64, 0))


def test_trained_weights_leave_their_gradients() -> None:
    """576 elements at two bytes; with accumulation a gradient of 128 is there for a moment only."""
    early = layer_memory(TOY, FULL.layer, trained=True).backward.bytes(0, 0)
    later = changed(FULL, gradient_accumulation_steps=2)
    assert early == 2 * 576
    assert layer_memory(TOY, later.layer, trained=True).backward.bytes(0, 0) == 2 * 128


def test_one_norm_for_both_branches_is_kept_once() -> None:
    """Phi-2 and Cohere: of two RMSNorms the fp32 copies take 64 bytes per token, of one 32."""
    parallel = changed(TOY, parallel_residual=True)
    shared = changed(parallel, norms_per_layer=1, norm_width_per_layer=8)
    assert of(parallel, masked=False)[0] - of(shared)[0] == 32


def test_norms_after_the_branches_keep_what_norms_before_them_keep() -> None:
    """OLMo 2: each norm keeps its fp32 copy, wherever it stands."""
    assert of(changed(TOY, norms_after=True)) == of(TOY)


def test_a_constant_factor_and_held_variables_keep_nothing() -> None:
    """Granite's factor saves a number; StableLM's variables end with the layer."""
    assert of(changed(TOY, scales_branches=True)) == of(TOY)
    assert of(changed(TOY, holds_branch=True)) == of(TOY)
    lean = layer_memory(TOY, LORA.layer, trained=False)
    held = layer_memory(changed(TOY, holds_branch=True), LORA.layer, trained=False)
    # At the forward peak, in the MLP, attention's input and result are alive: 8 bf16 elements each.
    assert held.forward.bytes(1, 0) - lean.forward.bytes(1, 0) == 2 * 16
