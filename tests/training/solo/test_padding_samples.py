"""Several ranks get equal shares of an epoch, and no row is learned twice."""

from __future__ import annotations

from accelerate.data_loader import SeedableRandomSampler

from tsplanner.training.batches import EncodedSample
from tsplanner.training.solo.padding_samples import PaddingLast, padded, padding_needed


def test_padding_samples_fill_the_last_micro_batches_of_all_processes() -> None:
    """18 rows in micro-batches of 2 on 2 processes are 9: one of 2 padding samples is missing."""
    assert padding_needed(18, 2, 2) == 2
    assert padding_needed(18, 1, 2) == 0
    assert padding_needed(17, 1, 4) == 3
    assert padding_needed(17, 2, 1) == 0


def test_a_padding_sample_is_a_short_row_that_nothing_is_learned_from() -> None:
    """It costs as little as can be, and has no label."""
    rows = [
        EncodedSample(input_ids=[5, 6, 7], labels=[-100, 6, 7]),
        EncodedSample(input_ids=[8, 9], labels=[-100, 9], series=((1.0,),)),
    ]
    padding = EncodedSample(input_ids=[8, 9], labels=[-100, -100], series=((1.0,),))
    assert list(padded(rows, 2)) == [*rows, padding, padding]
    assert padded(rows, 0) == rows


def test_rows_come_in_the_order_of_one_process_and_padding_at_the_end() -> None:
    """The order depends on seed and epoch, not on how many rows fill up."""
    alone = SeedableRandomSampler(range(7), data_seed=3)
    filled = PaddingLast(7, 2, seed=3)
    assert len(filled) == 9
    first, second = list(filled), list(filled)
    assert first == [*alone, 7, 8]
    assert second == [*alone, 7, 8]
    assert first != second
    filled.set_epoch(0)
    assert list(filled) == first
