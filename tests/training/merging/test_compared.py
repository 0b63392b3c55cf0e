"""Logits of a few rows, and how far two models are apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from tests.support import tiny  # noqa: E402
from tsplanner.training.batches import EncodedSample  # noqa: E402
from tsplanner.training.merging.compared import (  # noqa: E402
    compared,
    logits_of,
    rows_to_check,
)


def test_a_difference_is_a_share_of_the_size_of_the_logits() -> None:
    """Logits (1, -1) are off by (0.1, -0.1): a tenth. The base has none: all of the effect."""
    before = [torch.tensor([[1.0, -1.0], [2.0, -2.0]])]
    # A constant on top of a position's logits changes nothing that softmax sees.
    after = [torch.tensor([[1.1, -1.1], [2.2, -2.2]]) + 5.0]
    found = compared(before, after, [torch.zeros(2, 2)], from_dataset=True)
    assert found.difference == pytest.approx(0.1, rel=1e-5)
    assert found.effect == pytest.approx(1.0)
    assert (found.same_token, found.positions, found.rows) == (1.0, 2, 1)
    turned = compared(before, [torch.tensor([[-1.0, 1.0], [2.0, -2.0]])], before, from_dataset=True)
    assert turned.same_token == 0.5
    assert turned.effect == 0


def test_every_row_is_asked_alone_and_padding_says_nothing() -> None:
    """A row of three tokens is padded to eight, and gives three positions."""

    class Model(torch.nn.Module):
        """Logits that are the token ids."""

        def __init__(self) -> None:
            super().__init__()
            self.config = SimpleNamespace()
            self.own = torch.nn.Parameter(torch.zeros(1))

        def forward(self, input_ids: Any) -> Any:
            """[B, S, 1]."""
            return SimpleNamespace(logits=input_ids.float().unsqueeze(-1))

    rows = [EncodedSample(input_ids=[7, 8, 9], labels=[7, 8, 9])]
    (found,) = logits_of(Model(), rows)
    assert found.flatten().tolist() == [7, 8, 9]


def test_the_rows_are_the_datasets_first_or_random_ones(tmp_path: Path) -> None:
    """A dataset that is gone keeps nobody from merging."""
    plan = tiny.plan(tmp_path)
    config = SimpleNamespace(vocab_size=128, get_text_config=lambda decoder: config)
    rows, own = rows_to_check(plan, config)
    assert (len(rows), own) == (4, True)
    gone = replace(plan, dataset=replace(plan.dataset, path=str(tmp_path / "gone.jsonl")))
    rows, own = rows_to_check(gone, config)
    assert (len(rows), own) == (4, False)
    assert {len(row.input_ids) for row in rows} == {64}
