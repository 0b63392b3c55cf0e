"""What ``tsplanner plan`` refuses, each in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.planning import plan, sentence


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("--lora-rank", "0"), 2, "argument --lora-rank: must be at least 1, not 0"),
        (("--cutoff-len", "10"), 2, "10 tokens leave no room for a question and its answer"),
        (("--epochs", "9" * 400), 2, "argument --epochs: must be at most"),
        (("--learning-rate", "inf"), 2, "must be above 0, not inf"),
        (("--learning-rate", "nan"), 2, "must be above 0, not nan"),
        (("--lora-dropout", "1"), 2, "must be in [0, 1), not 1"),
        (("--gradient-checkpointing", "maybe"), 2, "on or off, not 'maybe'"),
        (("--zero-stage", "4"), 2, "invalid choice: 4"),
        (("--lora-target", ","), 2, "give module names separated by commas, or all-linear"),
        (("--modle", "x"), 2, 'unrecognized arguments: --modle x. Did you mean "--model"?'),
        (("--lora", "8"), 2, "unrecognized arguments: --lora 8"),
        (("--model", "qwen2.5-7bb"), 2, 'Did you mean "qwen2.5-7b"?'),
        (("--gpus", "RTX 6000"), 2, "Quadro RTX 6000 24GiB, RTX 6000 Ada 48GiB or RTX PRO 6000"),
        (("--model", ""), 2, "--model is empty: give it a value, or leave it out"),
        (("--cpu", "--dataset", ""), 2, "--dataset is empty"),
        (("--machine", ""), 2, "--machine is empty"),
        (("--machine", "h100"), 1, "cannot read machine file h100: No such file"),
        (("--host-memory", "lots"), 2, "'lots' is no size of RAM: write 64GiB or 1.5TiB"),
        (("--gpus", "MI300X"), 2, '"MI300X" is made by AMD, and only NVIDIA'),
        (("--gpus", "Voodoo 3"), 2, 'unknown GPU "Voodoo 3"'),
        (("--gpus", "H200", "--machine", "x.yaml"), 2, "give one of them"),
        (("--dataset", "nope.jsonl"), 1, "dataset nope.jsonl cannot be read"),
        (("--tokenizer", "nowhere"), 2, "--tokenizer nowhere has no tokenizer.json"),
        (("--machine", "nope.yaml"), 1, "cannot read machine file nope.yaml"),
        (("--cpu", "--lora-rank", "900"), 2, "lora_rank 900 is above the smallest side"),
        (("--cpu", "--lora-target", "c_attn"), 2, '"c_attn" is no linear of chatts'),
        (("--cpu", "--effective-batch", "16", "--micro-batch-size", "3"), 1, "effective batch 16"),
        (("--cpu", "--output", "file/plan.json"), 1, "file is not a writable directory"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else None,
)
def test_a_wrong_word_ends_in_one_sentence(
    words: tuple[str, ...], status: int, says: str, tmp_path: Path
) -> None:
    """What, where and how to fix it; nothing but the state folder is written."""
    (tmp_path / "file").touch()
    assert says in sentence(plan(tmp_path, *words), status)
    assert {entry.name for entry in tmp_path.iterdir()} - {"state"} == {"file"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "is not valid JSON"),
        ('{"model_type": "qwen22"}', 'Did you mean "qwen2"?'),
        ('{"model_type": "llama"}', "hidden_size is missing"),
    ],
)
def test_a_broken_config_ends_in_one_sentence(content: str, says: str, tmp_path: Path) -> None:
    """The file is named."""
    (tmp_path / "config.json").write_text(content, encoding="utf-8")
    said = sentence(plan(tmp_path, "--model", "config.json"), 1)
    assert says in said
    assert "config.json" in said


def test_an_empty_dataset_ends_in_one_sentence(tmp_path: Path) -> None:
    """No row, no plan."""
    (tmp_path / "rows.jsonl").touch()
    sentence(plan(tmp_path, "--dataset", "rows.jsonl", "--cpu"), 1)


def test_a_failure_in_json_is_one_document_too(tmp_path: Path) -> None:
    """A program need not read stderr."""
    done = plan(tmp_path, "--dataset", "nope.jsonl", "--json")
    document = json.loads(done.stdout)
    assert document["exit_status"] == done.returncode == 1
    assert document["error"] in done.stderr
