"""Whole runs under compiled kernels learn what runs under fused kernels learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from memory_models.settings import DecoderKernels, Dtype, LossKernel
from tests.support import tiny
from tests.support.chatts_plan import plan as chatts_plan
from tests.training.packing.test_packed_curves import PACKED, PADDED, curve

pytestmark = pytest.mark.slow

FULL = {"model_dtype": Dtype.FP32, "autocast": None, "loss_kernel": LossKernel.FUSED}
HALF = {"model_dtype": Dtype.BF16, "autocast": Dtype.BF16, "loss_kernel": LossKernel.FUSED}
NOISE = {"abs": 2e-3, "rel": 2e-2}
"""Rounding to bf16 moves losses so much, and the norm of the first step; later norms more."""


def same(plan: Any, folder: Path, **hardware: Any) -> None:
    """In fp32 every step is the same; in bf16 every loss is, within the rounding of that type."""
    fused, compiled = both(plan, folder / "full", {**FULL, **hardware})
    assert len(fused[0]) > 2
    for one, other in zip(compiled, fused, strict=True):
        assert one == pytest.approx(other, abs=1e-5, rel=1e-5)
    fused, compiled = both(plan, folder / "half", {**HALF, **hardware})
    losses, norms, held_out = zip(compiled, fused, strict=True)
    for one, other in (losses, held_out):
        assert one == pytest.approx(other, **NOISE)
    assert norms[0][0] == pytest.approx(norms[1][0], **NOISE)


def both(plan: Any, folder: Path, hardware: dict[str, Any]) -> list[list[list[float]]]:
    """Losses, norms and held-out losses of every step under fused and under compiled kernels."""
    folder.mkdir()
    return [
        curve(
            tiny.with_hardware(plan, **{**hardware, "decoder_kernels": kernels}),
            folder / kernels.value,
        )
        for kernels in (DecoderKernels.FUSED, DecoderKernels.COMPILED)
    ]


@pytest.mark.parametrize("layout", [PADDED, PACKED], ids=["padded", "packed"])
@pytest.mark.parametrize("checkpointed", [False, True], ids=["kept", "checkpointed"])
def test_a_run_of_text(tmp_path: Path, layout: dict[str, Any], checkpointed: bool) -> None:
    """Evaluations, accumulation and the optimizer's steps between them refresh the copies."""
    same(tiny.plan(tmp_path), tmp_path, **layout, gradient_checkpointing=checkpointed)


SERIES = {"micro_batch_size": 2, "gradient_accumulation_steps": 1}
PACKED_SERIES = {"micro_batch_size": 1, "gradient_accumulation_steps": 2, "token_budget": 2000}


@pytest.mark.parametrize("layout", [SERIES, PACKED_SERIES], ids=["padded", "packed"])
def test_a_run_of_series(tmp_path: Path, layout: dict[str, Any]) -> None:
    """ChatTS' decoder is compiled; its encoder is its own."""
    same(chatts_plan(tmp_path, validation_fraction=0.25), tmp_path, **layout)
