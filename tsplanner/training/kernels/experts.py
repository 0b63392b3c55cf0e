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
from functools import lru_cache
from typing import Any, NamedTuple, cast

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
class Experts:
    """The frozen experts of a layer, and the form of their adapters."""

    gate_up: Tensor
    down: Tensor
    biases: tuple[Tensor | None, Tensor | None] = (None, None)
    """[E, 2F] and [E, D], where the family has them."""
    transposed: bool = False
    """The matrices are [E, in, out] (gpt-oss), not [E, out, in]."""
    scales: tuple[float, float]
    """Factors of the adapters of both parameters; 0 where there is no adapter."""
    gate: Callable[[Tensor], Tensor] | None = None
    """From the first product [P, 2F] to [P, F]; None: silu of the first half times the second."""

    def matrices(self) -> tuple[Tensor, Tensor]:
        """Both parameters as [E, in, out]."""
        if self.transposed:
            return self.gate_up, self.down
        return self.gate_up.transpose(1, 2), self.down.transpose(1, 2)


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
            *_matrices(wrappers.get(GATE_UP)),
            *_matrices(wrappers.get(DOWN)),
            Experts(
                gate_up=experts.gate_up_proj,
                down=experts.down_proj,
                biases=(_bias(experts, GATE_UP), _bias(experts, DOWN)),
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


def _bias(experts: Any, name: str) -> Tensor | None:
    return getattr(experts, f"{name}_bias", None)


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
    def forward(ctx: Any, x: Tensor, share: Tensor, index: Tensor, *given: Any) -> Tensor:
        """Return [N, D]; keep x, the first product [P, 2F] and both products with A [P, R].

        ``given`` are A and B of both parameters, None without an adapter, and the ``Experts``.
        """
        a_in, b_in, a_out, b_out, experts = given
        dtype, pairs = experts.down.dtype, _sorted(index, experts.down.shape[0])
        first, second = experts.matrices()
        both, low_in = _adapted(
            x.to(dtype)[pairs.token], first, _lora(a_in, b_in, experts), experts.scales[0], pairs
        )
        if experts.biases[0] is not None:
            both.add_(experts.biases[0][pairs.expert])
        made, low_out = _adapted(
            _gated(both, experts), second, _lora(a_out, b_out, experts), experts.scales[1], pairs
        )
        if experts.biases[1] is not None:
            made.add_(experts.biases[1][pairs.expert])
        # Checkpointing drops what is saved this way, and nothing else that ctx holds.
        ctx.save_for_backward(x, share, a_in, b_in, a_out, b_out, both, low_in, low_out, *pairs)
        ctx.experts = experts
        return _summed(made, pairs.place, share.to(dtype)).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, of the shares and of the adapters."""
        x, share, a_in, b_in, a_out, b_out, both, low_in, low_out, *order = ctx.saved_tensors
        experts, pairs = ctx.experts, _Pairs(*order)
        dtype = experts.down.dtype
        first, second = experts.matrices()
        weight = share.reshape(-1)[pairs.order].to(dtype).unsqueeze(1)
        of_made = outputs[0].to(dtype)[pairs.token]
        of_middle, back = _back(
            of_made, second, _lora(a_out, b_out, experts), experts.scales[1], pairs
        )
        # The share multiplies a row after the second product, so it multiplies the row's gradient
        # anywhere below; the row's own product with the plain gradient is the share's gradient.
        middle = _gated(both, experts)
        of_weight = (middle * of_middle).sum(-1)
        if experts.biases[1] is not None:
            of_weight += (experts.biases[1][pairs.expert] * of_made).sum(-1)
        of_a_out = of_b_out = of_a_in = of_b_in = None
        if back is not None:
            of_a_out = _of_a(experts_by_rows(back * weight, middle, pairs.ends), a_out)
            low = (low_out * weight).mul_(experts.scales[1])
            of_b_out = _of_b(experts_by_rows(low, of_made, pairs.ends), b_out)
        del middle, of_made
        of_both = _gate_backward(of_middle.mul_(weight), both, experts)
        del of_middle
        of_rows, back = _back(of_both, first, _lora(a_in, b_in, experts), experts.scales[0], pairs)
        if back is not None:
            of_a_in = _of_a(experts_by_rows(back, x.to(dtype)[pairs.token], pairs.ends), a_in)
            of_b_in = _of_b(experts_by_rows(low_in * experts.scales[0], of_both, pairs.ends), b_in)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = _summed(of_rows, pairs.place, None).to(x.dtype)
        of_share = of_weight[pairs.place].to(share.dtype)
        return of_x, of_share, None, of_a_in, of_b_in, of_a_out, of_b_out, None


class _Pairs(NamedTuple):
    """Pairs of token and expert in the order of the experts."""

    order: Tensor
    """[P]: the pair at each place, counted token by token."""
    expert: Tensor
    """[P]: its expert."""
    token: Tensor
    """[P]: its token."""
    place: Tensor
    """[N, K]: the place of each pair."""
    ends: Tensor
    """[E]: the place after the last pair of each expert."""


def _sorted(index: Tensor, count: int) -> _Pairs:
    expert, order = torch.sort(index.reshape(-1))
    numbers = torch.arange(count, device=index.device, dtype=expert.dtype)
    ends = torch.searchsorted(expert, numbers, right=True, out_int32=True)
    place = torch.empty_like(order)
    place.scatter_(0, order, torch.arange(order.numel(), device=index.device))
    return _Pairs(order, expert, order // index.shape[1], place.view(index.shape), ends)


def _lora(a: Tensor | None, b: Tensor | None, experts: Experts) -> tuple[Tensor, Tensor] | None:
    """A and B of all experts as [E, in, R] and [E, R, out], in the dtype of the base."""
    if a is None or b is None:
        return None
    dtype, count = experts.down.dtype, experts.down.shape[0]
    rank = a.shape[0] // count
    down = a.view(count, rank, -1).to(dtype)
    up = _laid_out(b.view(-1, rank, count).permute(2, 1, 0), dtype)
    if rank % ALIGNED_RANK:
        more = (0, 0, 0, -rank % ALIGNED_RANK)
        down, up = functional.pad(down, more), functional.pad(up, more)
    return down.transpose(1, 2), up


def _laid_out(matrices: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy in the order of the dimensions, cast on the way."""
    return torch.empty(matrices.shape, dtype=dtype, device=matrices.device).copy_(matrices)


def _adapted(
    rows: Tensor, weight: Tensor, lora: tuple[Tensor, Tensor] | None, scale: float, pairs: _Pairs
) -> tuple[Tensor, Tensor | None]:
    """Rows through their experts' matrices and adapters, and the product with A."""
    result = rows_by_experts(rows, weight, pairs.ends)
    if lora is None:
        return result, None
    low = rows_by_experts(rows, lora[0], pairs.ends)
    return result.add_(rows_by_experts(low, lora[1], pairs.ends), alpha=scale), low


def _back(
    gradient: Tensor,
    weight: Tensor,
    lora: tuple[Tensor, Tensor] | None,
    scale: float,
    pairs: _Pairs,
) -> tuple[Tensor, Tensor | None]:
    """The gradient of the rows, and the scaled gradient of their product with A."""
    result = rows_by_experts(gradient, weight.transpose(1, 2), pairs.ends)
    if lora is None:
        return result, None
    low = rows_by_experts(gradient, lora[1].transpose(1, 2), pairs.ends).mul_(scale)
    return result.add_(rows_by_experts(low, lora[0].transpose(1, 2), pairs.ends)), low


def _of_a(gradient: Tensor, a: Tensor) -> Tensor:
    """[E, R, in] as PEFT's [R E, in]."""
    rank = a.shape[0] // gradient.shape[0]
    return gradient[:, :rank].reshape(a.shape).to(a.dtype)


def _of_b(gradient: Tensor, b: Tensor) -> Tensor:
    """[E, R, out] as PEFT's [out, R E]."""
    rank = b.shape[1] // gradient.shape[0]
    return _laid_out(gradient[:, :rank].permute(2, 1, 0), b.dtype).view(b.shape)


def _gated(both: Tensor, experts: Experts) -> Tensor:
    if experts.gate is not None:
        return experts.gate(both)
    gate, up = both.chunk(2, dim=-1)
    return functional.silu(gate).mul_(up)


def _gate_backward(gradient: Tensor, both: Tensor, experts: Experts) -> Tensor:
    """The gradient of the first product; a family's own gate runs again under autograd."""
    if experts.gate is not None:
        with torch.enable_grad():
            given = both.detach().requires_grad_()
            return torch.autograd.grad(experts.gate(given), given, gradient)[0]
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
    """Torch's grouped product, which it has from 2.10 on for GPUs from Ampere on and the CPU."""
    product = getattr(functional, "grouped_mm", None)
    if product is None or rows.dtype not in GROUPED or not _runs_groups(rows.device):
        return None
    return cast("Callable[..., Any]", product)


@lru_cache(maxsize=64)
def _runs_groups(device: torch.device) -> bool:
    return device.type != "cuda" or torch.cuda.get_device_capability(device) >= (8, 0)
