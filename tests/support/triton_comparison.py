"""Compares Triton's kernels with their references and prints the name of each that agrees.

Run as a script, by Triton's interpreter or on a GPU: ``python -m tests.support.triton_comparison
[cuda]``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch

from tsplanner.training.kernels.compiled import pieces, triton_kernels
from tsplanner.training.kernels.compiled.pieces import Thin

DEVICE = sys.argv[1] if len(sys.argv) > 1 else "cpu"
TOLERANCE = 2e-3
"""Of the whole tensor: a half holds 11 bits."""


def half(*shape: int) -> torch.Tensor:
    """Normal numbers in half precision."""
    return torch.randn(*shape, device=DEVICE).half()


def single(*shape: int) -> torch.Tensor:
    """Uniform numbers in fp32."""
    return torch.rand(*shape, device=DEVICE)


def compare(name: str, found: torch.Tensor, wanted: torch.Tensor) -> None:
    """Fail unless both agree."""
    off = (found.float() - wanted.float()).norm() / wanted.float().norm()
    if off > TOLERANCE:
        raise SystemExit(f"{name} is off by {float(off)}")
    sys.stdout.write(f"{name}\n")


def both(name: str, makes: Callable[[], list[torch.Tensor]], *rest: Any, **options: Any) -> None:
    """Run a piece's reference and its kernel on the same tensors, and compare all of them."""
    wanted = makes()
    found = [each.clone() for each in wanted]
    getattr(pieces, name).reference(*wanted, *rest, **options)
    getattr(triton_kernels, name)(*found, *rest, **options)
    for ours, theirs in zip(found, wanted, strict=True):
        compare(name, ours, theirs)


def gated_products() -> None:
    """Rows and columns that fill no tile; adapters of several ranks, on all factors or on some."""
    low = half(70, 12)
    gate, up = Thin(low[:, :5], half(100, 5)), Thin(low[:, 5:], half(100, 7))
    down = Thin(half(70, 3), half(3, 100))
    for chosen in ((gate, up, down), (Thin(), up, Thin()), (Thin(), Thin(), Thin())):
        both("gated", lambda: [half(70, 100) for _ in range(3)], *chosen[:2])
        both("gated_backward", lambda: [half(70, 100) for _ in range(3)], *chosen)


def head_norms() -> None:
    """A head of a size that is no power of two."""
    both("head_norm", lambda: [half(37, 48), half(48), half(37, 48), single(37)], 1e-6)
    both(
        "head_norm_backward",
        lambda: [half(37, 48), half(37, 48), half(48), single(37), half(37, 48)],
    )


def losses() -> None:
    """More words than one program reads at once, with and without a factor and a soft cap."""
    labels = torch.randint(0, 9000, (9,), device=DEVICE)
    for factor, softcap in ((1.0, None), (0.5, 3.0)):
        wanted, sums, others = half(9, 9000), single(9), single(9)
        found = wanted.clone()
        pieces.cross_entropy_reference(wanted, labels, sums, factor, softcap)
        triton_kernels.cross_entropy(found, labels, others, factor, softcap)
        compare("losses", others, sums)
        compare("cross_entropy", found, wanted)


def rotations() -> None:
    """Queries and keys laid out otherwise, one table for all rows or one per row."""
    for tables in (1, 2):
        query, key = half(2, 6, 5, 16), half(2, 5, 3, 16).transpose(1, 2)
        pair = half(tables, 5, 16), half(tables, 5, 16)
        for backward in (False, True):
            wanted, found = [(half(2, 5, 6, 16), half(2, 5, 3, 16)) for _ in range(2)]
            pieces.rotary_reference(query, key, wanted, pair, backward=backward)
            triton_kernels.rotary(query, key, found, pair, backward=backward)
            for ours, theirs in zip(found, wanted, strict=True):
                compare("rotary", ours, theirs)


if __name__ == "__main__":
    torch.manual_seed(0)
    for check in (gated_products, head_norms, losses, rotations):
        check()
