"""What the processes of one run agree on, and what one process alone does."""

from __future__ import annotations

import pytest

from memory_models.settings import from_flat
from tsplanner.errors import TsplannerError
from tsplanner.planner.settings import HardwareSettings
from tsplanner.training import distributed

ONE = from_flat(HardwareSettings, world_size=1)
TWO = from_flat(HardwareSettings, world_size=2)


@pytest.fixture
def second_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a launcher's second process."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")


def test_a_process_without_a_launcher_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the main one, it has nobody to ask, and every row is its own."""
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert (distributed.rank(), distributed.world_size(), distributed.is_main()) == (0, 1, True)
    assert [distributed.any_process(flag) for flag in (True, False)] == [True, False]
    assert distributed.interleaved([3, 1, 2], 2) == [3, 1, 2]
    distributed.barrier()
    distributed.leave(1)  # one process ends in its own time


@pytest.mark.usefixtures("second_of_two")
def test_the_launcher_says_who_a_process_is() -> None:
    """RANK and WORLD_SIZE, as torchrun sets them."""
    assert (distributed.rank(), distributed.world_size()) == (1, 2)
    assert not distributed.is_main()


@pytest.mark.usefixtures("second_of_two")
def test_another_number_of_processes_than_planned_is_refused() -> None:
    """The memory of each process was counted for the planned number."""
    distributed.check_world_size(TWO)
    with pytest.raises(TsplannerError, match="for 1 processes and 2 were started"):
        distributed.check_world_size(ONE)


@pytest.mark.usefixtures("second_of_two")
@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (RuntimeError("[gloo] Connection closed by peer"), True),
        (RuntimeError("ncclRemoteError: a process ended"), True),
        (RuntimeError("shapes do not match"), False),
        (ValueError("connection refused"), False),
    ],
)
def test_a_lost_process_is_known_by_the_words_of_its_library(error: Exception, lost: bool) -> None:
    """Gloo and NCCL raise no type of their own for it."""
    assert distributed.lost_connection(error) is lost
