"""Losses of held-out rows in packed passes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from tsplanner.training.batches import EncodedSample  # noqa: E402
from tsplanner.training.packing.evaluation import PackedEvaluation  # noqa: E402


class Favourite(nn.Module):
    """Gives each token's own id as the next token, with a logit that grows with the position."""

    config = SimpleNamespace(vocab_size=4)

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, input_ids: Any, position_ids: Any, use_cache: bool) -> Any:
        """[1, T, 4]"""
        found = torch.nn.functional.one_hot(input_ids, 4) * position_ids.unsqueeze(-1)
        return SimpleNamespace(logits=found.float())

    def loss_function(self, logits: Any, labels: Any, **_: Any) -> Any:
        """Mean over the labels, shifted as transformers does."""
        return nn.functional.cross_entropy(logits[0, :-1], labels[0, 1:], ignore_index=-100)


def test_every_row_has_its_own_loss_in_the_order_of_the_rows() -> None:
    """At position 0 all four tokens are alike: a row of two tokens has a loss of log 4."""
    rows = [
        EncodedSample(input_ids=[1, 1, 1], labels=[-100, -100, 1]),
        EncodedSample(input_ids=[2, 2], labels=[-100, 2]),
        EncodedSample(input_ids=[3, 3, 3, 3], labels=[3, 3, 3, 3]),
    ]
    beats: list[int] = []
    evaluation = PackedEvaluation(lambda row: len(row.input_ids), 6, 0, fused=False, autocast=None)
    found = evaluation.row_losses(Favourite(), rows, lambda: beats.append(1))
    assert [labels for _, labels in found] == [1, 1, 3]
    after_one = torch.log(torch.exp(torch.tensor(1.0)) + 3).item() - 1
    after_two = torch.log(torch.exp(torch.tensor(2.0)) + 3).item() - 2
    log_4 = torch.log(torch.tensor(4.0)).item()
    expected = [after_one, log_4, (log_4 + after_one + after_two) / 3]
    assert [loss for loss, _ in found] == pytest.approx(expected)
    assert len(beats) == 2  # 4 + 2 and 3 tokens
