"""A layer finds around it what the model's own call had."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from tsplanner.training.kernels.rows import LAYOUT  # noqa: E402
from tsplanner.training.streaming.surroundings import Surroundings  # noqa: E402

CPU = torch.device("cpu")


def test_random_numbers_go_on_where_the_call_before_ended() -> None:
    """As one unbroken run of numbers; a second run of a call draws the same ones again."""
    torch.manual_seed(5)
    expected = torch.rand(6)
    torch.manual_seed(5)
    found = Surroundings(CPU, random=True)
    before = found.state
    torch.rand(50)
    with found.around():
        first = torch.rand(3)
    torch.rand(50)
    with found.around():
        second = torch.rand(3)
    assert torch.equal(torch.cat([first, second]), expected)
    with found.around(before):
        assert torch.equal(torch.rand(3), first)


def test_autocast_and_rows_are_those_of_the_call() -> None:
    """Both may be others by the time that the layer runs."""
    LAYOUT.read(torch.tensor([[0, 1, 0]]))
    with torch.autocast("cpu", torch.bfloat16):
        found = Surroundings(CPU, random=False)
    LAYOUT.read(torch.tensor([[0, 1, 2]]))
    with found.around():
        assert LAYOUT.lengths == [2, 1]
        assert torch.is_autocast_enabled("cpu")
    assert found.state == ()
