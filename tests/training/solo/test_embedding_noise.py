"""NEFTune's noise belongs to a row and a step, and not to how the rows are dealt out."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from tsplanner.training.batches import EncodedSample  # noqa: E402
from tsplanner.training.solo.embedding_noise import (  # noqa: E402
    ROWS,
    EmbeddingNoise,
    end_to_end,
    one_below_another,
    row_seed,
)

SHORT = EncodedSample(input_ids=[5, 6], labels=[5, 6])
LONG = EncodedSample(input_ids=[1, 2, 3, 4], labels=[1, 2, 3, 4])
WIDTH = 8


def test_rows_lie_below_each_other_or_end_to_end() -> None:
    """Row of the batch, first token, tokens; the same row has the same checksum in both."""
    below, packed = one_below_another([SHORT, LONG]), end_to_end([SHORT, LONG])
    assert [place[:3] for place in below] == [(0, 0, 2), (1, 0, 4)]
    assert [place[:3] for place in packed] == [(0, 0, 2), (0, 2, 4)]
    assert [place[3] for place in below] == [place[3] for place in packed]
    assert below[0][3] != below[1][3]


def test_a_row_gets_the_same_noise_padded_and_packed() -> None:
    """And none lies on padding; 4 tokens of width 8 at alpha 16 lie within 16 / sqrt(32)."""
    noise = EmbeddingNoise(16.0, seed=3)
    padded = noise.noise(torch.zeros(2, 6, WIDTH), one_below_another([SHORT, LONG]))
    packed = noise.noise(torch.zeros(1, 8, WIDTH), end_to_end([LONG, SHORT]))
    assert torch.equal(padded[1, :4], packed[0, :4])
    assert torch.equal(padded[0, :2], packed[0, 4:6])
    assert not padded[0, 2:].any()
    assert not padded[1, 4:].any()
    most = 16 / 32**0.5
    assert most / 2 < float(padded[1].abs().max()) <= most
    # The short row has half the tokens, and the square root of two times the noise.
    assert most < float(padded[0].abs().max()) <= most * 2**0.5


def test_every_step_and_seed_has_noise_of_its_own() -> None:
    """A row that comes again in the next epoch is not moved the same way."""
    seeds = {row_seed(1, 0, 7), row_seed(1, 1, 7), row_seed(2, 0, 7), row_seed(1, 0, 8)}
    assert len(seeds) == 4
    assert row_seed(1, 0, 7) == row_seed(1, 0, 7) < 2**63


def test_the_embedding_is_left_alone_outside_of_training_passes() -> None:
    """The model takes the batch without the places of its rows."""
    embedding, noise = torch.nn.Embedding(10, WIDTH), EmbeddingNoise(5.0, seed=1)
    noise.join(embedding)
    ids = torch.tensor([[1, 2, 3, 4]])
    plain = embedding(ids)
    with noise.within({"input_ids": ids, ROWS: one_below_another([LONG])}, step=0) as given:
        assert set(given) == {"input_ids"}
        moved = embedding(ids)
    assert not torch.equal(moved, plain)
    assert torch.equal(embedding(ids), plain)
    moved.sum().backward()
    assert embedding.weight.grad is not None
    assert float(embedding.weight.grad[1:5].min()) == float(embedding.weight.grad[1:5].max()) == 1.0


def test_a_batch_without_places_is_full_rows() -> None:
    """As a probe has it, whose steps shall cost what real ones do."""
    embedding, noise = torch.nn.Embedding(10, WIDTH), EmbeddingNoise(5.0, seed=1)
    noise.join(embedding)
    ids = torch.tensor([[1, 2], [3, 4]])
    with noise.within({"input_ids": ids}, step=0):
        moved = embedding(ids) - embedding.weight[ids]
    assert bool(moved.any(dim=2).all())
