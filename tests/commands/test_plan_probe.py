"""``tsplanner plan --probe``: what is asked of it, and a real search on the CPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import tiny
from tests.support.planning import plan
from tsplanner.planner.files import read_plan


def test_a_described_machine_cannot_be_probed(tmp_path: Path) -> None:
    """One sentence with the way out, status 2, nothing written."""
    done = plan(tmp_path, "--model", "qwen2.5-7b", "--gpus", "H200", "--probe")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "leave out --gpus and --machine" in done.stderr
    assert not (tmp_path / "saves").exists()


@pytest.mark.slow
def test_the_probed_plan_is_the_fastest_that_was_measured(tmp_path: Path) -> None:
    """Real steps on the CPU: points are kept, plan.json holds what was measured."""
    tiny.write_model(tmp_path / "model")
    tiny.write_dataset(tmp_path / "rows.jsonl")
    words = ["--model", "model", "--dataset", "rows.jsonl", "--cutoff-len", "96", "--cpu"]
    words += ["--effective-batch", "4", "--probe-budget", "45s"]
    done = plan(tmp_path, *words, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    ran = [row for row in document["probes"] if row["status"] == "ok"]
    assert ran
    points = (tmp_path / "state" / "calibration.jsonl").read_text().splitlines()
    assert len(points) == len(ran)
    (chosen,) = [row for row in ran if row["chosen"]]
    written = read_plan(tmp_path / document["path"])
    assert (
        written.hardware.batch.micro_batch_size == chosen["hardware"]["batch"]["micro_batch_size"]
    )
    assert written.memory.process_bytes.expected == chosen["process_bytes"]
    assert written.time.basis == "measured: probe on this machine"
    assert written.time.relative_error == 0.15
    assert written.verdict == "fits"


@pytest.mark.slow
def test_a_person_sees_what_was_probed(tmp_path: Path) -> None:
    """A line a probe in a pipe, a table, and the search as the next command."""
    tiny.write_model(tmp_path / "model")
    tiny.write_dataset(tmp_path / "rows.jsonl")
    words = ["--model", "model", "--dataset", "rows.jsonl", "--cutoff-len", "96", "--cpu"]
    done = plan(tmp_path, *words, "--effective-batch", "4", "--probe-budget", "1s")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("probe 1  lora · fp32 · CPU · micro-batch ")
    assert "Probed (the longest batch)" in done.stdout
    assert " chosen\n" in done.stdout
    assert "Next   tsplanner tune --plan saves/model/plan.json --trials 8" in done.stdout
