"""Two epochs of tiny-chatts on its own series, and the adapter they leave."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import tiny
from tsplanner.planner.files import read_plan, write_plan

ROOT = Path(__file__).resolve().parents[2]
ROWS = 160
pytestmark = pytest.mark.slow

RELOADED = """
import json, sys
from pathlib import Path
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
from tsplanner.planner.files import read_plan
from tsplanner.training import chatts, data
from tsplanner.training.base_model.tokenizer import load_tokenizer
from tsplanner.training.batches import collate, pad_token_id

run = Path(sys.argv[1])
plan = read_plan(run / "plan.json")
chatts.register()
base = AutoModelForCausalLM.from_pretrained(plan.model.path, dtype=torch.float32)
net = PeftModel.from_pretrained(base, run / "adapter").eval()
words = load_tokenizer(plan.model)
rows = data.load_rows(plan, words, base.config).validation
batches = [collate([row], pad_token_id(words)) for row in rows]
with torch.no_grad():
    found = [net(**batch) for batch in batches]
    with net.disable_adapter():
        plain = [float(net(**batch).loss) for batch in batches]
    merged = net.merge_and_unload()
    apart = max(float((merged(**b).logits - f.logits).abs().max()) for b, f in zip(batches, found))
print(json.dumps({"losses": [float(f.loss) for f in found], "plain": plain, "apart": apart}))
"""


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python in ``folder`` with a state of its own."""
    environment = {**os.environ, "TSPLANNER_STATE": str(folder / "state")}
    done = subprocess.run(
        [sys.executable, *words],
        check=False,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_two_epochs_of_series_leave_an_adapter_that_answers_alike(tmp_path: Path) -> None:
    """A fresh process with plain PEFT gets the losses of every held-out row that training saw."""
    lines = (ROOT / "configs/datasets/sample/sample.jsonl").read_text().splitlines()[:ROWS]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n")
    options = ("--cpu", "--dataset", "rows.jsonl", "--epochs", "2", "--learning-rate", "3e-3")
    run(tmp_path, "-m", "tsplanner", "plan", *options, "--timeseries-lr", "1e-3")
    done = json.loads(run(tmp_path, "-m", "tsplanner", "train", "--json").stdout)
    folder = next(tmp_path.glob("saves/tiny-chatts/lora/*/record.json")).parent

    losses = json.loads((folder / "record.json").read_text())["losses"]
    assert [evaluation["epoch"] for evaluation in losses["evaluations"]] == [1.0, 2.0]
    assert losses["evaluations"][-1]["loss"] < 0.5 * losses["start_eval_loss"]
    assert done["record"]["losses"]["values"] == losses["values"]

    values = losses["values"]
    answers = [json.loads(line) for line in (folder / "values.jsonl").read_text().splitlines()]
    assert values["answers"] == len(answers) > 0
    assert values["right"] == sum(answer["right"] for answer in answers)
    assert values["step"] == min(losses["evaluations"], key=lambda one: one["loss"])["step"]
    assert values["answers"] == sum(claim["stated"] for claim in values["claims"])

    trained = json.loads((folder / "eval_rows.json").read_text())["rows"]
    again = json.loads(run(tmp_path, "-c", RELOADED, str(folder)).stdout.splitlines()[-1])
    assert again["losses"] == pytest.approx([mean for mean, _ in trained], abs=2e-5)
    assert sum(again["plain"]) > 2 * sum(again["losses"])
    assert again["apart"] < 1e-3


def test_of_two_ranks_one_answers_and_the_other_waits(tmp_path: Path) -> None:
    """Neither ends before the answers are written, and none is asked what the other is not."""
    lines = (ROOT / "configs/datasets/sample/sample.jsonl").read_text().splitlines()[:40]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n")
    options = ("--cpu", "--dataset", "rows.jsonl", "--epochs", "1", "--validation-fraction", "0.3")
    run(tmp_path, "-m", "tsplanner", "plan", *options, "--effective-batch", "8")
    path = tmp_path / "saves" / "tiny-chatts" / "plan.json"
    ranks = {"world_size": 2, "micro_batch_size": 1, "gradient_accumulation_steps": 4}
    write_plan(tiny.with_hardware(read_plan(path), **ranks), path)
    run(tmp_path, "-m", "tsplanner", "train")
    folder = next(tmp_path.glob("saves/tiny-chatts/lora/*/record.json")).parent
    record = json.loads((folder / "record.json").read_text())
    assert record["status"] == "ok"
    assert record["losses"]["values"]["answers"] > 0
    assert json.loads((folder / "record-1.json").read_text())["status"] == "ok"
