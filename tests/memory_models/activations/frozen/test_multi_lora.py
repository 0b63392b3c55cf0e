"""Several LoRA trials on one linear of the toy: ranks 2 and 4 on q_proj, 8 x 8."""

from __future__ import annotations

from memory_models.activations.frozen.multi_lora import multi_lora_linear
from memory_models.activations.linears import base_product
from memory_models.settings import LossKernel, Quantization
from memory_models.symbolic import Size
from tests.support.toy_programs import layer_ops, named, uncounted

TRIALS = {"adapter_ranks": (2, 4), "loss_kernel": LossKernel.FUSED}


def test_trials_keep_one_thin_product_as_wide_as_the_largest_rank() -> None:
    """[n, 4] in bf16 is 8 per token; two stacks of 2 trials x rank 4 x 8 elements at two bytes.

    The input is kept too, but counted elsewhere here.
    """
    ops = layer_ops(**TRIALS)
    multi_lora_linear(ops, named("q_proj"), uncounted(ops, 8), base_product)
    assert ops.tape.kept() == Size(per_token=8, constant=2 * 2 * 4 * 8 * 2)


def test_each_trial_gets_gradients_by_its_own_rank() -> None:
    """(2 + 4) x (8 + 8) elements in fp32, and the gradient of the input."""
    ops = layer_ops(**TRIALS)
    output = multi_lora_linear(ops, named("q_proj"), uncounted(ops, 8), base_product)
    ops.tape.drop(output)
    ops.tape.backward(output, accumulates=False, recomputed=False)
    assert ops.tape.level == Size(per_token=16, constant=384)


def test_the_product_of_a_quantised_base_is_made_first() -> None:
    """Its input is cast to bf16 once for the base and once for the adapters, 16 per token each.

    Kept: the second cast, the thin product 8, and the stacks.
    """
    ops = layer_ops(**TRIALS, quantization=Quantization.NF4)
    result = multi_lora_linear(ops, named("q_proj"), uncounted(ops, 8, 4), base_product)
    assert result.bytes == 4
    assert ops.tape.kept() == Size(per_token=16 + 8, constant=256)
