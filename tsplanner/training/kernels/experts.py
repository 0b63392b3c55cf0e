"""The experts of a mixture with LoRA, as grouped products (``kernels: fused``).

transformers keeps the experts of a layer as two parameters, [E, 2F, D] and [E, D, F]. PEFT
(tuners/lora/layer.py, ParamWrapper) adapts such a parameter by adding s B A of every expert to the
whole parameter in each forward, and backward makes a gradient of the whole parameter. Here the
adapter stays low-rank: the rows of each expert meet its matrix, its A and its B, in three grouped
products. The function and its gradients are those of PEFT; so are the parameters, which PEFT
still owns and saves.

Notation: N tokens, K experts per token, P = N K pairs in the order of their experts, E experts,
D hidden size, F size of an expert, R rank. PEFT's A is [R E, in] with R rows per expert, its B is
[out, R E] with one column per rank and expert.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

HALF = (torch.bfloat16, torch.float16)
GATE_UP, DOWN = "gate_up_proj", "down_proj"
"""Names of the fused parameters."""
ALIGNED_RANK = 8
"""torch's grouped product reads rows of a multiple of 16 bytes, so other ranks get zeros."""
GROUPED = (torch.bfloat16, torch.float16, torch.float32)
"""Dtypes of torch's grouped product."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What the experts of a family do besides their products."""

    transposed: bool
    """The parameters are [E, in, out] (gpt-oss), not [E, out, in]."""
    scales: tuple[float, float]
    """Factors of the adapters of both parameters; 0 where there is no adapter."""
    gate: Callable[[Tensor], Tensor] | None
    """From the result of the first product [P, 2F] to [P, F]; None: silu(gate) * up of halves."""


def is_plain_experts(module: nn.Module) -> bool:
    """Whether a module is PEFT's LoRA on the fused half-precision experts of one layer.

    The outermost wrapper stands for all of them, because PEFT nests one wrapper per parameter.
    """
    try:
        from peft.tuners.lora.layer import ParamWrapper
    except ImportError:  # before PEFT 0.17
        return False
    if type(module) is not ParamWrapper:
        return False
    experts: Any = module.get_base_layer()
    known = getattr(experts, "has_gate", False) and not getattr(
        experts, "has_post_expert_norm", False
    )
    wrappers = _wrappers(module)
    return (
        known
        and not getattr(experts, "_is_expert_parallel", False)
        and set(wrappers) <= {GATE_UP, DOWN}
        and getattr(experts, DOWN).dim() == 3
        and getattr(experts, DOWN).dtype in HALF
        and all(len(wrapper.lora_A) == 1 for wrapper in wrappers.values())
    )


def _wrappers(module: Any) -> dict[str, Any]:
    """PEFT's wrappers around one set of experts, by the parameter that each adapts."""
    found: dict[str, Any] = {}
    while hasattr(module, "parameter_name"):
        found[module.parameter_name] = module
        module = module.base_layer
    return found


def experts_forward(plain: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The forward of PEFT's outermost wrapper; calls of another form go to ``plain``."""

    def forward(self: Any, x: Tensor, *args: Any, **options: Any) -> Tensor:
        wrappers = _wrappers(self)
        usual = len(args) == 2 and not options and x.dim() == 2
        if not usual or any(w.disable_adapters or w.merged for w in wrappers.values()):
            return plain(self, x, *args, **options)
        index, share = args
        experts = self.get_base_layer()
        result: Tensor = AdaptedExperts.apply(
            x,
            share,
            index,
            experts.gate_up_proj,
            experts.down_proj,
            getattr(experts, "gate_up_proj_bias", None),
            getattr(experts, "down_proj_bias", None),
            *_matrices(wrappers.get(GATE_UP)),
            *_matrices(wrappers.get(DOWN)),
            Form(
                transposed=bool(experts.is_transposed),
                scales=(_scale(wrappers.get(GATE_UP)), _scale(wrappers.get(DOWN))),
                gate=_own_gate(experts),
            ),
        )
        return result

    return forward


def _matrices(wrapper: Any) -> tuple[Tensor | None, Tensor | None]:
    if wrapper is None:
        return None, None
    (name,) = wrapper.lora_A
    return wrapper.lora_A[name].weight, wrapper.lora_B[name].weight


def _scale(wrapper: Any) -> float:
    return float(next(iter(wrapper.scaling.values()))) if wrapper is not None else 0.0


def _own_gate(experts: Any) -> Callable[[Tensor], Tensor] | None:
    """The gate of a family that has its own, or whose activation is not silu."""
    usual = type(experts)._apply_gate.__module__ == "transformers.integrations.moe"
    silu = type(experts.act_fn).__name__ in ("SiLU", "SiLUActivation") if usual else False
    return None if silu else cast("Callable[[Tensor], Tensor]", experts._apply_gate)


class AdaptedExperts(torch.autograd.Function):
    """The weighted sum of every token's experts, with frozen matrices and trained adapters."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        share: Tensor,
        index: Tensor,
        gate_up: Tensor,
        down: Tensor,
        gate_up_bias: Tensor | None,
        down_bias: Tensor | None,
        a_in: Tensor | None,
        b_in: Tensor | None,
        a_out: Tensor | None,
        b_out: Tensor | None,
        form: Form,
    ) -> Tensor:
        """Return [N, D]; keep x, the first product [P, 2F] and both products with A [P, R]."""
        dtype, experts = gate_up.dtype, gate_up.shape[0]
        plan = _sorted(index, experts)
        rows = x.to(dtype)[plan.token]
        first, second = _frozen(gate_up, form), _frozen(down, form)
        inner, outer = _lora(a_in, b_in, experts, dtype), _lora(a_out, b_out, experts, dtype)
        both, low_in = _adapted(rows, first, inner, form.scales[0], plan.ends)
        if gate_up_bias is not None:
            both.add_(gate_up_bias[plan.expert])
        del rows
        made, low_out = _adapted(_gated(both, form), second, outer, form.scales[1], plan.ends)
        if down_bias is not None:
            made.add_(down_bias[plan.expert])
        result = _summed(made, plan.place, share.to(dtype)).to(x.dtype)
        ctx.save_for_backward(
            x, share, index, gate_up, down, down_bias, a_in, b_in, a_out, b_out,
            both, low_in, low_out, plan.order, plan.ends,
        )  # fmt: skip
        ctx.form = form
        return result

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, of the shares and of the adapters."""
        (
            x, share, index, gate_up, down, down_bias, a_in, b_in, a_out, b_out,
            both, low_in, low_out, order, ends,
        ) = ctx.saved_tensors  # fmt: skip
        form: Form = ctx.form
        dtype, experts, per_token = gate_up.dtype, gate_up.shape[0], index.shape[1]
        token = order // per_token
        weight = share.reshape(-1)[order].to(dtype).unsqueeze(1)
        inner, outer = _lora(a_in, b_in, experts, dtype), _lora(a_out, b_out, experts, dtype)

        of_made = outputs[0].to(dtype)[token]
        of_middle, back = _back(of_made, _frozen(down, form), outer, form.scales[1], ends)
        of_a_out = of_b_out = of_a_in = of_b_in = None
        # The share multiplies a row after the second product, so it multiplies the row's gradient
        # anywhere below; the row's own product with the plain gradient is the share's gradient.
        middle = _gated(both, form)
        of_weight = (middle * of_middle).sum(-1)
        if down_bias is not None:
            of_weight += (down_bias[index.reshape(-1)[order]] * of_made).sum(-1)
        if outer is not None and back is not None:
            of_a_out = _of_a(experts_by_rows(back * weight, middle, ends), a_out)
            of_b_out = _of_b(
                experts_by_rows((low_out * weight).mul_(form.scales[1]), of_made, ends), b_out
            )
        del middle, of_made
        of_both = _gate_backward(of_middle.mul_(weight), both, form)
        del of_middle
        of_rows, back = _back(of_both, _frozen(gate_up, form), inner, form.scales[0], ends)
        if inner is not None and back is not None:
            rows = x.to(dtype)[token]
            of_a_in = _of_a(experts_by_rows(back, rows, ends), a_in)
            del rows
            of_b_in = _of_b(experts_by_rows(low_in * form.scales[0], of_both, ends), b_in)
        del of_both
        place = _places(order)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = _summed(of_rows, place.view_as(index), None).to(x.dtype)
        of_share = of_weight[place].view_as(share).to(share.dtype)
        frozen = (None,) * 5
        return of_x, of_share, *frozen, of_a_in, of_b_in, of_a_out, of_b_out, None


@dataclass(frozen=True, slots=True)
class _Order:
    """Pairs of token and expert in the order of the experts."""

    order: Tensor
    """[P]: the pair, counted token by token, at each place."""
    expert: Tensor
    """[P]: its expert."""
    token: Tensor
    """[P]: its token."""
    place: Tensor
    """[N, K]: the place of each pair."""
    ends: Tensor
    """[E]: the place after the last pair of each expert."""


def _sorted(index: Tensor, experts: int) -> _Order:
    expert, order = torch.sort(index.reshape(-1))
    numbers = torch.arange(experts, device=index.device, dtype=expert.dtype)
    ends = torch.searchsorted(expert, numbers, right=True, out_int32=True)
    return _Order(order, expert, order // index.shape[1], _places(order).view_as(index), ends)


def _places(order: Tensor) -> Tensor:
    """The inverse of a permutation."""
    numbers = torch.arange(order.numel(), device=order.device)
    return torch.empty_like(order).scatter_(0, order, numbers)


def _frozen(weight: Tensor, form: Form) -> Tensor:
    """The matrices of the experts as [E, in, out]."""
    return weight if form.transposed else weight.transpose(1, 2)


def _lora(
    a: Tensor | None, b: Tensor | None, experts: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor] | None:
    """A and B of all experts as [E, in, R] and [E, R, out], in the dtype of the base."""
    if a is None or b is None:
        return None
    rank = a.shape[0] // experts
    down = a.view(experts, rank, -1).to(dtype)
    up = _laid_out(b.view(-1, rank, experts).permute(2, 1, 0), dtype)
    if rank % ALIGNED_RANK:
        more = (0, 0, 0, -rank % ALIGNED_RANK)
        down, up = functional.pad(down, more), functional.pad(up, more)
    return down.transpose(1, 2), up


def _laid_out(matrices: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy in the order of the dimensions, cast on the way."""
    return torch.empty(matrices.shape, dtype=dtype, device=matrices.device).copy_(matrices)


def _adapted(
    rows: Tensor, weight: Tensor, lora: tuple[Tensor, Tensor] | None, scale: float, ends: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Rows through their experts' matrices and adapters, and the product with A."""
    result = rows_by_experts(rows, weight, ends)
    if lora is None:
        return result, None
    low = rows_by_experts(rows, lora[0], ends)
    return result.add_(rows_by_experts(low, lora[1], ends), alpha=scale), low


def _back(
    gradient: Tensor,
    weight: Tensor,
    lora: tuple[Tensor, Tensor] | None,
    scale: float,
    ends: Tensor,
) -> tuple[Tensor, Tensor | None]:
    """The gradient of the rows, and the scaled gradient of their product with A."""
    result = rows_by_experts(gradient, weight.transpose(1, 2), ends)
    if lora is None:
        return result, None
    low = rows_by_experts(gradient, lora[1].transpose(1, 2), ends).mul_(scale)
    return result.add_(rows_by_experts(low, lora[0].transpose(1, 2), ends)), low


def _of_a(gradient: Tensor, a: Tensor) -> Tensor:
    """[E, R, in] as PEFT's [R E, in]."""
    rank = a.shape[0] // gradient.shape[0]
    return gradient[:, :rank].reshape(a.shape).to(a.dtype)


def _of_b(gradient: Tensor, b: Tensor) -> Tensor:
    """[E, R, out] as PEFT's [out, R E]."""
    rank = b.shape[1] // gradient.shape[0]
    return _laid_out(gradient[:, :rank].permute(2, 1, 0), b.dtype).view(b.shape)


def _gated(both: Tensor, form: Form) -> Tensor:
    if form.gate is not None:
        return form.gate(both)
    gate, up = both.chunk(2, dim=-1)
    return functional.silu(gate).mul_(up)


def _gate_backward(gradient: Tensor, both: Tensor, form: Form) -> Tensor:
    """The gradient of the first product; a family's own gate runs again under autograd."""
    if form.gate is not None:
        with torch.enable_grad():
            given = both.detach().requires_grad_()
            return torch.autograd.grad(form.gate(given), given, gradient)[0]
    gate, up = both.chunk(2, dim=-1)
    result = torch.empty_like(both)
    of_gate, of_up = result.chunk(2, dim=-1)
    torch.mul(functional.silu(gate), gradient, out=of_up)
    of_gate.copy_(torch.ops.aten.silu_backward(gradient * up, gate))
    return result


def _summed(rows: Tensor, place: Tensor, share: Tensor | None) -> Tensor:
    """For each token the sum over its places [N, K] of the rows, times the shares [N, K]."""
    return functional.embedding_bag(place, rows, mode="sum", per_sample_weights=share)


def rows_by_experts(rows: Tensor, matrices: Tensor, ends: Tensor) -> Tensor:
    """The product of each row [P, in] with the matrix of its expert [E, in, out]: [P, out]."""
    product = _grouped_product(rows)
    if product is not None:
        return cast(Tensor, product(rows, matrices, offs=ends))
    result = rows.new_empty(rows.shape[0], matrices.shape[2])
    for expert, (start, end) in enumerate(_ranges(ends)):
        torch.mm(rows[start:end], matrices[expert], out=result[start:end])
    return result


def experts_by_rows(left: Tensor, right: Tensor, ends: Tensor) -> Tensor:
    """For each expert the sum of the outer products of its rows [P, m] and [P, n]: [E, m, n]."""
    product = _grouped_product(left)
    if product is not None:
        return cast(Tensor, product(left.t(), right, offs=ends))
    result = left.new_empty(ends.numel(), left.shape[1], right.shape[1])
    for expert, (start, end) in enumerate(_ranges(ends)):
        torch.mm(left[start:end].t(), right[start:end], out=result[expert])
    return result


def _ranges(ends: Tensor) -> list[tuple[int, int]]:
    """Start and end of every expert's rows; it waits for the device."""
    last: list[int] = ends.tolist()
    return list(zip([0, *last], last, strict=False))


def _grouped_product(rows: Tensor) -> Callable[..., Any] | None:
    """torch's grouped product, which it has from 2.10 on for GPUs from Ampere on and the CPU."""
    product = getattr(functional, "grouped_mm", None)
    if product is None or rows.dtype not in GROUPED:
        return None
    if rows.device.type == "cuda" and torch.cuda.get_device_capability(rows.device) < (8, 0):
        return None
    return cast("Callable[..., Any]", product)
