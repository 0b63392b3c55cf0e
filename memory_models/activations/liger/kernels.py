"""Liger's kernels as programs: norm, rotation, gated product, and the loss in chunks.

Each is an autograd function that saves what it keeps when it has run, so that a checkpoint runs it
whole. Sources: liger-kernel 0.8.5, ops/rms_norm.py, rope.py, swiglu.py, geglu.py and
fused_linear_cross_entropy.py; transformers/swiglu.py (``LigerPhi3SwiGLUMLP``).
Ignores: partial sums of a norm's gradient, one row per multiprocessor.
"""

from __future__ import annotations

from collections.abc import Sequence

from memory_models.activations.ops import FP32, LayerOps, Ops
from memory_models.architecture import Activation, Role
from memory_models.settings import Attention
from memory_models.symbolic import Size, Storage, Value

GATED = frozenset({Activation.SILU, Activation.GELU_TANH})
"""Activations that a kernel multiplies by the other factor."""


def saved_after(ops: Ops) -> None:
    """The function that has just run saved its tensors at its end."""
    if ops.tape.saves:
        ops.tape.last_save = ops.tape.allocations


def liger_norm(ops: Ops, value: Value, rows: int) -> Value:
    """One kernel; backward keeps the input and one fp32 number per row, ``rows`` per token."""
    assert ops.liger is not None
    scale = ops.tape.new(Size(per_token=rows), FP32, needs=False)
    result = ops.tape.op(
        (value,), value.elements, value.bytes, saves=(value, scale), passes=ops.liger.in_place
    )
    ops.tape.drop(scale)
    saved_after(ops)
    return result


def liger_rotary(ops: LayerOps, value: Value) -> Value:
    """The value rotated where it stands; parts of one product are copied first.

    Backward rotates the incoming gradient in place too, which eager attention lays out head by
    head, so that it is copied.
    """
    tape, passes = ops.tape, ops.settings.attention is not Attention.EAGER
    if Role.QKV in ops.linears:
        turned = tape.op((value,), value.elements, value.bytes, passes=passes)
    else:
        value.storage.holders += 1
        turned = Value(value.storage, value.elements, value.bytes, needs=value.needs)
        tape.record((turned,), ((value, passes),))
    saved_after(ops)
    return turned


def has_gated_product(ops: Ops) -> bool:
    """Whether a kernel multiplies both halves of the MLP."""
    gated = Role.GATE in ops.linears or Role.GATE_UP in ops.linears
    return ops.liger is not None and gated and ops.shape.mlp.activation in GATED


def liger_product(ops: Ops, gate: Value, up: Value) -> Value:
    """The activation of the gate times the other factor; backward overwrites both factors.

    Halves of one product are copied first, and the copies are what backward keeps.
    """
    tape = ops.tape
    joined = gate.storage is up.storage
    factors = [gate, up]
    if joined:
        factors = [tape.new(each.elements, each.bytes) for each in (gate, up)]
    result = tape.new(up.elements, up.bytes)
    overwritten: Sequence[tuple[Value, Storage]] = [
        (each, factor.storage) for each, factor in zip((gate, up), factors, strict=True)
    ]
    tape.record((result,), tuple(overwritten), saves=factors)
    if joined:
        tape.drop(*factors)
    saved_after(ops)
    return result


def liger_loss(ops: Ops, hidden: Value, elements: int, stored: int) -> Value:
    """lm_head and loss in chunks of rows; forward makes the gradients of both.

    ``elements``, ``stored``: of the lm_head's weight [V, D], and bytes per element. The logits of a
    chunk turn into their own gradient. One buffer holds them where the products need no cast.
    """
    tape, shape = ops.tape, ops.shape
    operand = ops.flow.operand if ops.autocast else stored
    width = Size(per_unit=shape.vocabulary.vocab_size)
    gradient = tape.new(hidden.elements, hidden.bytes, needs=False)
    head = tape.new(Size(constant=elements), stored, needs=False) if ops.trained else None
    buffered = hidden.bytes == stored == operand
    if buffered:
        tape.drop(tape.new(width, operand, needs=False))
    else:
        _cast_chunk(ops, hidden, elements, stored)
    loss = tape.uncounted(hidden.elements, hidden.bytes)
    if head is not None:
        # Backward scales this gradient where it stands, and it becomes the parameter's.
        tape.keep(head)
        tape.drop(head)
    tape.record((loss,), ((hidden, True),))
    tape.drop(hidden, gradient, *ops.cached)
    return loss


def _cast_chunk(ops: Ops, hidden: Value, elements: int, stored: int) -> None:
    """One chunk under autocast, which casts the operands of both products.

    The first product reads the weight transposed, whose cast is never cached. The second product's
    cast of a trained weight stays from the first chunk on until autocast's context ends.
    """
    tape, shape, operand = ops.tape, ops.shape, ops.flow.operand
    states = Size(per_unit=shape.hidden_size)

    def cast(size: Size, bytes: int) -> list[Value]:
        return [] if bytes == operand else [tape.new(size, operand, needs=False)]

    whole = cast(Size(constant=elements), stored)
    if ops.trained:
        ops.cached += whole
    else:
        tape.drop(*whole)
    casts = cast(states, hidden.bytes) + cast(Size(constant=elements), stored)
    logits = tape.new(Size(per_unit=shape.vocabulary.vocab_size), operand, needs=False)
    tape.drop(*casts)
    casts = [] if ops.trained else cast(Size(constant=elements), stored)
    product = tape.new(states, operand, needs=False)
    tape.drop(*casts, product)
    if ops.trained:
        tape.drop(*cast(states, hidden.bytes))
    tape.drop(logits)
