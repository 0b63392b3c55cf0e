"""Linears as programs: the base's product, and the adapter on it.

Sources: peft/tuners/lora/{layer,bnb,dora}.py, peft/tuners/adalora/layer.py, bitsandbytes
nn/modules.py, torch/amp/autocast_mode.py.
"""

from __future__ import annotations

from memory_models.activations.fused_kernels import adapted_linear, lean_adapter
from memory_models.activations.multi_lora import multi_lora_linear
from memory_models.activations.ops import FP32, Ops
from memory_models.activations.tape import Value, Weight, times
from memory_models.architecture import Linear
from memory_models.settings import FinetuningType, Quantization
from memory_models.states.adapters import is_targeted


def linear(ops: Ops, layer: Linear, value: Value) -> Value:
    """A linear with its adapter, if it has one."""
    targeted = is_targeted(layer, ops.settings)
    if targeted and ops.settings.packed_ranks:
        return multi_lora_linear(ops, layer, value, base_product)
    if targeted and lean_adapter(ops, value):
        return adapted_linear(ops, layer, value)
    base = base_product(ops, layer, value)
    if not targeted:
        return base
    quantization = ops.settings.quantization
    if quantization in (Quantization.NF4, Quantization.NF4_DQ):
        clone = ops.tape.op((base,), base.elements, base.bytes, passes=True)
        ops.tape.drop(base)
        base = clone
    # Quantised layers leave the cast to autocast; the others cast to the adapter's dtype.
    left_alone = quantization is not None and ops.autocast
    source = ops.tape.view(value) if left_alone else ops.cast(value, ops.adapter)
    return ADAPTED[ops.settings.finetuning_type](ops, layer, source, base)


def base_product(ops: Ops, layer: Linear, value: Value) -> Value:
    """The frozen or trained product; autocast casts what is fp32, bitsandbytes casts back."""
    tape, operand, out = ops.tape, ops.flow.operand, (layer.out_features, 0, 0)
    source = ops.cast(value, operand) if value.bytes > operand else value
    elements = layer.weight_count
    quantized = ops.settings.quantization is not None
    if quantized:
        whole = (0, elements * operand, 0)
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
        cast = tape.new((0, width * out, 0), operand, needs=False)
        ops.cached.append(cast)
        saves.append(cast)
    weights = (Weight(width * out, operand, ops.adapter),)
    result = tape.op((narrow,), (out, 0, 0), operand, saves=saves, weights=weights)
    tape.drop(narrow)
    return result


def _read(ops: Ops, source: Value) -> Value:
    """What A reads: the input, dropped out where the adapter has a dropout."""
    return ops.dropout(source) if ops.settings.lora_dropout else ops.tape.view(source)


def _through(ops: Ops, layer: Linear, read: Value) -> Value:
    """B after A."""
    rank = ops.settings.adapter_rank
    low = adapter_product(ops, read, layer.in_features, rank)
    ops.tape.drop(read)
    high = adapter_product(ops, low, rank, layer.out_features)
    ops.tape.drop(low)
    return high


def _joined(ops: Ops, base: Value, extra: Value) -> Value:
    """The base's result plus the adapter's, in the base's dtype."""
    total = ops.add(base, extra)
    back = ops.cast(total, base.bytes)
    ops.tape.drop(base, total)
    return back


def _lora(ops: Ops, layer: Linear, source: Value, base: Value) -> Value:
    scaled = ops.copy(_through(ops, layer, _read(ops, source)))
    result = _joined(ops, base, scaled)
    ops.tape.drop(scaled, source)
    return result


def _adalora(ops: Ops, layer: Linear, source: Value, base: Value) -> Value:
    """The result is added in place; what is divided by the rank is kept."""
    tape, wide = ops.tape, ops.adapter
    read = _read(ops, source)
    scaled_a = tape.new((0, ops.settings.adapter_rank * layer.in_features, 0), wide, needs=False)
    scaled = ops.copy(_through(ops, layer, read))
    # The divisor gets a gradient too, first: four temporaries in the adapter's dtype.
    work = times(scaled.elements, 4 * wide - scaled.bytes)
    divided = tape.op((scaled,), scaled.elements, wide, saves=(scaled, scaled_a), work=work)
    tape.drop(scaled, scaled_a, source)
    joined = Value(base.storage, base.elements, base.bytes, needs=True)
    tape.record((joined,), ((base, True), (divided, base.bytes == wide)))
    tape.drop(divided)
    return joined


def _dora(ops: Ops, layer: Linear, source: Value, base: Value) -> Value:
    """The adapter's result with the weight's norm at hand, then both results scaled in fp32."""
    tape = ops.tape
    read = _read(ops, source)
    local = _weight_norm(ops, layer, source.bytes)
    if ops.settings.lora_dropout:
        tape.drop(base)
        base = _with_dropped_input(ops, layer, read, local)
    rank = ops.settings.adapter_rank
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
    result = _joined(ops, base, extra)
    tape.drop(extra, source)
    return result


def _with_dropped_input(ops: Ops, layer: Linear, read: Value, local: list[Value]) -> Value:
    """The base's product once more, with the dropped-out input; a copied weight is kept for it."""
    out, wide = (layer.out_features, 0, 0), read.bytes
    if not _copies_weight(ops, wide) or (ops.autocast and wide == FP32):
        return ops.product(read, out, layer.weight_count, wide)
    return ops.tape.op((read,), out, wide, saves=(local[-1],))


def _copies_weight(ops: Ops, wide: int) -> bool:
    """Whether DoRA reads a copy of the weight: de-quantised, or in its input's dtype."""
    return ops.settings.quantization is not None or wide != ops.stored


def _weight_norm(ops: Ops, layer: Linear, wide: int) -> list[Value]:
    """BA through an identity matrix [in, in], the weight plus that; local variables are left."""
    operand = ops.flow.operand if ops.autocast else ops.adapter
    side, elements = layer.in_features, layer.weight_count

    def fresh(count: int, bytes: int) -> Value:
        return ops.tape.new((0, count, 0), bytes, needs=False)

    eye = fresh(side * side, ops.adapter)
    read = fresh(side * side, operand) if operand < ops.adapter else eye
    low = fresh(side * ops.settings.adapter_rank, operand)
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


def _magnified(ops: Ops, value: Value) -> Value:
    """Times the magnitude, whose gradient takes a product in its dtype before it is summed up."""
    wide = max(value.bytes, ops.adapter)
    work = times(value.elements, wide)
    return ops.tape.op((value,), value.elements, wide, saves=(value,), work=work)


ADAPTED = {
    FinetuningType.LORA: _lora,
    FinetuningType.RSLORA: _lora,
    FinetuningType.DORA: _dora,
    FinetuningType.ADALORA: _adalora,
}
