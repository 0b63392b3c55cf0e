"""Births and deaths of storages, in order."""

from __future__ import annotations

import torch

from tsplanner.tracing.fake_cuda.storages import Kind, Phase, StorageLog, TracedStorage


def test_a_storage_is_born_once_and_dies_with_its_last_tensor() -> None:
    """A view shares the storage of its base: 8 fp32 numbers are 32 bytes."""
    log = StorageLog()
    tensor = torch.empty(8)
    assert log.follow(tensor, "empty") == 0
    assert log.follow(tensor[2:], "slice") is None
    assert (log.number_of(tensor), log.alive_bytes()) == (0, 32)
    view = tensor[2:]
    del tensor
    assert log.events == [(0, 32)]
    del view
    assert log.events == [(0, 32), (0, 0)]
    assert log.alive_bytes() == 0
    assert log.known[0].origin == "empty (8,) float32"


def test_an_empty_tensor_takes_no_memory() -> None:
    """There is nothing to follow."""
    log = StorageLog()
    assert log.follow(torch.empty(0)) is None
    assert log.events == []


def test_a_kernel_gives_back_what_it_took_and_a_workspace_stays() -> None:
    """Numbers go on counting; nothing is taken for a size of 0."""
    log = StorageLog()
    taken = log.take([16, 4], "inside mm")
    log.give_back(taken)
    log.take_forever(64, Kind.WORKSPACE)
    log.take_forever(0, Kind.WORKSPACE)
    assert log.events == [(0, 16), (1, 4), (0, 0), (1, 0), (2, 64)]
    assert log.alive_bytes() == 64
    assert log.known[2].label is Kind.WORKSPACE


def test_a_kind_is_named_or_follows_from_the_phase() -> None:
    """What a step made and nobody named is what survives it."""
    assert TracedStorage(1, "", Phase.LOAD).label is Kind.WEIGHTS
    assert TracedStorage(1, "", Phase.BACKWARD).label is Kind.BACKWARD
    assert TracedStorage(1, "", Phase.STEP, Kind.GRADIENTS).label is Kind.GRADIENTS
    log = StorageLog()
    weight, state, batch = torch.empty(1), torch.empty(1), torch.empty(1)
    log.follow(weight)
    log.phase = Phase.STEP
    log.follow(state)
    log.follow(batch)
    log.name([batch], Kind.INPUTS)
    log.name_survivors(Kind.STATES)
    assert [storage.label for storage in log.known] == [Kind.WEIGHTS, Kind.STATES, Kind.INPUTS]


def test_a_sum_takes_over_the_memory_of_a_summand_that_dies_at_once() -> None:
    """As autograd adds gradients in place where it holds the last reference."""
    log = StorageLog()
    summand = torch.zeros(4)
    log.follow(summand)
    total = summand + 1
    log.follow(total)
    log.may_add_in_place(total, summand)
    del summand
    assert log.events == [(0, 16)]
    assert log.number_of(total) == 0


def test_a_sum_has_memory_of_its_own_where_something_happens_before_the_summand_dies() -> None:
    """Then the summand was needed after the sum."""
    log = StorageLog()
    summand = torch.zeros(4)
    log.follow(summand)
    total = summand + 1
    log.follow(total)
    log.may_add_in_place(total, summand)
    other = torch.zeros(2)
    log.follow(other)
    del summand
    assert log.events == [(0, 16), (1, 16), (2, 8), (0, 0)]
    assert log.alive_bytes() == 24
