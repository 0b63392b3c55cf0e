"""Shapes: linears, the time-series encoder, and shapes that no model has."""

from __future__ import annotations

import pytest

from memory_models.architecture import Linear, Role, TimeSeriesEncoder
from memory_models.settings import changed
from tests.support.toy_decoder import EXPERTS, TOY


def test_a_linear_counts_weights_and_biases_of_all_its_copies() -> None:
    """Three experts of 8 x 16 with biases: 384 weights and 48 biases."""
    expert = Linear(
        name="up_proj", role=Role.UP, in_features=8, out_features=16, bias=True, count=3
    )
    assert (expert.weight_count, expert.bias_count) == (384, 48)


@pytest.mark.parametrize(
    ("traits", "size"),
    [
        ({}, 4),
        ({"use_position_idx": True}, 8),
        ({"use_position_embedding": True, "embedding_dim": 2}, 12),
    ],
)
def test_a_patch_is_as_wide_as_its_values_and_their_positions(
    traits: dict[str, int], size: int
) -> None:
    """Four values; with an index twice as wide; with a 2-wide embedding 4 x (1 + 2)."""
    encoder = TimeSeriesEncoder(patch_size=4, num_layers=2, hidden_size=8, **traits)
    assert encoder.input_size == size
    assert encoder.linears[0].in_features == size


def test_the_encoder_is_a_chain_named_as_in_the_checkpoint() -> None:
    """Linears sit between activations: 0, 2, 4."""
    encoder = TimeSeriesEncoder(patch_size=4, num_layers=3, hidden_size=8)
    shapes = [(linear.name, linear.in_features, linear.out_features) for linear in encoder.linears]
    assert shapes == [("0", 4, 8), ("2", 8, 8), ("4", 8, 8)]


def test_the_position_embedding_has_a_padding_row() -> None:
    """Ten positions of width 2 and one row more: 22 elements."""
    encoder = TimeSeriesEncoder(
        patch_size=4,
        num_layers=2,
        hidden_size=8,
        embedding_dim=2,
        max_sequence_length=10,
        use_position_embedding=True,
    )
    assert encoder.embedding_count == 22


@pytest.mark.parametrize(("points", "patches"), [(1, 1), (4, 1), (5, 2), (9, 3)])
def test_a_series_takes_a_decoder_position_per_started_patch(points: int, patches: int) -> None:
    """The last patch is padded, not dropped."""
    encoder = TimeSeriesEncoder(patch_size=4, num_layers=2, hidden_size=8)
    assert encoder.patches(points) == patches


def test_target_names_are_those_of_one_block_in_order() -> None:
    """What ``lora_target`` may say is listed as the block runs."""
    assert EXPERTS.target_names == (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate",
        "gate_proj",
        "up_proj",
        "down_proj",
    )


@pytest.mark.parametrize(
    "name", ["hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"]
)
def test_an_empty_shape_is_refused_by_name(name: str) -> None:
    """A model without layers, heads or words is a broken config."""
    with pytest.raises(ValueError, match=f"{name} must be positive, not 0"):
        changed(TOY, **{name: 0})


@pytest.mark.parametrize("groups", [0, -1, 3])
def test_query_heads_must_share_key_heads_evenly(groups: int) -> None:
    """Two query heads cannot share three key heads."""
    with pytest.raises(ValueError, match=f"2 is not a multiple of num_key_value_heads {groups}"):
        changed(TOY, num_key_value_heads=groups)
