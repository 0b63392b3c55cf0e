"""How DeepSpeed cuts trained tensors."""

from __future__ import annotations

import pytest

from memory_models.settings import FinetuningType, TrainingSettings, changed, from_flat
from memory_models.sharding.partition import in_order, partition_of
from memory_models.states.optimizer import Tensor
from tests.support.toy_decoder import TOY

LORA = from_flat(TrainingSettings, lora_rank=1, zero_stage=2, world_size=2)
FULL = changed(LORA, finetuning_type=FinetuningType.FULL)


def test_an_adapter_is_one_flat_group_with_a_padded_part_for_every_rank() -> None:
    """Rank 1: 128 elements a block, 256 in all; three ranks pad them to a multiple of six."""
    assert partition_of(TOY, LORA.states).shares == (128,)
    three = partition_of(TOY, changed(LORA, world_size=3).states)
    assert (three.total, three.shares) == (258, (86,))


def test_norms_are_a_group_of_their_own() -> None:
    """Full fine-tuning: 1664 elements in matrices, 40 in five norms of 8."""
    assert partition_of(TOY, FULL.states).shares == (832, 20)
    assert partition_of(TOY, FULL.states).total == 1704


def test_zero_3_gives_every_rank_a_part_of_every_tensor() -> None:
    """Three ranks, each tensor rounded up by itself: the toy's matrices of 64, 32, 32, 64 and three
    of 128 give 22 + 11 + 11 + 22 + 3 x 43 = 195 a block, embedding and head 86 each, and norms of
    16, 16 and 8 another 6 + 6 + 3.
    """
    found = partition_of(TOY, changed(FULL, world_size=3, zero_stage=3).states)
    assert found.shares == (2 * 195 + 2 * 86, 15)


def test_a_rank_holds_gradients_of_all_tensors_that_reach_into_its_part() -> None:
    """Of 1664 elements each of two ranks owns 832, but a tensor is cut by the border: the ranks
    take turns, so the first has 64 + 32 + 128 + 128 of one block.
    """
    found = partition_of(TOY, FULL.states)
    assert 832 + 20 <= found.overlapping_elements <= 832 + 20 + 256 + 16


def test_the_largest_tensor_is_told_apart_from_the_largest_of_a_block() -> None:
    """The embedding's 256 elements, the MLP's 128."""
    found = partition_of(TOY, FULL.states)
    assert (found.largest, found.largest_in_layers) == (256, 128)


@pytest.mark.parametrize("ranks", [1, 2, 5, 64, 10_000])
def test_shares_of_all_ranks_hold_every_element(ranks: int) -> None:
    """Also with more ranks than elements."""
    for stage in (2, 3):
        found = partition_of(TOY, changed(FULL, world_size=ranks, zero_stage=stage).states)
        assert ranks * found.share >= 1704
        assert found.overlapping_elements >= 1704 // ranks


def test_tensors_stand_in_the_order_of_the_model() -> None:
    """The embedding, block after block, the rest."""
    embedding = Tensor(rows=9, columns=1, embedding=True)
    inner, head = Tensor(rows=2, columns=1, copies=2), Tensor(rows=7, columns=1)
    found = [tensor.elements for tensor in in_order([inner, embedding, head])]
    assert found == [9, 2, 2, 7]


def test_wide_tensors_are_those_that_no_bucket_holds() -> None:
    """The bucket has 8 x 8 = 64 elements: gate, up and down, 128 each, of two blocks.

    Alone a rank has all six; of two each has three, and those it shares at the border.
    """
    assert partition_of(TOY, changed(FULL, world_size=1).states).over_bucket_elements == 6 * 128
    assert partition_of(TOY, FULL.states).over_bucket_elements in range(3 * 128, 5 * 128)


def test_a_ranks_piece_of_the_largest_tensor_is_whole_where_tensors_are_dealt_out() -> None:
    """The embedding's 256 elements lie in one part; ZeRO-3 cuts every tensor."""
    assert partition_of(TOY, FULL.states).largest_partition == 256
    assert partition_of(TOY, changed(FULL, zero_stage=3).states).largest_partition == 128
