"""Exporters by name."""

from __future__ import annotations

import pytest

from tests.support.sorts import on_gpus
from tsplanner.errors import UsageError
from tsplanner.exporters.launch import ExportOptions
from tsplanner.exporters.registry import EXPORTERS, exporter, render


def test_an_unknown_exporter_gets_the_one_that_was_meant() -> None:
    """And the list of all of them."""
    with pytest.raises(UsageError, match=r'no exporter "sbtach"\. Did you mean "sbatch"\?'):
        render("sbtach", on_gpus(1), ExportOptions())


@pytest.mark.parametrize("name", EXPORTERS)
def test_every_exporter_says_how_to_start_what_it_wrote(name: str) -> None:
    """The command names the folder, and several machines are started by hand or by a queue."""
    found = exporter(name)
    assert "{folder}" in found.start
    assert found.summary
    assert bool(found.by_hand) is (name not in ("sbatch", "skypilot"))


def test_a_plan_is_spread_before_it_is_rendered() -> None:
    """Two machines with two cards each: world size 4, two processes on each."""
    (file,) = render("torchrun", on_gpus(2), ExportOptions(nodes=2))
    assert "x 4 processes = effective batch 32" in file.text
    assert "--nnodes 2" in file.text
    assert "--nproc-per-node 2" in file.text
