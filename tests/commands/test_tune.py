"""What the verb refuses, prints and leaves on disk."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.support.verb import command, planned, run_verb, tune, wait_for


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
    done = tune(tmp_path, "--run-folder", "run", *words)
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
