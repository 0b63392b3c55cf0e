"""The pieces of ``pieces.py`` as Triton kernels; only a process with Triton imports this module.

Every kernel computes in fp32 and rounds once, when it stores. The functions at the end launch the
kernels on contiguous tensors; their arguments are those of the pieces' references.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

GATED_ROWS, GATED_COLUMNS = 16, 128
"""Rows and columns of one program of the gated product."""
LOSS_COLUMNS = 8192
"""Logits that one program of the loss reads at once."""
NORM_ELEMENTS = 2048
"""Elements that one program of the head norm reads at once, about."""
SMALLEST_DOT = 16
"""Smallest side of a matrix that Triton multiplies."""
# Numbers of rows differ from pass to pass: compiled for one of them, a kernel serves all.


@triton.jit
def _factor(
    value, low, side, rows, columns, count, width, low_stride, RANK: tl.constexpr, R: tl.constexpr
):
    """The tile of value [count, width] plus ``low side^T``: low [count, R], side [width, R]."""
    mask = (rows[:, None] < count) & (columns[None, :] < width)
    found = tl.load(value + rows[:, None] * width + columns[None, :], mask=mask, other=0.0)
    found = found.to(tl.float32)
    if RANK > 0:
        ranks = tl.arange(0, R)
        left = tl.load(
            low + rows[:, None] * low_stride + ranks[None, :],
            mask=(rows[:, None] < count) & (ranks[None, :] < RANK),
            other=0.0,
        )
        right = tl.load(
            side + columns[None, :] * RANK + ranks[:, None],
            mask=(columns[None, :] < width) & (ranks[:, None] < RANK),
            other=0.0,
        )
        found += tl.dot(left, right)
    return found


@triton.jit(do_not_specialize=["count"])
def _gated_kernel(
    gate,
    up,
    out,
    gate_low,
    gate_side,
    up_low,
    up_side,
    count,
    width,
    low_stride,
    GATE_RANK: tl.constexpr,
    UP_RANK: tl.constexpr,
    GATE_R: tl.constexpr,
    UP_R: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    rows = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    mask = (rows[:, None] < count) & (columns[None, :] < width)
    at = rows[:, None] * width + columns[None, :]
    g = _factor(
        gate, gate_low, gate_side, rows, columns, count, width, low_stride, GATE_RANK, GATE_R
    )
    u = _factor(up, up_low, up_side, rows, columns, count, width, low_stride, UP_RANK, UP_R)
    made = g * tl.sigmoid(g) * u
    tl.store(out + at, made.to(out.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["count"])
def _gated_backward_kernel(
    gate,
    up,
    gradient,
    gate_low,
    gate_side,
    up_low,
    up_side,
    down_low,
    down_side,
    count,
    width,
    low_stride,
    GATE_RANK: tl.constexpr,
    UP_RANK: tl.constexpr,
    DOWN_RANK: tl.constexpr,
    GATE_R: tl.constexpr,
    UP_R: tl.constexpr,
    DOWN_R: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    rows = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    mask = (rows[:, None] < count) & (columns[None, :] < width)
    at = rows[:, None] * width + columns[None, :]
    g = _factor(
        gate, gate_low, gate_side, rows, columns, count, width, low_stride, GATE_RANK, GATE_R
    )
    u = _factor(up, up_low, up_side, rows, columns, count, width, low_stride, UP_RANK, UP_R)
    d = tl.load(gradient + at, mask=mask, other=0.0).to(tl.float32)
    if DOWN_RANK > 0:
        # The side is A [rank, width] here, so that ranks are its rows.
        ranks = tl.arange(0, DOWN_R)
        left = tl.load(
            down_low + rows[:, None] * DOWN_RANK + ranks[None, :],
            mask=(rows[:, None] < count) & (ranks[None, :] < DOWN_RANK),
            other=0.0,
        )
        right = tl.load(
            down_side + ranks[:, None] * width + columns[None, :],
            mask=(ranks[:, None] < DOWN_RANK) & (columns[None, :] < width),
            other=0.0,
        )
        d += tl.dot(left, right)
    sigmoid = tl.sigmoid(g)
    active = g * sigmoid
    tl.store(gradient + at, (active * u).to(gradient.dtype.element_ty), mask=mask)
    of_gate = d * u * (sigmoid + active * (1.0 - sigmoid))
    tl.store(gate + at, of_gate.to(gate.dtype.element_ty), mask=mask)
    tl.store(up + at, (d * active).to(up.dtype.element_ty), mask=mask)


@triton.jit
def _turn(
    value,
    out,
    row,
    place,
    token,
    c1,
    c2,
    s1,
    s2,
    batch_stride,
    head_stride,
    token_stride,
    COUNT: tl.constexpr,
    HALF: tl.constexpr,
    HEADS: tl.constexpr,
    HALVES: tl.constexpr,
    BACKWARD: tl.constexpr,
):
    """The heads of one token, turned."""
    head, half = tl.arange(0, HEADS), tl.arange(0, HALVES)
    mask = (head[:, None] < COUNT) & (half[None, :] < HALF)
    read = value + row * batch_stride + place * token_stride
    read += head[:, None] * head_stride + half[None, :]
    x1 = tl.load(read, mask=mask, other=0.0).to(tl.float32)
    x2 = tl.load(read + HALF, mask=mask, other=0.0).to(tl.float32)
    if BACKWARD:
        y1, y2 = x1 * c1 + x2 * s2, x2 * c2 - x1 * s1
    else:
        y1, y2 = x1 * c1 - x2 * s1, x2 * c2 + x1 * s2
    write = out + (token * COUNT + head[:, None]) * 2 * HALF + half[None, :]
    tl.store(write, y1.to(out.dtype.element_ty), mask=mask)
    tl.store(write + HALF, y2.to(out.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["length", "table_stride", "query_batch", "key_batch"])
def _rotary_kernel(
    query,
    key,
    query_out,
    key_out,
    cosine,
    sine,
    length,
    table_stride,
    query_batch,
    query_head,
    query_token,
    key_batch,
    key_head,
    key_token,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    HALF: tl.constexpr,
    QUERY_HEADS: tl.constexpr,
    KEY_HEADS: tl.constexpr,
    HALVES: tl.constexpr,
    BACKWARD: tl.constexpr,
):
    token = tl.program_id(0).to(tl.int64)
    row, place = token // length, token % length
    half = tl.arange(0, HALVES)
    seen = half < HALF
    table = row * table_stride + place * 2 * HALF + half
    c1 = tl.load(cosine + table, mask=seen, other=0.0).to(tl.float32)[None, :]
    c2 = tl.load(cosine + table + HALF, mask=seen, other=0.0).to(tl.float32)[None, :]
    s1 = tl.load(sine + table, mask=seen, other=0.0).to(tl.float32)[None, :]
    s2 = tl.load(sine + table + HALF, mask=seen, other=0.0).to(tl.float32)[None, :]
    _turn(
        query,
        query_out,
        row,
        place,
        token,
        c1,
        c2,
        s1,
        s2,
        query_batch,
        query_head,
        query_token,
        QUERIES,
        HALF,
        QUERY_HEADS,
        HALVES,
        BACKWARD,
    )
    _turn(
        key,
        key_out,
        row,
        place,
        token,
        c1,
        c2,
        s1,
        s2,
        key_batch,
        key_head,
        key_token,
        KEYS,
        HALF,
        KEY_HEADS,
        HALVES,
        BACKWARD,
    )


@triton.jit(do_not_specialize=["count"])
def _norm_kernel(
    x, weight, out, scale, count, epsilon, WIDTH: tl.constexpr, ROWS: tl.constexpr, D: tl.constexpr
):
    rows = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    columns = tl.arange(0, D)
    mask = (rows[:, None] < count) & (columns[None, :] < WIDTH)
    at = rows[:, None] * WIDTH + columns[None, :]
    wide = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
    factor = tl.load(weight + columns, mask=columns < WIDTH, other=0.0).to(tl.float32)[None, :]
    root = 1.0 / tl.sqrt(tl.sum(wide * wide, 1) / WIDTH + epsilon)
    tl.store(scale + rows, root, mask=rows < count)
    tl.store(out + at, (wide * root[:, None] * factor).to(out.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["count"])
def _norm_backward_kernel(
    gradient, x, weight, scale, out, count, WIDTH: tl.constexpr, ROWS: tl.constexpr, D: tl.constexpr
):
    rows = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    columns = tl.arange(0, D)
    mask = (rows[:, None] < count) & (columns[None, :] < WIDTH)
    at = rows[:, None] * WIDTH + columns[None, :]
    root = tl.load(scale + rows, mask=rows < count, other=0.0)[:, None]
    factor = tl.load(weight + columns, mask=columns < WIDTH, other=0.0).to(tl.float32)[None, :]
    unit = tl.load(x + at, mask=mask, other=0.0).to(tl.float32) * root
    wide = tl.load(gradient + at, mask=mask, other=0.0).to(tl.float32) * factor
    mean = tl.sum(wide * unit, 1)[:, None] / WIDTH
    tl.store(out + at, ((wide - unit * mean) * root).to(out.dtype.element_ty), mask=mask)


@triton.jit
def _changed(logits, factor, softcap, CAPPED: tl.constexpr):
    """The logits after the model's factor and soft cap; tanh(z) is 2 sigmoid(2 z) - 1."""
    value = logits * factor
    if CAPPED:
        value = softcap * (2.0 * tl.sigmoid(2.0 * value / softcap) - 1.0)
    return value


@triton.jit
def _loss_kernel(
    logits,
    labels,
    losses,
    factor,
    softcap,
    WIDTH: tl.constexpr,
    CAPPED: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    base = logits + row * WIDTH
    label = tl.load(labels + row)
    largest, summed = -float("inf"), 0.0
    for start in range(0, WIDTH, COLUMNS):
        columns = start + tl.arange(0, COLUMNS)
        seen = columns < WIDTH
        value = tl.load(base + columns, mask=seen, other=0.0).to(tl.float32)
        value = tl.where(seen, _changed(value, factor, softcap, CAPPED), -float("inf"))
        new = tl.maximum(largest, tl.max(value, 0))
        summed = summed * tl.exp(largest - new) + tl.sum(tl.exp(value - new), 0)
        largest = new
    chosen = _changed(tl.load(base + label).to(tl.float32), factor, softcap, CAPPED)
    tl.store(losses + row, tl.log(summed) + largest - chosen)
    for start in range(0, WIDTH, COLUMNS):
        columns = start + tl.arange(0, COLUMNS)
        seen = columns < WIDTH
        raw = tl.load(base + columns, mask=seen, other=0.0).to(tl.float32)
        value = _changed(raw, factor, softcap, CAPPED)
        gradient = tl.exp(value - largest) / summed - tl.where(columns == label, 1.0, 0.0)
        if CAPPED:
            gradient *= 1.0 - (value / softcap) * (value / softcap)
        tl.store(base + columns, (gradient * factor).to(logits.dtype.element_ty), mask=seen)


def _side(rank: int) -> int:
    return max(SMALLEST_DOT, triton.next_power_of_2(rank))


def gated(gate: Tensor, up: Tensor, out: Tensor, of_gate: Any, of_up: Any) -> None:
    """See ``pieces.gated_reference``."""
    count, width = gate.shape
    grid = (triton.cdiv(count, GATED_ROWS), triton.cdiv(width, GATED_COLUMNS))
    _gated_kernel[grid](
        gate,
        up,
        out,
        *of_gate.arguments(gate),
        *of_up.arguments(up),
        count,
        width,
        of_gate.row_stride or of_up.row_stride,
        GATE_RANK=of_gate.rank,
        UP_RANK=of_up.rank,
        GATE_R=_side(of_gate.rank),
        UP_R=_side(of_up.rank),
        ROWS=GATED_ROWS,
        COLUMNS=GATED_COLUMNS,
    )


def gated_backward(
    gate: Tensor, up: Tensor, gradient: Tensor, of_gate: Any, of_up: Any, of_down: Any
) -> None:
    """See ``pieces.gated_backward_reference``."""
    count, width = gate.shape
    grid = (triton.cdiv(count, GATED_ROWS), triton.cdiv(width, GATED_COLUMNS))
    down_low, down_side = of_down.arguments(gradient)
    _gated_backward_kernel[grid](
        gate,
        up,
        gradient,
        *of_gate.arguments(gate),
        *of_up.arguments(up),
        down_low,
        down_side,
        count,
        width,
        of_gate.row_stride or of_up.row_stride,
        GATE_RANK=of_gate.rank,
        UP_RANK=of_up.rank,
        DOWN_RANK=of_down.rank,
        GATE_R=_side(of_gate.rank),
        UP_R=_side(of_up.rank),
        DOWN_R=_side(of_down.rank),
        ROWS=GATED_ROWS,
        COLUMNS=GATED_COLUMNS,
    )


def rotary(
    query: Tensor,
    key: Tensor,
    outs: tuple[Tensor, Tensor],
    tables: tuple[Tensor, Tensor],
    *,
    backward: bool,
) -> None:
    """See ``pieces.rotary_reference``."""
    batch, heads, length, size = query.shape
    cosine, sine = tables
    half, keys = size // 2, key.shape[1]
    _rotary_kernel[(batch * length,)](
        query,
        key,
        *outs,
        cosine,
        sine,
        length,
        cosine.stride(0) if cosine.shape[0] > 1 else 0,
        *query.stride()[:3],
        *key.stride()[:3],
        QUERIES=heads,
        KEYS=keys,
        HALF=half,
        QUERY_HEADS=triton.next_power_of_2(heads),
        KEY_HEADS=triton.next_power_of_2(keys),
        HALVES=triton.next_power_of_2(half),
        BACKWARD=backward,
    )


def head_norm(x: Tensor, weight: Tensor, out: Tensor, scale: Tensor, epsilon: float) -> None:
    """See ``pieces.head_norm_reference``."""
    count, width = x.shape
    side = triton.next_power_of_2(width)
    rows = max(1, NORM_ELEMENTS // side)
    _norm_kernel[(triton.cdiv(count, rows),)](
        x, weight, out, scale, count, epsilon, WIDTH=width, ROWS=rows, D=side
    )


def head_norm_backward(
    gradient: Tensor, x: Tensor, weight: Tensor, scale: Tensor, out: Tensor
) -> None:
    """See ``pieces.head_norm_backward_reference``."""
    count, width = x.shape
    side = triton.next_power_of_2(width)
    rows = max(1, NORM_ELEMENTS // side)
    _norm_backward_kernel[(triton.cdiv(count, rows),)](
        gradient, x, weight, scale, out, count, WIDTH=width, ROWS=rows, D=side
    )


def cross_entropy(
    logits: Tensor, labels: Tensor, losses: Tensor, factor: float, softcap: float | None
) -> None:
    """See ``pieces.cross_entropy_reference``."""
    count, width = logits.shape
    if not count:
        return
    _loss_kernel[(count,)](
        logits,
        labels,
        losses,
        factor,
        softcap or 1.0,
        WIDTH=width,
        CAPPED=softcap is not None,
        COLUMNS=min(LOSS_COLUMNS, triton.next_power_of_2(width)),
        num_warps=16,
    )
