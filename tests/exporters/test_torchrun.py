"""What torchrun reads of its line."""

from __future__ import annotations

import shlex

import pytest

from tests.support.exports import only
from tests.support.sorts import on_gpus
from tsplanner.exporters.launch import ExportOptions
from tsplanner.exporters.registry import render


@pytest.mark.slow
@pytest.mark.parametrize("nodes", [1, 2])
def test_torchrun_reads_its_line(nodes: int) -> None:
    """The parser of torch itself finds ranks, machines, module and job."""
    from torch.distributed.run import get_args_parser

    text = only("torchrun", on_gpus(2), "run.sh", nodes=nodes)
    words = shlex.split(text.splitlines()[-1].removeprefix("exec torchrun "))
    found = get_args_parser().parse_args(words)
    assert found.nproc_per_node == "2"
    assert found.standalone is (nodes == 1)
    assert found.nnodes == ("1:1" if nodes == 1 else "2")
    assert found.rdzv_backend == ("static" if nodes == 1 else "c10d")
    assert (found.module, found.training_script) == (True, "tsplanner.training.worker")
    assert found.training_script_args == ["job.json"]


def test_torchrun_on_several_machines_asks_where_they_meet() -> None:
    """A machine cannot know the others' names."""
    assert '"${RDZV_ENDPOINT:?' in only("torchrun", on_gpus(2), "run.sh", nodes=2)


def test_torchrun_on_one_machine_starts_every_process_of_the_plan() -> None:
    """Two GPUs are two processes; nothing has to be told where they meet."""
    (file,) = render("torchrun", on_gpus(2), ExportOptions())
    assert file.name == "run.sh"
    assert file.text.endswith(
        "exec torchrun --standalone --nproc-per-node 2 -m tsplanner.training.worker job.json\n"
    )
