"""What only a real NVIDIA GPU can show; run with ``make test-gpu``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.gpu, pytest.mark.timeout(240)]


def run(folder: Path, *words: str) -> dict[str, object]:
    """Run a verb with --json in ``folder``; its document."""
    done = subprocess.run(
        [sys.executable, "-m", "tsplanner", *words, "--json"],
        check=False,
        cwd=folder,
        env={**os.environ, "TSPLANNER_STATE": str(folder / "state"), "PYTHONPATH": _path()},
        capture_output=True,
        text=True,
        timeout=220,
    )
    assert done.returncode == 0, done.stderr[-2000:] + done.stdout[-2000:]
    document: dict[str, object] = json.loads(done.stdout)
    return document


def _path() -> str:
    return f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--quantization", "nf4-dq"),
        ("--quantization", "fp8"),
        ("--quantization", "w8a8"),
        ("--finetuning-type", "full"),
        ("--finetuning-type", "dora", "--gradient-checkpointing", "on"),
    ],
    ids=lambda words: "-".join(words[1::2]) or "lora",
)
def test_a_probe_stays_inside_the_bound(tmp_path: Path, words: tuple[str, ...]) -> None:
    """What the driver sees of a real run is under the plan's 95 % bound."""
    run(tmp_path, "plan", "--model", "qwen2.5-0.5b", "--cutoff-len", "512", *words)
    found = run(tmp_path, "probe", "--steps", "4")

    assert found["status"] == "ok"
    assert found["inside_bound"] is True
    assert found["step_seconds"]["measured"] > 0  # type: ignore[index]


def test_out_of_memory_is_a_result(tmp_path: Path) -> None:
    """A plan forced onto a card it is too big for ends with a record that says so."""
    run(tmp_path, "plan", "--model", "qwen2.5-0.5b", "--cutoff-len", "512")
    file = tmp_path / "saves/qwen2.5-0.5b/plan.json"
    plan = json.loads(file.read_text())
    plan["hardware"]["batch"] |= {"micro_batch_size": 65536, "gradient_checkpointing": False}
    plan["hardware"]["kernels"]["loss_kernel"] = "plain"
    file.write_text(json.dumps(plan))
    done = subprocess.run(
        [sys.executable, "-m", "tsplanner", "probe", "--steps", "3", "--json"],
        check=False,
        cwd=tmp_path,
        env={**os.environ, "TSPLANNER_STATE": str(tmp_path / "state"), "PYTHONPATH": _path()},
        capture_output=True,
        text=True,
        timeout=220,
    )
    assert done.returncode == 1
    assert json.loads(done.stdout)["status"] == "device_oom"
