"""The same training step with fewer kernels and fewer kept tensors (``kernels: fused``).

Four pieces of a decoder get another forward if they have exactly the expected form; any other
module keeps its own forward:

- RMSNorm runs as one kernel, which keeps its input and one number per row instead of fp32 copies;
- the gated product silu(gate) * up keeps only gate and up, and computes silu again in backward;
- a LoRA adapter on a frozen linear of any form (frozen_linear.py) adds to the linear's result in
  place and reads the linear's own input. PEFT makes an fp32 copy of the input, which autocast casts
  back, and adds two results of full size;
- the experts of a mixture with LoRA run as grouped products (experts.py).

The values are those of the plain forward except for rounding: sums stay in fp32 where the plain
forward rounds each term. ``memory_models`` has a memory model of the same three pieces.
Shapes: x [..., in], weight [out, in], a [r, in], b [out, r]; N rows in all.
"""

from __future__ import annotations

import contextlib
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tsplanner.errors import TsplannerError
from tsplanner.training.kernels.experts import experts_forward, is_plain_experts
from tsplanner.training.kernels.frozen_linear import (
    FrozenMatrix,
    frozen_matrix,
    product_back_plus,
    product_plus,
)

HALF = (torch.bfloat16, torch.float16)


def use_fused_kernels(model: nn.Module) -> None:
    """Replace the forward of every module that has the expected form.

    ZeRO-3 cannot use these kernels, because it gathers a weight only around the forward of the
    weight's own module.

    Raises TsplannerError on a GPU whose PyTorch has no fused norm (before 2.9).
    """
    if torch.cuda.is_available() and not hasattr(torch.ops.aten, "_fused_rms_norm_backward"):
        raise TsplannerError(
            f"PyTorch {torch.__version__} has no fused RMSNorm: "
            "install 2.9 or newer, or plan again with --kernels reference."
        )
    # Compiled layers would be faster, but a compiler takes its time for each new length and decides
    # by itself what is kept, so that memory could not be foretold.
    for module in model.modules():
        replacement = _replacement(module)
        if replacement is not None:
            module.forward = types.MethodType(replacement, module)


def use_own_kernels(model: nn.Module) -> None:
    """Undo ``use_fused_kernels``."""
    for module in model.modules():
        module.__dict__.pop("forward", None)


def _replacement(module: nn.Module) -> Callable[..., Tensor] | None:
    if is_plain_norm(module):
        return _norm(type(module).forward)
    if is_gated_mlp(module):
        return _mlp
    if is_plain_lora(module):
        return _lora(type(module).forward)
    if is_plain_experts(module):
        return experts_forward(type(module).forward)
    return None


def is_plain_norm(module: nn.Module) -> bool:
    """Whether a module is an RMSNorm that multiplies by its weight in the dtype of its input.

    Gemma's norm multiplies by one plus its weight in fp32.
    """
    names = ("weight", "variance_epsilon")
    return type(module).__name__.endswith("RMSNorm") and all(hasattr(module, n) for n in names)


def is_gated_mlp(module: nn.Module) -> bool:
    """Whether a module computes down(silu(gate(x)) * up(x)) with three linears and nothing else."""
    names = {name for name, _ in module.named_children()}
    if names != {"gate_proj", "up_proj", "down_proj", "act_fn"}:
        return False
    return type(module.act_fn).__name__ in ("SiLU", "SiLUActivation")


def is_plain_lora(module: nn.Module) -> bool:
    """Whether a module is PEFT's LoRA on a frozen linear of a known form, with one plain adapter.

    The adapter has neither dropout nor DoRA nor a bias.
    """
    if type(module) not in adapter_types():
        return False
    matrix = frozen_matrix(module.base_layer)
    if matrix is None or matrix.dtype not in HALF:
        return False
    names = list(module.lora_A)
    return (
        len(names) == 1
        and not module.lora_variant
        and not module.lora_bias[names[0]]
        and isinstance(module.lora_dropout[names[0]], nn.Identity)
    )


def adapter_types() -> tuple[type[Any], ...]:
    """PEFT's LoRA layers whose base may be a frozen matrix: plain linears, and 4-bit ones."""
    from peft.tuners.lora.layer import Linear

    with contextlib.suppress(ImportError):
        from peft.tuners.lora.bnb import Linear4bit

        return Linear, Linear4bit
    return (Linear,)


def _norm(plain: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def forward(self: Any, hidden_states: Tensor) -> Tensor:
        if hidden_states.dtype != self.weight.dtype:
            return plain(self, hidden_states)
        output: Tensor = RowNorm.apply(hidden_states, self.weight, self.variance_epsilon)
        return output

    return forward


def _mlp(self: Any, x: Tensor) -> Tensor:
    result: Tensor = self.down_proj(GatedProduct.apply(self.gate_proj(x), self.up_proj(x)))
    return result


def _lora(plain: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def forward(self: Any, x: Tensor, *args: Any, **options: Any) -> Tensor:
        active, matrix = self.active_adapters, frozen_matrix(self.base_layer)
        usual = not args and not options and not self.disable_adapters and not self.merged
        if not usual or matrix is None or x.dtype != matrix.dtype or len(active) != 1:
            return plain(self, x, *args, **options)
        name = active[0]
        result: Tensor = AdaptedLinear.apply(
            x,
            matrix,
            self.base_layer.bias,
            self.lora_A[name].weight,
            self.lora_B[name].weight,
            self.scaling[name],
        )
        return result

    return forward


class RowNorm(torch.autograd.Function):
    """The function x / rms(x) * weight over the last dimension."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        """Return the product [..., D], and keep x and 1 / rms per row."""
        output, scale = normed(x, weight, epsilon)
        ctx.save_for_backward(x, weight, scale)
        return output

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x and, if the weight is trained, of the weight."""
        x, weight, scale = ctx.saved_tensors
        need_x, need_weight = ctx.needs_input_grad[:2]
        of_x, of_weight = normed_backward(outputs[0], x, weight, scale, need_weight=need_weight)
        return of_x if need_x else None, of_weight if need_weight else None, None


def normed(x: Tensor, weight: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Output in x's dtype and 1 / rms [..., 1] in fp32."""
    if x.device.type == "cuda":
        output, scale = torch.ops.aten._fused_rms_norm(x, [x.shape[-1]], weight, epsilon)
        return output, scale
    wide = x.float()
    scale = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + epsilon)
    return (wide * scale * weight.float()).to(x.dtype), scale


def normed_backward(
    gradient: Tensor, x: Tensor, weight: Tensor, scale: Tensor, *, need_weight: bool
) -> tuple[Tensor, Tensor | None]:
    """Gradients of x and, if needed, of the weight."""
    if x.device.type == "cuda":
        of_x, of_weight = torch.ops.aten._fused_rms_norm_backward(
            gradient.contiguous(), x, [x.shape[-1]], scale, weight, [True, need_weight]
        )
        return of_x, of_weight
    unit = x.float() * scale
    wide = gradient.float() * weight.float()
    of_x = (wide - unit * (wide * unit).mean(-1, keepdim=True)) * scale
    of_weight = (gradient.float() * unit).flatten(0, -2).sum(0) if need_weight else None
    return of_x.to(x.dtype), None if of_weight is None else of_weight.to(weight.dtype)


class GatedProduct(torch.autograd.Function):
    """The function silu(gate) * up of two tensors [..., F]."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        """Return the product, and keep gate and up."""
        ctx.save_for_backward(gate, up)
        return nn.functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients of gate and up; silu(gate) is computed again."""
        gate, up = ctx.saved_tensors
        of_up = nn.functional.silu(gate).mul_(outputs[0])
        of_gate = torch.ops.aten.silu_backward(outputs[0] * up, gate)
        return of_gate, of_up


class AdaptedLinear(torch.autograd.Function):
    """The function x W^T + bias + s (x a^T) b^T with a frozen matrix W."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        matrix: FrozenMatrix,
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        s: float,
    ) -> Tensor:
        """Return the sum, and keep x, s x a^T [N, r] and a and b in the dtype of x."""
        rows = x.reshape(-1, x.shape[-1])
        narrow_a, narrow_b = a.to(x.dtype), b.to(x.dtype)
        low = (rows @ narrow_a.t()).mul_(s)
        result = product_plus(matrix, rows, low, narrow_b.t(), bias)
        ctx.save_for_backward(x, low, narrow_a, narrow_b)
        ctx.matrix, ctx.scale, ctx.dtypes = matrix, s, (a.dtype, b.dtype)
        return result.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, a and b."""
        x, low, a, b = ctx.saved_tensors
        gradient = outputs[0].reshape(-1, outputs[0].shape[-1])
        of_low = (gradient @ b).mul_(ctx.scale)
        of_a = (of_low.t() @ x.reshape(-1, x.shape[-1])).to(ctx.dtypes[0])
        of_b = (gradient.t() @ low).to(ctx.dtypes[1])
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = product_back_plus(ctx.matrix, gradient, of_low, a).view(x.shape)
        return of_x, None, None, of_a, of_b, None
