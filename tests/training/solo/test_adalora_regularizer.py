"""AdaLoRA's orthogonality term, switched off while held-out rows are measured."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tsplanner.training.solo.adalora_regularizer import (
    orthogonality_configs,
    without_orthogonality,
)


def test_the_term_is_off_inside_and_as_before_after_an_error() -> None:
    """Each adapter keeps a weight of its own."""
    first, second = SimpleNamespace(orth_reg_weight=0.5), SimpleNamespace(orth_reg_weight=0.1)
    plain = SimpleNamespace(r=8)
    model = SimpleNamespace(peft_config={"a": first, "b": plain, "c": second})
    assert orthogonality_configs(model) == [first, second]
    seen = []

    def fail() -> None:
        with without_orthogonality(model):
            seen.append((first.orth_reg_weight, second.orth_reg_weight))
            raise ValueError("end")

    with pytest.raises(ValueError, match="end"):
        fail()
    assert seen == [(0.0, 0.0)]
    assert (first.orth_reg_weight, second.orth_reg_weight) == (0.5, 0.1)


def test_a_model_without_adapters_has_no_term() -> None:
    """A full run is measured as it is."""
    assert orthogonality_configs(SimpleNamespace()) == []
    with without_orthogonality(SimpleNamespace()):
        pass
