"""Several trials on one base: the adapted linear of multi-LoRA as a program.

It stands for ``tsplanner/training/multi_lora/linears.py`` (``MultiLoraLinear``). All trials have
the same number of rows in a pass, and thin products as wide as the largest rank.
Ignores: the gradients of the trials' hidden states before they are joined.
"""

from __future__ import annotations

from collections.abc import Callable

from memory_models.activations.ops import LayerOps
from memory_models.activations.tape import Value, Weight
from memory_models.architecture import Linear

BaseProduct = Callable[[LayerOps, Linear, Value], Value]


def multi_lora_linear(
    ops: LayerOps, layer: Linear, value: Value, base_product: BaseProduct
) -> Value:
    """The base's product, with every trial's adapter added on its rows.

    A plain weight in the products' dtype is multiplied here and the adapters are added in place;
    the product of any other base is copied first. The matrices are stacked.
    """
    tape, ranks = ops.tape, ops.method.adapter_ranks
    width = ops.flow.operand if ops.autocast else value.bytes
    whole = ops.quantization is None and ops.stored == width
    product = None if whole else base_product(ops, layer, value)
    source = ops.cast(value, width)
    count, rank = len(ranks), max(ranks)
    sides = (layer.in_features, layer.out_features)
    stacks = [tape.new((0, count * rank * side, 0), width, needs=False) for side in sides]
    low = tape.new((rank, 0, 0), width, needs=False)
    result = tape.new(
        (layer.out_features, 0, 0), width if product is None else product.bytes, needs=True
    )
    inputs = ((source, False),) if product is None else ((product, True), (source, False))
    tape.record(
        (result,),
        inputs,
        saves=(source, low, *stacks),
        work=(low.size[0], ops.adapter * sum(stack.elements[1] for stack in stacks), 0),
        weights=tuple(Weight(own * side, width, ops.adapter) for own in ranks for side in sides),
    )
    tape.drop(source, low, *stacks)
    if product is not None:
        tape.drop(product)
    return result
