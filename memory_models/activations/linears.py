"""Linears as programs: the product with the base weight, and the adapter.

Sources: peft/tuners/lora/{layer,bnb,dora}.py, peft/tuners/adalora/layer.py, bitsandbytes
nn/modules.py, torch/amp/autocast_mode.py.
"""

from __future__ import annotations

from memory_models.activations.frozen.multi_lora import multi_lora_linear
from memory_models.activations.frozen.products import eight_bit_product
from memory_models.activations.fused_kernels import adapted_linear, fused_adapter
from memory_models.activations.ops import FP32, LayerOps, Ops
from memory_models.architecture import Linear
from memory_models.settings import FinetuningType, Quantization
from memory_models.states.adapters import is_targeted
from memory_models.states.weights import form_of
from memory_models.symbolic import Size, Value, Weight, times


def linear(ops: LayerOps, layer: Linear, value: Value) -> Value:
    """The result of a linear, the adapter's share included if the linear has one."""
    targeted = is_targeted(ops.shape, layer, ops.method)
    if targeted and ops.method.adapter_ranks:
        return multi_lora_linear(ops, layer, value, base_product)
    if targeted and fused_adapter(ops, layer, value):
        return adapted_linear(ops, layer, value)
    base = base_product(ops, layer, value)
    if not targeted:
        return base
    form = form_of(layer, ops.quantization)
    if form in (Quantization.NF4, Quantization.NF4_DQ):
        # PEFT clones a 4-bit result: adding to a view in place breaks autograd (peft lora/bnb.py).
        clone = ops.tape.op((base,), base.elements, base.bytes, passes=True)
        ops.tape.drop(base)
        base = clone
    # PEFT's quantised layers leave the cast to autocast; its other layers cast their input to the
    # adapter's dtype themselves.
    left_alone = form is not None and not form.multiplies and ops.autocast
    source = ops.tape.view(value) if left_alone else ops.cast(value, ops.adapter)
    return ADAPTED[ops.method.finetuning_type](ops, layer, source, base)


def base_product(ops: LayerOps, layer: Linear, value: Value) -> Value:
    """The product with a frozen or trained weight; bitsandbytes casts its result back."""
    form = form_of(layer, ops.quantization)
    if form is not None and form.multiplies:
        return eight_bit_product(ops, layer, value)
    tape, operand, out = ops.tape, ops.flow.operand, Size(per_token=layer.out_features)
    source = ops.cast(value, operand) if value.bytes > operand else value
    elements = layer.weight_count
    quantized = form is not None
    if quantized:
        # bitsandbytes de-quantises the whole matrix for a product, and again in backward.
        whole = Size(constant=elements * operand)
        tape.work(whole)
        result = tape.op((source,), out, operand, work=whole)
    else:
        result = ops.product(source, out, elements, ops.stored)
    if source is not value:
        tape.drop(source)
    if not quantized or result.bytes == value.bytes:
        return result
    back = ops.cast(result, value.bytes)
    tape.drop(result)
    return back


def adapter_product(ops: Ops, source: Value, width: int, out: int) -> Value:
    """A product with an adapter matrix [out, width]."""
    tape = ops.tape
    operand = ops.flow.operand if ops.autocast else ops.adapter
    narrow = ops.cast(source, operand)
    saves = [narrow]
    if ops.autocast:
        cast = tape.new(Size(constant=width * out), operand, needs=False)
        ops.cached.append(cast)
        saves.append(cast)
    weights = (Weight(width * out, operand, ops.adapter),)
    result = tape.op((narrow,), Size(per_token=out), operand, saves=saves, weights=weights)
    tape.drop(narrow)
    return tape.folded(result)


def _read(ops: LayerOps, source: Value) -> Value:
    """The tensor that A reads: the input, after the adapter's dropout if there is one."""
    return ops.dropout(source) if ops.method.lora_dropout else ops.tape.view(source)


def _through(ops: LayerOps, layer: Linear, read: Value) -> Value:
    """The product with A, then the product with B."""
    rank = ops.method.rank_of(layer.name)
    low = adapter_product(ops, read, layer.in_features, rank)
    ops.tape.drop(read)
    high = adapter_product(ops, low, rank, layer.out_features)
    ops.tape.drop(low)
    return high


def _joined(ops: LayerOps, base: Value, extra: Value) -> Value:
    """The base's result plus the adapter's result, in the dtype of the base's result."""
    total = ops.add(base, extra)
    back = ops.cast(total, base.bytes)
    ops.tape.drop(base, total)
    return back


def _lora(ops: LayerOps, layer: Linear, source: Value, base: Value) -> Value:
    scaled = ops.copy(_through(ops, layer, _read(ops, source)))
    result = _joined(ops, base, scaled)
    ops.tape.drop(scaled, source)
    return result


def _adalora(ops: LayerOps, layer: Linear, source: Value, base: Value) -> Value:
    """AdaLoRA divides its result by the rank and adds it in place; the divisor is a constant."""
    tape, wide = ops.tape, ops.adapter
    read = _read(ops, source)
    scaled_a = tape.new(
        Size(constant=ops.method.adapter_rank * layer.in_features), wide, needs=False
    )
    scaled = ops.copy(_through(ops, layer, read))
    divided = tape.op((scaled,), scaled.elements, wide, saves=(scaled_a,))
    tape.drop(scaled, scaled_a, source)
    joined = Value(base.storage, base.elements, base.bytes, needs=True)
    tape.record((joined,), ((base, True), (divided, base.bytes == wide)))
    tape.drop(divided)
    return joined


def _dora(ops: LayerOps, layer: Linear, source: Value, base: Value) -> Value:
    """DoRA computes the norm of W + BA, then scales both results by magnitude over norm in fp32."""
    tape = ops.tape
    read = _read(ops, source)
    local = _weight_norm(ops, layer, source.bytes)
    if ops.method.lora_dropout:
        tape.drop(base)
        base = _with_dropped_input(ops, layer, read, local)
    rank = ops.method.rank_of(layer.name)
    low = adapter_product(ops, read, layer.in_features, rank)
    high = adapter_product(ops, low, rank, layer.out_features)
    tape.drop(low)
    plain = base
    if layer.bias:
        plain = tape.op((base,), base.elements, base.bytes, passes=True)
    left, right = _magnified(ops, plain), _magnified(ops, high)
    tape.drop(high)
    right = ops.copy(right)
    extra = ops.add(left, right)
    tape.drop(left, right, read, *local)
    if plain is not base:
        tape.drop(plain)
    if _keeps_sum(ops, layer):
        result = ops.add(base, extra)
        tape.drop(base)
    else:
        result = _joined(ops, base, extra)
    tape.drop(extra, source)
    return result


def _keeps_sum(ops: LayerOps, layer: Linear) -> bool:
    """Whether PEFT hands DoRA's fp32 sum on as it is: on bitsandbytes' linears under autocast.

    Source: peft/tuners/lora/bnb.py (``requires_conversion``).
    """
    form = form_of(layer, ops.quantization)
    return ops.autocast and form is not None and not form.multiplies


def _with_dropped_input(ops: LayerOps, layer: Linear, read: Value, local: list[Value]) -> Value:
    """A second product of the base, with the input after dropout; it keeps a copied weight."""
    out, wide = Size(per_token=layer.out_features), read.bytes
    if not _copies_weight(ops, wide) or (ops.autocast and wide == FP32):
        return ops.product(read, out, layer.weight_count, wide)
    return ops.tape.op((read,), out, wide, saves=(local[-1],))


def _copies_weight(ops: LayerOps, wide: int) -> bool:
    """Whether DoRA reads a copy of the weight: a de-quantised one, or one in its input's dtype."""
    return ops.quantization is not None or wide != ops.stored


def _weight_norm(ops: LayerOps, layer: Linear, wide: int) -> list[Value]:
    """The norm of W + BA; the local variables that are left.

    PEFT computes BA as the adapter's result for an identity matrix [in, in].
    Source: peft/tuners/lora/dora.py.
    """
    operand = ops.flow.operand if ops.autocast else ops.adapter
    side, elements = layer.in_features, layer.weight_count

    def fresh(count: int, bytes: int) -> Value:
        return ops.tape.new(Size(constant=count), bytes, needs=False)

    eye = fresh(side * side, ops.adapter)
    read = fresh(side * side, operand) if operand < ops.adapter else eye
    low = fresh(side * ops.method.rank_of(layer.name), operand)
    delta = fresh(elements, operand)
    if read is not eye:
        ops.tape.drop(eye)
    if wide != operand:
        narrow, delta = delta, fresh(elements, wide)
        ops.tape.drop(narrow)
    local = [read, low, delta]
    if _copies_weight(ops, wide):
        local.append(fresh(elements, wide))
    ops.tape.drop(fresh(elements, wide), fresh(elements, wide))
    return local


def _magnified(ops: LayerOps, value: Value) -> Value:
    """The value times the magnitude; the magnitude's gradient is a full product before its sum."""
    wide = max(value.bytes, ops.adapter)
    work = times(value.elements, wide)
    return ops.tape.op((value,), value.elements, wide, saves=(value,), work=work)


ADAPTED = {
    FinetuningType.LORA: _lora,
    FinetuningType.RSLORA: _lora,
    FinetuningType.DORA: _dora,
    FinetuningType.ADALORA: _adalora,
}
