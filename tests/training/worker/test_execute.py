"""The end of a job: which weights it keeps, and what its record names."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import torch

from tests.support import tiny
from tsplanner.training.job import Job, JobKind
from tsplanner.training.worker import execute


def test_the_last_weights_have_a_name_of_their_own_after_a_better_evaluation(
    tmp_path: Path,
) -> None:
    """Without any evaluation the last weights are the result; the best are saved already."""
    job = Job(kind=JobKind.TRAIN, plan=tiny.plan(tmp_path), folder=str(tmp_path / "run"))
    (tmp_path / "run").mkdir()

    class Built:
        """A Trainer at its tenth step."""

        state = SimpleNamespace(global_step=10)

        def save_model(self, folder: str) -> None:
            """Make the folder."""
            Path(folder).mkdir()

    for best, name in ((None, "adapter"), (5, "adapter-last"), (10, None)):
        recorder = SimpleNamespace(best_evaluation=best and SimpleNamespace(step=best))
        execute.save_result(Built(), job, recorder)  # type: ignore[arg-type]
        found = [path.name for path in (tmp_path / "run").iterdir()]
        assert found == ([] if name is None else [name])
        for path in (tmp_path / "run").iterdir():
            shutil.rmtree(path)


def test_a_job_on_a_cpu_names_no_gpu() -> None:
    """The record then says so."""
    assert execute.device_name(torch.device("cpu")) == "cpu"
