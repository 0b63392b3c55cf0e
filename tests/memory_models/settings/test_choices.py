"""The closed choices of the settings."""

from __future__ import annotations

import pytest

from memory_models.settings import DecoderKernels, FinetuningType


def test_all_methods_but_full_and_freeze_train_an_adapter() -> None:
    """QLoRA is LoRA on a quantised base, so it is no method of its own."""
    without = {method for method in FinetuningType if not method.uses_adapter}
    assert without == {FinetuningType.FULL, FinetuningType.FREEZE}


def test_plans_of_version_0_1_name_the_fused_kernels_lean() -> None:
    """Other unknown names are refused."""
    assert DecoderKernels("lean") is DecoderKernels.FUSED
    with pytest.raises(ValueError, match="fast"):
        DecoderKernels("fast")
