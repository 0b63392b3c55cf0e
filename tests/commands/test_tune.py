"""What the verb refuses, prints and leaves on disk."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from tests.support import tiny
from tests.support.searching import Worker
from tests.support.stand_in import Call
from tests.support.verb import command, planned, run_verb, wait_for
from tests.support.verb import tune as tune_verb
from tsplanner.cli import build_parser
from tsplanner.commands import tune
from tsplanner.commands.views.tune import HEADING
from tsplanner.planner.files import read_plan, write_plan
from tsplanner.processes import ProcessResult
from tsplanner.training.job import Job, JobKind, Status
from tsplanner.tune import flow
from tsplanner.tune.options import SearchLocation, SpaceOptions, TuneOptions


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--trials", "0"),
        ("--learning-rate", "1e-3..1e-5"),
        ("--learning-rate=-1..1", ""),
        ("--learning-rate", "1e-3..inf"),
        ("--lora-rank", ""),
        ("--lora-rank", "8,-4"),
        ("--epochs", "0"),
        ("--storage", "mysql://host/db"),
    ],
)
def test_range_that_is_none_ends_before_anything_is_made(
    tmp_path: Path, flag: str, value: str
) -> None:
    """One sentence, status 2, no run folder."""
    words = [flag] if "=" in flag else [flag, value]
    done = tune_verb(tmp_path, "--run-folder", "run", *words)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert flag.partition("=")[0] in done.stderr
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "saves").exists()


@pytest.mark.slow
def test_tune_interrupted_and_resumed_ends_with_an_adapter_and_no_child(tmp_path: Path) -> None:
    """Ctrl-C ends every child with status 130; --resume finishes the search and the full run."""
    path = planned(tmp_path, num_train_epochs=30)
    line, environment = command(
        tmp_path, "tune", "--plan", str(path), "--trials", "3", "--epochs", "30"
    )
    process = subprocess.Popen(
        line, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    wait_for(tmp_path / "saves", "trials/*/metrics.jsonl")
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.send_signal(signal.SIGINT)
    printed = process.communicate(timeout=60)[0].decode()
    assert process.returncode == 130, printed
    assert "--resume" in printed
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not [child for child in alive if child.status() != psutil.STATUS_ZOMBIE]
    done = run_verb(tmp_path, "tune", "--resume", "--trials", "3", "--epochs", "30")
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (tmp_path / "saves" / "tiny" / "lora").iterdir()
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()
    assert json.loads((folder / "tune.json").read_text())["record"]["status"] == "ok"


def opened(folder: Path, **more: Any) -> flow.OpenedSearch:
    """A new search of the tiny plan in the folder ``run``."""
    path = write_plan(tiny.plan(folder), folder / "plan.json")
    location = SearchLocation(plan_path=path, saves=folder / "saves", run_folder=folder / "run")
    options = TuneOptions(location=location, **more)
    return flow.open_search(options, tiny.machine(), time.monotonic())


def falling(job: Job) -> float:
    """A higher rate is better on every seed."""
    return 5.0 - math.log(job.plan.learning.optimization.learning_rate)


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a search took stays in the test's own folder."""
    monkeypatch.setenv("TSPLANNER_STATE", str(tmp_path / "state"))


def test_a_search_prints_its_trials_its_decision_and_its_full_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four lines of trials between the heading and the decision; then the run that is kept."""
    worker = Worker(falling)
    found = tune.search_and_train(opened(tmp_path, trials=4, jobs=1), worker, as_json=False)
    assert found == 0
    lines = capsys.readouterr().out.splitlines()
    start = lines.index(HEADING)
    assert lines[0].startswith("Baseline: rank ")
    assert [line.split()[0] for line in lines[start + 1 : start + 5]] == ["0", "1", "2", "3"]
    assert lines[start + 5] == ""
    assert "using it" in lines[start + 6]
    assert lines[start + 7].startswith("train  20 rows, 3 epochs")
    assert lines[-1].startswith("merge  tsplanner merge ")
    (saved,) = [line for line in lines if line.startswith("saved  ")]
    assert lines.index(saved) < lines.index("use    import torch")
    assert [job.kind for job in worker.jobs].count(JobKind.TRAIN) == 1


def test_what_was_decided_lies_in_tune_json_and_in_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--json prints the same document, and nothing else."""
    worker = Worker(falling)
    assert tune.search_and_train(opened(tmp_path, trials=4), worker, as_json=True) == 0
    document = json.loads(capsys.readouterr().out)
    folder = tmp_path / "run"
    assert document == json.loads((folder / "tune.json").read_text())
    assert document["record"]["status"] == "ok"
    assert document["multi_lora"] == ""
    assert "budget_seconds" not in document
    assert document["decision"]["sentence"] in (folder / "report.md").read_text()
    trained = read_plan(folder / "plan.json").learning
    rate = document["decision"]["learning"]["learning_rate"]
    assert trained.optimization.learning_rate == rate
    assert read_plan(folder / "search-plan.json").learning.optimization.learning_rate == 5e-3


def test_a_search_within_a_budget_tells_what_it_took(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The schedule comes first, the seconds last; tune.json has both."""
    worker = Worker(falling)
    search = opened(tmp_path, trials=2, budget_seconds=3600.0, jobs=1)
    assert tune.search_and_train(search, worker, as_json=False) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("1 h: 2 trials")
    assert lines[-1].startswith("took ")
    assert " of 1 h, estimated " in lines[-1]
    document = json.loads((tmp_path / "run" / "tune.json").read_text())
    assert document["budget_seconds"] == 3600


def test_a_full_run_that_fails_is_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The search was good, and what it decided stays in tune.json."""

    class FailsAtLast(Worker):
        """Runs trials well and the full run badly."""

        def answer(self, call: Call) -> ProcessResult:
            """Answer a trial, or crash."""
            self.status = Status.CRASHED if call.job.kind is JobKind.TRAIN else Status.OK
            return super().answer(call)

    found = tune.search_and_train(opened(tmp_path, trials=2), FailsAtLast(falling), as_json=False)
    assert found == 1
    assert "✘ CRASHED   boom" in capsys.readouterr().out
    document = json.loads((tmp_path / "run" / "tune.json").read_text())
    assert document["record"]["status"] == "crashed"
    assert document["decision"]["sentence"]


def test_flags_are_the_fields_of_the_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """--join calls the other verb with the same options."""
    asked: list[object] = []
    monkeypatch.setattr(tune, "run", lambda options, **more: asked.append(options) or 0)
    monkeypatch.setattr(
        tune, "join", lambda target, options, **more: asked.append((target, options)) or 0
    )
    words = (
        "tune --plan p.json --saves s --run-folder r --trials 5 --budget 2h --jobs 3 "
        "--concurrent-loras off --lora-rank 4,8 --learning-rate 1e-4..1e-3 --epochs 1,2 --force"
    )
    parser = build_parser("tune")
    assert tune.from_arguments(parser.parse_args(words.split())) == 0
    expected = TuneOptions(
        location=SearchLocation(plan_path=Path("p.json"), saves=Path("s"), run_folder=Path("r")),
        space=SpaceOptions(lora_rank="4,8", learning_rate="1e-4..1e-3", epochs="1,2"),
        trials=5,
        budget_seconds=7200.0,
        jobs=3,
        concurrent_loras=1,
        force=True,
    )
    assert asked == [expected]
    tune.from_arguments(parser.parse_args(["tune", "--join", "there"]))
    assert asked[1] == (Path("there"), TuneOptions())


def test_a_helper_says_which_trials_ended_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    """A person reads how many; a program gets their numbers."""
    joined: Any = SimpleNamespace(
        leader="host:7", study=SimpleNamespace(workers=SimpleNamespace(name="host:8"))
    )
    assert tune.say_what_was_done(joined, [2, 5], as_json=False) == 0
    assert capsys.readouterr().out == (
        "No more trials are wanted; 2 ended here. host:7 decides and trains.\n"
    )
    tune.say_what_was_done(joined, [2, 5], as_json=True)
    assert json.loads(capsys.readouterr().out) == {
        "worker": "host:8",
        "leader": "host:7",
        "trials": [2, 5],
    }
