"""Several LoRA trials on one base: the adapted linear of a multi-LoRA run as a program.

This program models ``tsplanner/training/multi_lora/linears.py``. All trials have the same number of
rows in a pass, and every thin product is as wide as the largest LoRA rank.
Ignores: the gradients of the trials' hidden states before they are joined.
"""

from __future__ import annotations

from collections.abc import Callable

from memory_models.activations.frozen.products import ProductWork, multiplies, product_work
from memory_models.activations.ops import LayerOps
from memory_models.architecture import Linear
from memory_models.symbolic import ZERO, Size, Value, Weight, total

BaseProduct = Callable[[LayerOps, Linear, Value], Value]


def multi_lora_linear(
    ops: LayerOps, layer: Linear, value: Value, base_product: BaseProduct
) -> Value:
    """The base's product, with every trial's adapter added to that trial's rows.

    If the base is a frozen matrix and its input in the dtype of the products, this op adds the
    base's product to the adapters' in place. The product of any other base is copied first. The
    adapters' matrices are stacked, one stack per side.
    """
    tape, ranks = ops.tape, ops.method.adapter_ranks
    width = ops.flow.operand if ops.autocast else value.bytes
    # In-place addition needs a result that this op has just made, in the dtype of the adapters.
    whole = value.bytes == width and multiplies(ops, layer, width)
    work = product_work(ops, layer) if whole else ProductWork(ZERO, ZERO)
    product = None if whole else base_product(ops, layer, value)
    source = ops.cast(value, width)
    count, rank = len(ranks), max(ranks)
    sides = (layer.in_features, layer.out_features)
    stacks = [tape.new(Size(constant=count * rank * side), width, needs=False) for side in sides]
    low = tape.new(Size(per_token=rank), width, needs=False)
    result = tape.new(
        Size(per_token=layer.out_features), width if product is None else product.bytes, needs=True
    )
    inputs = ((source, False),) if product is None else ((product, True), (source, False))
    gradients = ops.adapter * sum(stack.elements.constant for stack in stacks)
    tape.record(
        (result,),
        inputs,
        saves=(source, low, *stacks),
        work=total((low.size, work.backward, Size(constant=gradients))),
        weights=tuple(Weight(own * side, width, ops.adapter) for own in ranks for side in sides),
    )
    tape.work(work.forward)
    tape.drop(source, low, *stacks)
    if product is not None:
        tape.drop(product)
    return result
