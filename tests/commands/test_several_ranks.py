"""train and tune of two ranks as a person runs them: interrupted, killed, started wrongly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import psutil
import pytest

from tests.support import tiny
from tsplanner.planner.files import write_plan
from tsplanner.training.job import Job, JobKind, Status
from tsplanner.training.record import parse_record

pytestmark = pytest.mark.slow


def environment(folder: Path) -> dict[str, str]:
    """State kept inside the test's folder."""
    return {**os.environ, "TSPLANNER_STATE": str(folder / "state")}


def planned(folder: Path, epochs: int) -> Path:
    """plan.json of the tiny model on two ranks."""
    plan = tiny.with_learning(tiny.plan(folder), validation_fraction=0.3, num_train_epochs=epochs)
    plan = tiny.with_hardware(plan, world_size=2, micro_batch_size=1, gradient_accumulation_steps=2)
    path = folder / "saves" / "tiny" / "plan.json"
    path.parent.mkdir(parents=True)
    return write_plan(plan, path)


def wait_for_steps(folder: Path, count: int) -> Path:
    """Wait until a run under a folder has logged some steps; its run folder."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for path in folder.rglob("metrics.jsonl"):
            if len(path.read_text().splitlines()) >= count:
                return path.parent
        time.sleep(0.05)
    raise AssertionError(f"no run under {folder}")


def succeeded(command: list[str], folder: Path) -> str:
    """What a command printed that has to end well."""
    done = subprocess.run(
        command,
        check=False,
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_no_rank_outlives_the_command(tmp_path: Path, how: str) -> None:
    """Ctrl-C, TERM and KILL of the command end launcher and ranks within seconds."""
    path = planned(tmp_path, epochs=400)
    process = subprocess.Popen(
        [sys.executable, "-m", "tsplanner", "train", "--plan", str(path)],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    wait_for_steps(tmp_path / "saves", 4)
    family = psutil.Process(process.pid).children(recursive=True)
    assert len([child for child in family if "worker" in " ".join(child.cmdline())]) == 3
    began = time.monotonic()
    process.send_signal(getattr(signal, how))
    printed = process.communicate(timeout=30)[0].decode()
    _, alive = psutil.wait_procs(family, timeout=15)
    left = [child for child in alive if child.status() != psutil.STATUS_ZOMBIE]
    assert not left
    assert time.monotonic() - began < 15
    if how == "SIGINT":
        assert process.returncode == 130, printed
        assert "--resume" in printed


def test_interrupted_run_of_two_ranks_is_gone_on_with(tmp_path: Path) -> None:
    """Ctrl-C lets both ranks finish their step; --resume ends the run."""
    path = planned(tmp_path, epochs=16)
    command = [sys.executable, "-m", "tsplanner", "train"]
    process = subprocess.Popen(
        [*command, "--plan", str(path)],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    folder = wait_for_steps(tmp_path / "saves", 10)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    stopped = [json.loads((folder / name).read_text()) for name in ("record.json", "record-1.json")]
    assert [record["status"] for record in stopped] == ["stopped", "stopped"]
    assert stopped[0]["steps"] == stopped[1]["steps"]
    succeeded([*command, "--run-folder", str(folder), "--resume"], tmp_path)
    rows = [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [row["step"] for row in rows if "learning_rate" in row]
    assert steps == list(range(1, steps[-1] + 1))
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()


def test_search_of_trials_of_two_ranks_ends_with_an_adapter(tmp_path: Path) -> None:
    """Each trial goes through the launcher, one at a time, and so does the full run."""
    path = planned(tmp_path, epochs=1)
    line = ["tune", "--plan", str(path), "--trials", "2", "--jobs", "2", "--epochs", "1"]
    said = succeeded([sys.executable, "-m", "tsplanner", *line], tmp_path)
    assert "2 trials; one at a time" in said
    (folder,) = (tmp_path / "saves" / "tiny" / "lora").iterdir()
    records = [json.loads(path.read_text()) for path in folder.rglob("record.json")]
    assert [len(record["processes"]) for record in records] == [2, 2, 2]
    assert {record["status"] for record in records} == {"ok"}
    assert not (folder / "server.log").exists()
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize(("planned_ranks", "started"), [(2, 1), (1, 2)])
def test_launcher_with_another_number_of_ranks_is_told_so(
    tmp_path: Path, planned_ranks: int, started: int
) -> None:
    """A plan for 2 processes started with 1 would learn with half the batch: it does not start."""
    plan = tiny.with_hardware(tiny.plan(tmp_path), world_size=planned_ranks)
    folder = tmp_path / "run"
    folder.mkdir()
    job = Job(kind=JobKind.TRIAL, plan=plan, folder=str(folder), threads=1)
    (folder / "job.json").write_bytes(msgspec.json.encode(job))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(started)]
    worker = ["-m", "tsplanner.training.worker", str(folder / "job.json")]
    done = subprocess.run(
        [sys.executable, *launcher, *worker], check=False, capture_output=True, timeout=120
    )
    assert done.returncode == 1
    # The rank that says so first takes the others with it, maybe before they have begun.
    said = next(folder.glob("record*.json"))
    record = parse_record(said.read_bytes())
    assert record.status is Status.CRASHED
    assert record.message == (
        f"The plan is for {planned_ranks} processes and {started} were started: use torchrun "
        f"--nproc-per-node {planned_ranks}, or plan again."
    )


@pytest.mark.parametrize("verb", ["probe", "train", "tune"])
def test_plan_without_room_is_refused_before_anything_is_made(tmp_path: Path, verb: str) -> None:
    """Memory that was free when the plan was made and is not now: one sentence, status 1."""
    path = planned(tmp_path, epochs=1)
    value = json.loads(path.read_text())
    value["memory"]["process_bytes"] = {"expected": 2**45, "upper": 2**45}
    value["free_bytes"] = 2**46
    path.write_text(json.dumps(value))
    done = subprocess.run(
        [sys.executable, "-m", "tsplanner", verb, "--plan", str(path)],
        check=False,
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "GiB of RAM free" in done.stderr
    assert "the plan needs 32,768.0" in done.stderr
    assert "--force" in done.stderr
    assert [item.name for item in path.parent.iterdir()] == ["plan.json"]


def test_force_starts_what_has_no_room(tmp_path: Path) -> None:
    """Whoever knows better than the estimate may try: the tiny model runs all the same."""
    path = planned(tmp_path, epochs=1)
    value = json.loads(path.read_text())
    value["memory"]["process_bytes"] = {"expected": 2**45, "upper": 2**45}
    value["free_bytes"] = 2**46
    path.write_text(json.dumps(value))
    done = subprocess.run(
        [sys.executable, "-m", "tsplanner", "probe", "--force", "--json"],
        check=False,
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "ok"
