"""Which model gets which of Liger's kernels."""

from __future__ import annotations

import pytest

from memory_models.activations.liger.patches import PATCHES, patch_of
from memory_models.settings import DecoderKernels, changed
from tests.support.toy_decoder import TOY
from tsplanner.models.decoders import READERS


def test_liger_replaces_nothing_under_other_kernels() -> None:
    """The toy is a Llama, which Liger knows."""
    assert patch_of(TOY, DecoderKernels.REFERENCE) is None
    assert patch_of(TOY, DecoderKernels.FUSED) is None
    assert patch_of(TOY, DecoderKernels.LIGER) is PATCHES["llama"]


def test_a_type_that_is_not_in_the_table_has_no_patch() -> None:
    """Liger keeps Granite's logits."""
    assert patch_of(changed(TOY, model_type="granite"), DecoderKernels.LIGER) is None


@pytest.mark.parametrize("model_type", sorted(PATCHES))
def test_every_type_of_the_table_has_a_formula(model_type: str) -> None:
    """A patch changes the program of a decoder layer, which a recorded layer has not."""
    assert model_type in READERS


def test_gemma_2_and_3_keep_the_gradient_that_a_residual_needs() -> None:
    """Two norms follow each other there with a sum in between (liger-kernel rms_norm.py)."""
    fresh = {name for name, patch in PATCHES.items() if not patch.in_place}
    assert fresh == {"gemma2", "gemma3_text", "glm4"}
