"""A loss for each trial's part of one pass."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tests.support import tiny
from tsplanner.training.batches import EncodedSample
from tsplanner.training.multi_lora.linears import TrialLayout
from tsplanner.training.multi_lora.loss import MultiLoraLoss, label_count

SHORT = EncodedSample(input_ids=[5, 6, 7], labels=[-100, 6, 7])
LONG = EncodedSample(input_ids=[5, 6, 7, 8, 9], labels=[5, 6, 7, 8, 9])


def base() -> torch.nn.Module:
    """The tiny decoder with random weights."""
    torch.manual_seed(0)
    keys = {key: value for key, value in tiny.CONFIG.items() if key != "model_type"}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model("qwen2", **keys)).eval()


def loss_of(model: torch.nn.Module, row: EncodedSample) -> float:
    """Transformers' own mean loss of one row."""
    ids, labels = torch.tensor([row.input_ids]), torch.tensor([row.labels])
    return float(model(input_ids=ids, labels=labels).loss)


def test_the_first_label_predicts_nothing() -> None:
    """Five labels, four predictions; a masked one is none either."""
    assert (label_count(LONG), label_count(SHORT)) == (4, 2)


@pytest.mark.parametrize("fused", [False, True])
def test_each_group_has_the_loss_it_has_alone(fused: bool) -> None:
    """One row, and two: the shorter group is filled up with rows that have no label."""
    model = base()
    losses = MultiLoraLoss(model, TrialLayout(), pad_id=0, fused=fused, autocast=None)
    found = losses.losses([[SHORT], [LONG, SHORT]], ["a", "b"], [2, 6])
    short, long = loss_of(model, SHORT), loss_of(model, LONG)
    assert float(found[0]) == pytest.approx(short, abs=1e-5)
    assert float(found[1]) == pytest.approx((4 * long + 2 * short) / 6, abs=1e-5)
    assert [segment.trial for segment in losses.layout.segments] == ["a", "b"]


def test_rows_are_evaluated_one_by_one_however_many_pass_together(tmp_path: Path) -> None:
    """Means and numbers of labels; the model trains again afterwards."""
    model = base()
    losses = MultiLoraLoss(model, TrialLayout(), pad_id=0, fused=False, autocast=None)
    expected = [(loss_of(model, row), label_count(row)) for row in (SHORT, LONG, SHORT)]
    for together in (1, 2, 3):
        found = losses.row_losses([SHORT, LONG, SHORT], "a", together)
        assert [count for _, count in found] == [count for _, count in expected]
        assert [mean for mean, _ in found] == pytest.approx([m for m, _ in expected], abs=1e-5)
    assert model.training
    assert losses.row_losses([], "a", 2) == []
