"""What Slurm reads of a plan."""

from __future__ import annotations

import re

import pytest

from tests.support.exports import only
from tests.support.sorts import SORTS, cpu, on_gpus
from tsplanner.errors import TsplannerError
from tsplanner.exporters.launch import ExportOptions
from tsplanner.exporters.registry import render
from tsplanner.exporters.sbatch import slurm_time


def directives(text: str) -> dict[str, str]:
    """What Slurm reads: ``#SBATCH --key=value`` lines before the first command."""
    found = {}
    for line in text.splitlines():
        if line.startswith("#SBATCH "):
            key, _, value = line.removeprefix("#SBATCH --").partition("=")
            found[key] = value
        elif line and not line.startswith("#"):
            break
    return found


def test_slurm_is_asked_for_machines_cards_and_time() -> None:
    """The tiny plan: 1 s + 50 % + half an hour for loading is 31 minutes, asked as 40."""
    text = only("sbatch", on_gpus(4), "train.sbatch", nodes=2)
    assert directives(text) == {
        "job-name": "tiny",
        "nodes": "2",
        "ntasks-per-node": "1",
        "cpus-per-task": "16",
        "mem": "1G",
        "time": "0-00:40:00",
        "output": "slurm-%j.log",
        "gpus-per-node": "4",
    }
    assert re.search(r'srun .*torchrun --nnodes 2 --rdzv-backend c10d .*"\$\{hosts\[0\]\}', text)


def test_slurm_is_asked_for_no_card_on_a_cpu() -> None:
    """A queue refuses cards that are not used."""
    assert "gpus-per-node" not in directives(only("sbatch", cpu(), "train.sbatch"))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1, "0-00:10:00"), (600, "0-00:10:00"), (601, "0-00:20:00"), (90_000, "1-01:00:00")],
)
def test_slurm_times_are_rounded_up(seconds: float, text: str) -> None:
    """Ten minutes at least, days before hours."""
    assert slurm_time(seconds) == text


def test_slurm_needs_a_limit_where_the_length_is_unknown() -> None:
    """Without a dataset nobody knows; a limit that is given is taken."""
    with pytest.raises(TsplannerError, match="give --time-limit"):
        render("sbatch", SORTS["no dataset"], ExportOptions())
    text = only("sbatch", SORTS["no dataset"], "train.sbatch", time_limit_seconds=7200)
    assert directives(text)["time"] == "0-02:00:00"
