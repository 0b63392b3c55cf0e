"""probe, train and tune as a person runs them, on a tiny model, in real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.support import tiny
from tsplanner.planner.files import write_plan

pytestmark = pytest.mark.slow


def command(folder: Path, *words: str) -> tuple[list[str], dict[str, str]]:
    """A verb with its state kept inside the test's folder."""
    environment = {**os.environ, "TSPLANNER_STATE": str(folder / "state")}
    return [sys.executable, "-m", "tsplanner", *words], environment


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a verb to its end in ``folder``."""
    line, environment = command(folder, *words)
    return subprocess.run(
        line, check=False, cwd=folder, env=environment, capture_output=True, text=True, timeout=220
    )


def planned(folder: Path, **changes: object) -> Path:
    """plan.json of the tiny model."""
    plan = tiny.with_learning(tiny.plan(folder), validation_fraction=0.3, **changes)
    path = folder / "saves" / "tiny" / "plan.json"
    path.parent.mkdir(parents=True)
    return write_plan(plan, path)


def test_probe_prints_prediction_against_measurement_and_keeps_it(tmp_path: Path) -> None:
    """The newest plan is probed, the point is stored, probe.json lies next to the plan."""
    path = planned(tmp_path)
    done = run(tmp_path, "probe")
    assert done.returncode == 0, done.stderr
    assert "inside the bound" in done.stdout or "OVER THE BOUND" in done.stdout
    assert "Stored" in done.stdout
    assert len((tmp_path / "state" / "calibration.jsonl").read_text().splitlines()) == 1
    document = json.loads((path.parent / "probe.json").read_text())
    assert document["process_bytes"]["measured"] > 0


def test_probe_over_its_time_limit_is_a_result_with_status_1(tmp_path: Path) -> None:
    """A hang is told, in JSON too, and nothing is stored."""
    planned(tmp_path)
    done = run(tmp_path, "probe", "--time-limit", "1", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["status"] == "timeout"
    assert not (tmp_path / "state").exists()


def test_train_leaves_a_whole_run_folder(tmp_path: Path) -> None:
    """Adapter, plan, metrics, versions and report lie in saves/tiny/lora/<date>-1."""
    path = planned(tmp_path)
    done = run(tmp_path, "train", "--plan", str(path))
    assert done.returncode == 0, done.stderr + done.stdout
    (folder,) = (tmp_path / "saves" / "tiny" / "lora").iterdir()
    names = {item.name for item in folder.iterdir()}
    assert {"adapter", "plan.json", "metrics.jsonl", "versions.json"} <= names
    assert {"report.html", "report.md", "loss.svg"} <= names
    again = run(tmp_path, "train", "--plan", str(path), "--run-folder", str(folder))
    assert again.returncode == 1
    assert "add --resume" in again.stderr


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
    done = run(tmp_path, "tune", "--resume", "--trials", "3", "--epochs", "30")
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (tmp_path / "saves" / "tiny" / "lora").iterdir()
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()
    assert json.loads((folder / "tune.json").read_text())["record"]["status"] == "ok"


def wait_for(folder: Path, pattern: str) -> None:
    """Wait until a file appears."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if any(folder.rglob(pattern)):
            return
        time.sleep(0.1)
    raise AssertionError(f"no {pattern} under {folder}")
