"""What several ranks share, and what goes to the host."""

from __future__ import annotations

from dataclasses import replace

import pytest
from toy_decoder import TOY

from memory_models.settings import TrainingSettings
from memory_models.zero import ModelStates, live_parameter_bytes, shard

WHOLE = ModelStates(weights=1000, trained=100, gradients=60, states=80, buffers=0)
ELEMENTS = 25
"""Trained elements: an fp32 master copy of them is 100 bytes."""


def on_ranks(world_size: int, stage: int, **offload: bool) -> ModelStates:
    """WHOLE as one of the ranks holds it."""
    settings = TrainingSettings(world_size=world_size, zero_stage=stage, **offload)
    return shard(TOY, settings, WHOLE, ELEMENTS)


def test_one_rank_without_zero_holds_everything_and_no_buffer() -> None:
    """Nobody to talk to: no bucket."""
    assert on_ranks(1, 0) == WHOLE


def test_plain_data_parallelism_copies_all_gradients_into_buckets() -> None:
    """DDP's reducer holds the gradients once more."""
    found = on_ranks(4, 0)
    assert (found.weights, found.gradients, found.states) == (1000, 60, 80)
    assert found.buffers == 60


@pytest.mark.parametrize(
    ("stage", "weights", "trained", "gradients"),
    [(1, 1000, 100, 60), (2, 1000, 100, 15), (3, 250, 25, 15)],
)
def test_each_stage_shards_one_thing_more(
    stage: int, weights: int, trained: int, gradients: int
) -> None:
    """Four ranks. States and fp32 masters, (80 + 100) / 4 = 45, from stage 1 on."""
    found = on_ranks(4, stage)
    assert (found.weights, found.trained, found.gradients) == (weights, trained, gradients)
    assert found.states == 45
    assert found.host == 0


def test_shards_round_up() -> None:
    """Three ranks: 1000 / 3 is 334 on the fullest one, 180 / 3 is 60."""
    found = on_ranks(3, 3)
    assert (found.weights, found.states) == (334, 60)


def test_offloaded_states_are_on_the_host_and_not_on_the_device() -> None:
    """A rank's 45 bytes of states move."""
    found = on_ranks(4, 2, offload_optimizer=True)
    assert (found.states, found.host) == (0, 45)


def test_offloaded_parameters_join_them() -> None:
    """250 bytes of weights and 45 of states."""
    found = on_ranks(4, 3, offload_optimizer=True, offload_param=True)
    assert (found.weights, found.states, found.host) == (0, 0, 295)


def test_a_small_model_ends_up_gathered_whole() -> None:
    """The toy's 1,704 parameters are under DeepSpeed's limit of a billion; two bytes each."""
    assert live_parameter_bytes(TOY) == 3408
    assert on_ranks(4, 3).buffers - on_ranks(4, 2).buffers == 3408


def test_a_large_model_is_gathered_up_to_the_limit() -> None:
    """A billion parameters of two bytes, unless the embedding alone is larger."""
    wide = replace(TOY, vocab_size=100_000_000)
    assert live_parameter_bytes(wide) == 2_000_000_000
    wider = replace(TOY, vocab_size=150_000_000)
    assert live_parameter_bytes(wider) == 2 * 8 * 150_000_000
