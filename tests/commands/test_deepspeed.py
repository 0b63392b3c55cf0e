"""``--deepspeed``: a plan and an estimate by a configuration of one's own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.planner.gather.test_deepspeed_file import TUTORIAL, changed, write
from tests.support.planning import ROOT, environment, plan

FULL = ("--model", "qwen2.5-0.5b", "--gpus", "4x A100 80GB", "--finetuning-type", "full")


def estimate(folder: Path, *words: str) -> dict[str, Any]:
    """The document of one estimate."""
    done = subprocess.run(
        [sys.executable, "-m", "tsplanner", "estimate", "--json", *words],
        check=True,
        cwd=folder,
        env={**environment(folder), "PYTHONPATH": str(ROOT)},
        capture_output=True,
    )
    return dict(json.loads(done.stdout))


def test_a_plan_is_pinned_and_sized_by_the_file_and_exports_it(tmp_path: Path) -> None:
    """Stage 3 without offload, the whole model gathered: 0.7 GiB more than by our own limits."""
    write(tmp_path, TUTORIAL)
    document = json.loads(plan(tmp_path, *FULL, "--deepspeed", "ds_config.json", "--json").stdout)
    sharding = document["plan"]["hardware"]["sharding"]
    assert (sharding["zero_stage"], sharding["offload_param"]) == (3, False)
    assert document["deepspeed"]["stage3_max_live_parameters"] == 1_000_000_000
    ours = json.loads(plan(tmp_path, *FULL, "--zero-stage", "3", "--json").stdout)
    assert ours["deepspeed"]["sub_group_size"] == 100_000_000

    def gathered(of: dict[str, Any]) -> int:
        parts = of["plan"]["memory"]["components"]
        return next(int(part["bytes"]) for part in parts if part["name"] == "gathered parameters")

    assert 0.6 * 2**30 < gathered(document) - gathered(ours) < 0.8 * 2**30
    said = plan(tmp_path, *FULL, "--deepspeed", "ds_config.json").stdout
    assert "DeepSpeed (your own file): reduce_bucket_size 802,816 · overlap_comm on" in said
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tsplanner",
            *["export", "deepspeed", "--command", "x.py", "--output", "out"],
        ],
        check=True,
        cwd=tmp_path,
        env={**environment(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
    )
    assert done.returncode == 0
    assert json.loads((tmp_path / "out" / "ds_config.json").read_text()) == TUTORIAL


@pytest.mark.parametrize(
    ("words", "document", "says"),
    [
        (("--zero-stage", "2"), TUTORIAL, "--zero-stage 2 and ds_config.json (zero_stage 3)"),
        (
            ("--effective-batch", "8"),
            changed(top={"train_batch_size": 64}),
            "--effective-batch 8 and ds_config.json (train_batch_size 64) contradict each other",
        ),
        ((), {"zero_optimization": {"stage": 9}}, "stage must be 0, 1, 2 or 3, not 9"),
    ],
)
def test_a_contradiction_is_a_sentence_and_status_2(
    tmp_path: Path, words: tuple[str, ...], document: object, says: str
) -> None:
    """Before anything is planned."""
    write(tmp_path, document)
    done = plan(tmp_path, *FULL, "--deepspeed", "ds_config.json", *words)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "saves").exists()


def test_a_batch_of_the_file_is_the_plans(tmp_path: Path) -> None:
    """64 rows a step, two at a time on each of four cards: eight micro-batches."""
    top = {"train_batch_size": 64, "train_micro_batch_size_per_gpu": 2}
    write(tmp_path, changed(top=top))
    words = (*FULL, "--world-size", "4", "--deepspeed", "ds_config.json", "--json")
    found = json.loads(plan(tmp_path, *words).stdout)["plan"]
    batch = found["hardware"]["batch"]
    assert (batch["micro_batch_size"], batch["gradient_accumulation_steps"]) == (2, 8)
    assert found["learning"]["optimization"]["effective_batch_size"] == 64


def test_an_estimate_takes_the_file_as_a_flag_and_in_a_case(tmp_path: Path) -> None:
    """The step of a 7B takes 6 bytes for each of a billion elements, and is the peak then."""
    write(tmp_path, TUTORIAL)
    words = ("--model", "qwen2.5-7b", "--finetuning-type", "full", "--world-size", "2")
    words = (*words, "--sequence-length", "256", "--loss-kernel", "fused")
    own = estimate(tmp_path, *words, "--deepspeed", "ds_config.json")
    ours = estimate(tmp_path, *words, "--zero-stage", "3")
    more = own["peak_allocated_bytes"]["expected"] - ours["peak_allocated_bytes"]["expected"]
    assert 1.5e9 < more < 6e9
    assert own["peak_instant"] == "step"
    assert any("sub_group_size 1,000,000,000" in note for note in own["assumptions"])
