"""Every verb that would write into a run folder, while this process leads it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support import tiny
from tests.support.verb import planned, run_verb
from tsplanner.folders.owner import RunFolder
from tsplanner.planner.files import write_plan

VERBS = {
    "train": ("train", "--run-folder", "run"),
    "train --resume": ("train", "--run-folder", "run", "--resume"),
    "tune": ("tune", "--run-folder", "run"),
    "tune --resume": ("tune", "--run-folder", "run", "--resume"),
    "probe": ("probe", "--plan", "run/plan.json"),
    "export": ("export", "torchrun", "--output", "run"),
    "plan": ("plan", "--model", "qwen2.5-7b", "--gpus", "H200", "--output", "run/plan.json"),
}


@pytest.mark.slow
@pytest.mark.parametrize("verb", list(VERBS))
def test_a_run_at_work_is_left_to_its_leader(tmp_path: Path, verb: str) -> None:
    """One sentence with the leader's number, status 1, and no file changes."""
    planned(tmp_path)
    run = tmp_path / "run"
    with RunFolder(run, "tune"):
        write_plan(tiny.plan(tmp_path), run / "plan.json")
        write_plan(tiny.plan(tmp_path), run / "search-plan.json")
        (run / "study.journal").write_text("")
        (run / "job.json").write_text(json.dumps({}))
        before = {path.name: path.read_bytes() for path in run.iterdir()}
        done = run_verb(tmp_path, *VERBS[verb])
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert f"run is being written by tsplanner tune, process {os.getpid()}" in done.stderr
        assert {path.name: path.read_bytes() for path in run.iterdir()} == before
