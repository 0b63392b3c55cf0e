"""The compiled kernels of a decoder layer as programs: rotation, gated MLP, linears of one input.

These programs model ``tsplanner/training/kernels/compiled``; each condition here matches a
condition there. Notation: D hidden size, F width of the MLP, R sum of the LoRA ranks of a group.
Ignores: one number per head that a head norm keeps.
"""

from __future__ import annotations

from collections.abc import Sequence

from memory_models.activations.frozen.products import multiplies, product_work
from memory_models.activations.ops import LayerOps
from memory_models.architecture import Linear, Role
from memory_models.states.compiled_groups import (
    HALF,
    attention_group,
    mlp_groups,
    output_group,
    rank_in,
)
from memory_models.states.weights import form_of
from memory_models.symbolic import ZERO, Size, Value, Weight, total

PART_BY_PART = "qkv_proj"
"""A joined projection whose result holds all queries, then all keys, then all values (Phi-3)."""


def _runs(ops: LayerOps, group: Sequence[Linear], value: Value) -> bool:
    """Whether rows of this dtype meet frozen half-precision products."""
    half = ops.compiled and not ops.trained and value.bytes == HALF
    return half and bool(group) and all(multiplies(ops, linear, HALF) for linear in group)


def turns_whole(ops: LayerOps) -> bool:
    """Whether a kernel turns queries and keys in half precision: all elements of each head."""
    attention = ops.shape.attention
    whole = attention.rotary_dim is None and not attention.rotary_in_fp32
    # GPT-NeoX lays query, key and value of each head side by side, which the kernel leaves alone.
    joined = ops.linears.get(Role.QKV)
    whole = whole and (joined is None or joined.name == PART_BY_PART)
    return ops.compiled and whole and ops.flow.residual == HALF


def turns_both(ops: LayerOps, query: Value) -> bool:
    """Whether these queries and their keys are turned by one kernel."""
    return turns_whole(ops) and query.bytes == HALF


def compiled_rotary(ops: LayerOps, query: Value, key: Value) -> tuple[Value, Value]:
    """Two fresh tensors; backward needs the tables alone."""
    turned = tuple(ops.tape.new(each.elements, each.bytes) for each in (query, key))
    ops.tape.record(turned, ((query, False), (key, False)))
    return turned[0], turned[1]


def joined_projections(ops: LayerOps, value: Value) -> tuple[Value, ...]:
    """Query, key and value of one function; empty: they run one by one."""
    group = attention_group(ops.shape, ops.method)
    return joined_linears(ops, group, value) if _runs(ops, group, value) else ()


def attention_output(ops: LayerOps, value: Value) -> Value | None:
    """The attention's last product as a group of its own; None: it runs otherwise."""
    group = output_group(ops.shape, ops.method)
    return joined_linears(ops, group, value)[0] if _runs(ops, group, value) else None


def joined_linears(ops: LayerOps, group: Sequence[Linear], value: Value) -> tuple[Value, ...]:
    """All results of a group; backward keeps the input and the thin products [n, R]."""
    tape = ops.tape
    low = _thin(ops, group)
    results = tuple(_product(ops, linear) for linear in group)
    kept = () if low is None else (value, low)
    tape.record(
        results,
        ((value, False),),
        saves=kept,
        work=total((_backward_work(ops, group), ZERO if low is None else low.size)),
        weights=_weights(ops, group),
    )
    _saved_at_the_end(ops, low)
    return results


def whole_mlp(ops: LayerOps, value: Value) -> Value | None:
    """The gated MLP as one function; None: it runs in pieces.

    Backward keeps the input, the bare gate and up and the thin products; it makes one tensor [n, F]
    and writes the gradients of gate and up over both.
    """
    groups = mlp_groups(ops.shape, ops.method)
    if not _runs(ops, [linear for group in groups for linear in group], value):
        return None
    tape, (entry, exit) = ops.tape, groups
    low = _thin(ops, entry)
    gate, up = (_product(ops, linear) for linear in entry)
    middle = tape.new(gate.elements, HALF, needs=False)
    low_down = _thin(ops, exit)
    result = _product(ops, exit[0])
    thin = [each for each in (low, low_down) if each is not None]
    kept = [gate, up, *thin, *((value,) if low is not None else ())]
    # The tensor [n, F] goes before the gradient of the input comes, so that the difference counts.
    beyond = max(
        _width(middle) + _width(low_down) - _width(value),
        _width(low),
    )
    tape.record(
        (result,),
        ((value, False),),
        saves=kept,
        work=total((_backward_work(ops, exit), Size(per_token=beyond * HALF))),
        weights=_weights(ops, (*entry, *exit)),
    )
    _saved_at_the_end(ops, low, low_down)
    tape.drop(middle, gate, up)
    return result


def _width(value: Value | None) -> int:
    return 0 if value is None else value.elements.per_token


def _thin(ops: LayerOps, group: Sequence[Linear]) -> Value | None:
    rank = sum(rank_in(ops.shape, linear, ops.method) for linear in group)
    return ops.tape.new(Size(per_token=rank), HALF, needs=False) if rank else None


def _backward_work(ops: LayerOps, group: Sequence[Linear]) -> Size:
    """What the gradient of the input takes beside it: products in 8 bits add up in one more."""
    works = [product_work(ops, linear).backward for linear in group]
    form = form_of(group[0], ops.quantization)
    sums = group[0].in_features * HALF * (len(group) > 1 and form is not None and form.multiplies)
    return Size(
        per_token=max(work.per_token for work in works) + sums,
        constant=max(work.constant for work in works),
    )


def _product(ops: LayerOps, linear: Linear) -> Value:
    out, work = Size(per_token=linear.out_features), product_work(ops, linear).forward
    if work == ZERO:
        return ops.tape.new(out, HALF)
    whole = ops.tape.new(work, 1, needs=False)
    result = ops.tape.new(out, HALF)
    ops.tape.drop(whole)
    return result


def _weights(ops: LayerOps, group: Sequence[Linear]) -> tuple[Weight, ...]:
    """The adapters' sides, whose gradients the products write in the adapters' own dtype."""
    found = []
    for linear in group:
        rank = rank_in(ops.shape, linear, ops.method)
        if rank:
            sides = (rank * linear.in_features, rank * linear.out_features)
            found += [Weight(elements, ops.adapter, ops.adapter) for elements in sides]
    return tuple(found)


def _saved_at_the_end(ops: LayerOps, *thin: Value | None) -> None:
    # An op saves what it keeps when it has run, so recomputation runs all of it.
    ops.tape.last_save = ops.tape.allocations
    ops.tape.drop(*(each for each in thin if each is not None))
