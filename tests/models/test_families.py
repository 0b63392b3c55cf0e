"""What is known of a family's arithmetic."""

from __future__ import annotations

import pytest

from tests.support import tiny_vision
from tsplanner.models.decoders import READERS
from tsplanner.models.families import FP16_TROUBLE, NO_FLASH


def test_every_row_is_of_a_family_that_is_read_and_names_its_source() -> None:
    """A wrapper's type stands beside that of its text part."""
    assert set(FP16_TROUBLE) - set(READERS) == {"gemma3"}
    for trouble in FP16_TROUBLE.values():
        assert trouble.family
        assert any(word in trouble.source for word in ("issue", "pull request"))


def test_classes_without_flash_attention_are_those_of_the_installed_transformers() -> None:
    """Of the types that see; version 5.17 still let Gemma 3 take it."""
    pytest.importorskip("torch")
    refusing = {
        kind
        for kind in tiny_vision.CONFIGS
        if not tiny_vision.built(kind, device="meta")._supports_flash_attn
    }
    assert refusing <= NO_FLASH
