"""Several trials on one base: the adapted linear of a pack as a program.

It stands for ``tsplanner/training/packed.py`` (``PackedLinear``). All trials have the same number
of rows in a pass, so a trial's thin product takes its rank's share of all tokens.
Ignores: the gradients of the trials' hidden states before they are joined.
"""

from __future__ import annotations

from collections.abc import Callable

from memory_models.architecture import Linear
from memory_models.ops import Ops
from memory_models.tape import Value, Weight
from memory_models.units import ceil_div

BaseProduct = Callable[[Ops, Linear, Value], Value]


def packed_linear(ops: Ops, layer: Linear, value: Value, base_product: BaseProduct) -> Value:
    """The base's product, with every trial's adapter added on its rows.

    A plain weight in the products' dtype is multiplied here and the adapters are added in place;
    of any other base the product is copied first. The matrices are cast where they are wider.
    """
    tape, ranks = ops.tape, ops.settings.packed_ranks
    width = ops.flow.operand if ops.autocast else value.bytes
    whole = ops.settings.quantization is None and ops.stored == width
    product = None if whole else base_product(ops, layer, value)
    source = ops.cast(value, width)
    sizes = [rank * side for rank in ranks for side in (layer.in_features, layer.out_features)]
    casts = [tape.new((0, size, 0), width, needs=False) for size in sizes if ops.adapter != width]
    lows = [tape.new((part, 0, 0), width, needs=False) for part in shares(ranks)]
    result = tape.new(
        (layer.out_features, 0, 0), width if product is None else product.bytes, needs=True
    )
    inputs = ((source, False),) if product is None else ((product, True), (source, False))
    tape.record(
        (result,),
        inputs,
        saves=(source, *lows, *casts),
        work=lows[0].size,
        weights=tuple(Weight(size, width, ops.adapter) for size in sizes),
    )
    tape.drop(source, *lows, *casts)
    if product is not None:
        tape.drop(product)
    return result


def shares(ranks: tuple[int, ...]) -> list[int]:
    """Elements a token of each trial's thin product, whole numbers that add up to the mean rank."""
    each, rest = divmod(ceil_div(sum(ranks), len(ranks)), len(ranks))
    return [each + (place < rest) for place in range(len(ranks))]
