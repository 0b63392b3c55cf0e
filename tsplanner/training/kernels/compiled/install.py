"""Give a model the kernels of this package where its modules have the expected form."""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from memory_models.settings import DecoderKernels
from tsplanner.errors import TsplannerError
from tsplanner.install import compiles_triton
from tsplanner.training.kernels.compiled.functions import GatedProduct, HeadNorm, Rotary
from tsplanner.training.kernels.compiled.gated_mlp import GatedMlp
from tsplanner.training.kernels.compiled.linears import (
    AdapterCopies,
    Group,
    is_groupable,
    join,
    part_of,
)
from tsplanner.training.kernels.fused_kernels import (
    is_gated_mlp,
    is_plain_norm,
    use_fused_kernels,
    use_own_kernels,
)
from tsplanner.training.kernels.fused_loss import use_compiled_loss, use_own_loss
from tsplanner.training.kernels.row_attention import body

WIDEST_HEAD = 512
"""Widest row for which the head norm's kernel takes several rows at once."""
ROTARY = "apply_rotary_pos_emb"
"""transformers' name of the function that turns queries and keys, in every modeling file."""
SIBLINGS = ("q_proj", "k_proj", "v_proj")
HOOK = "_adapter_copies"
"""Attribute of the module that carries the hook which refreshes the adapters' copies."""


def use_kernels(model: Any, kernels: DecoderKernels, *, alone: bool = True) -> None:
    """Give a model the kernels of a plan; see `use_compiled_kernels` and `use_fused_kernels`."""
    # Another model of the family may have left the compiled rotation in this process.
    use_own_rotary(model)
    if kernels is DecoderKernels.FUSED:
        use_fused_kernels(model)
    elif kernels is DecoderKernels.COMPILED:
        use_compiled_kernels(model, alone=alone)


def use_compiled_kernels(model: Any, *, alone: bool = True) -> None:
    """Replace forwards by compiled ones, and by the fused ones where there is no compiled one.

    ``alone`` off: linears keep their own forward, because several adapters come onto each later.

    Raises:
        TsplannerError: the model is on a GPU, and Triton or a C compiler is missing.
    """
    if torch.cuda.is_available() and not compiles_triton():
        raise TsplannerError(
            "The compiled kernels need Triton and a C compiler, and one of both is missing: "
            "install triton and gcc, or plan again with --kernels fused."
        )
    use_fused_kernels(model)
    groups: list[Group] = []
    for module in list(model.modules()):
        if is_head_norm(module):
            module.forward = types.MethodType(_head_norm(type(module).forward), module)
        elif is_gated_mlp(module):
            groups += _compile_mlp(module, alone=alone)
        elif type(module).__name__.endswith("Attention"):
            patch_rotary(sys.modules[type(module).__module__])
            if alone and _are_groupable(module, SIBLINGS):
                groups += _compile_attention(module)
    use_compiled_loss(_base(model))
    if groups:
        # Whoever runs the decoder, Trainer or an evaluation, runs its stack of layers.
        copies = AdapterCopies(groups)
        stack = body(_base(model))
        stack.__dict__[HOOK] = stack.register_forward_pre_hook(copies.refresh)


def use_own_forwards(model: Any) -> None:
    """Undo ``use_compiled_kernels`` and ``use_fused_kernels``."""
    use_own_kernels(model)
    use_own_loss(_base(model))
    use_own_rotary(model)
    for module in model.modules():
        hook = module.__dict__.pop(HOOK, None)
        if hook is not None:
            hook.remove()


def use_own_rotary(model: nn.Module) -> None:
    """Give the modeling files of a model their own rotation back."""
    for name in {type(module).__module__ for module in model.modules()}:
        file = sys.modules.get(name)
        replaced = getattr(file, ROTARY, None)
        if replaced is not None and hasattr(replaced, "plain"):
            setattr(file, ROTARY, replaced.plain)


def _base(model: Any) -> Any:
    """The model of transformers, under PEFT's wrapper if there is one."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def is_head_norm(module: nn.Module) -> bool:
    """Whether a module is a frozen plain RMSNorm over one head."""
    if not is_plain_norm(module) or module.weight.requires_grad:
        return False
    return bool(module.weight.numel() <= WIDEST_HEAD)


def _are_groupable(module: nn.Module, names: tuple[str, ...]) -> bool:
    """Whether linears of these names are there and can run as one function."""
    found = [getattr(module, name, None) for name in names]
    if not all(is_groupable(each) for each in found):
        return False
    return len({part_of(each).matrix.dtype for each in found}) == 1


def _head_norm(plain: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def forward(self: Any, hidden_states: Tensor) -> Tensor:
        if hidden_states.dtype != self.weight.dtype:
            return plain(self, hidden_states)
        output: Tensor = HeadNorm.apply(hidden_states, self.weight, self.variance_epsilon)
        return output

    return forward


def _compile_mlp(mlp: Any, *, alone: bool) -> list[Group]:
    """One function for a gated MLP, or at least one for its gated product."""
    names = ("gate_proj", "up_proj", "down_proj")
    linears = [getattr(mlp, name) for name in names]
    whole = alone and _are_groupable(mlp, names)
    if not whole or any(part_of(each).bias is not None for each in linears):
        mlp.forward = types.MethodType(_gated, mlp)
        return []
    entry, down = Group(linears[:2]), Group(linears[2:])

    def forward(self: Any, x: Tensor) -> Tensor:
        if not entry.takes(x) or not down.takes(x):
            return _gated(self, x)
        whole: Tensor = GatedMlp.apply(x, entry, down, *entry.sides, *down.sides)
        return whole

    mlp.forward = types.MethodType(forward, mlp)
    return [entry, down]


def _gated(self: Any, x: Tensor) -> Tensor:
    result: Tensor = self.down_proj(GatedProduct.apply(self.gate_proj(x), self.up_proj(x)))
    return result


def _compile_attention(attention: Any) -> list[Group]:
    """One function for query, key and value, and one for the output's linear."""
    groups = [join([getattr(attention, name) for name in SIBLINGS])]
    if is_groupable(getattr(attention, "o_proj", None)):
        groups.append(join([attention.o_proj]))
    return groups


def patch_rotary(module: Any) -> None:
    """Replace the function that turns queries and keys in a modeling file, if it is the usual one.

    The function is one of the file, so the replacement holds for every model of the family in this
    process; it computes what the original computes.
    """
    plain = getattr(module, ROTARY, None)
    if plain is None or hasattr(plain, "plain") or not is_usual_rotary(plain):
        return

    def turned(
        query: Tensor, key: Tensor, cosine: Tensor, sine: Tensor, *args: Any, **options: Any
    ) -> tuple[Tensor, Tensor]:
        half = query.dtype in (torch.bfloat16, torch.float16)
        # Some models hand over a part of each head.
        whole = cosine.dim() == 3 and cosine.shape[-1] == query.shape[-1] == query.stride(1)
        if args or options or not half or not whole or query.dim() != 4:
            found: tuple[Tensor, Tensor] = plain(query, key, cosine, sine, *args, **options)
            return found
        cosine, sine = cosine.contiguous(), sine.contiguous()
        turned_both: tuple[Tensor, Tensor] = Rotary.apply(query, key, cosine, sine)
        return turned_both

    turned.plain = plain  # type: ignore[attr-defined]
    setattr(module, ROTARY, turned)


def is_usual_rotary(function: Callable[..., Any]) -> bool:
    """Whether a function turns halves of heads by cosine and sine, as most families do.

    It is tried on numbers: what it returns says more than its source.
    """
    names = list(inspect.signature(function).parameters)[:4]
    if names != ["q", "k", "cos", "sin"]:
        return False
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(2, heads, 3, 8, generator=generator) for heads in (4, 2))
    cosine, sine = (torch.randn(1, 3, 8, generator=generator) for _ in range(2))
    try:
        found = function(query, key, cosine, sine)
    except (RuntimeError, TypeError, ValueError, IndexError):
        return False
    ours = Rotary.apply(query, key, cosine, sine)
    return all(torch.allclose(a, b, atol=1e-5) for a, b in zip(ours, found, strict=True))
