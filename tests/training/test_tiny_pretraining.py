"""The script behind tiny-chatts still makes a model that loads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

SCRIPT = (
    Path(__file__).resolve().parents[2] / "benchmarks" / "collect" / "tiny_chatts" / "pretrain.py"
)


@pytest.mark.slow
def test_two_steps_of_pretraining_leave_a_model_and_its_record(tmp_path):
    """A dry run writes weights, tokenizer and a record that names seed and arguments."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tsplanner.training import chatts

    flags = ["--steps", "2", "--rows", "32", "--batch", "8", "--processes", "1"]
    subprocess.run([sys.executable, str(SCRIPT), *flags, "--output", str(tmp_path)], check=True)

    chatts.register()
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    record = json.loads((tmp_path / "loss.json").read_text())
    assert model.config.ts_token_start_index == 3
    assert len(AutoTokenizer.from_pretrained(tmp_path)) == model.config.vocab_size
    assert (record["steps"], record["arguments"]["seed"]) == (2, 7)
