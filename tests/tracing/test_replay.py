"""From one traced step to several."""

from __future__ import annotations

from memory_models.allocator.caching_allocator import simulate
from tsplanner.tracing.fake_cuda.storages import Phase, TracedStorage
from tsplanner.tracing.records import Alive
from tsplanner.tracing.replay import alive_at, by_kind, largest, several_steps

MIB = 2**20


def test_several_steps_find_the_optimizer_states_of_the_first() -> None:
    """A weight (0) is loaded; a step makes an activation (1) and a state (2) that stays."""
    events = several_steps([(0, 512)], [(1, 1024), (1, 0), (2, 2048)], offset=3)
    assert events == [
        *[(0, 512), (1, 1024), (1, 0), (2, 2048)],
        *[(4, 1024), (4, 0)],
        *[(7, 1024), (7, 0)],
    ]


def test_several_steps_peak_with_states_and_activations_together() -> None:
    """The first step peaks at 30 MiB, later ones have the 10 MiB of states beside it."""
    step = [(1, 30 * MIB), (1, 0), (2, 10 * MIB)]
    assert simulate([(0, 2 * MIB), *step]).peak_allocated == 32 * MIB
    assert simulate(several_steps([(0, 2 * MIB)], step, 3)).peak_allocated == 42 * MIB


def test_alive_at_names_what_was_born_and_has_not_died() -> None:
    """After the third event the first tensor is gone."""
    assert alive_at([(0, 5), (1, 7), (0, 0), (2, 9)], 2) == {1: 7}


def test_bytes_are_added_up_by_kind_and_like_tensors_are_one_group() -> None:
    """Two weights of 4 bytes are one group; an activation is known by its operator and shape."""
    weight = TracedStorage(4, "(2,) float16", Phase.LOAD)
    made = TracedStorage(6, "mm (3,) float16", Phase.FORWARD)
    found = [(weight, 4), (made, 6), (weight, 4)]
    assert by_kind(found) == {"base weights": 8, "activations": 6}
    assert largest(found) == (
        Alive(kind="base weights", origin="", count=2, bytes=8),
        Alive(kind="activations", origin="mm (3,) float16", count=1, bytes=6),
    )
