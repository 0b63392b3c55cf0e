"""What axolotl and TRL have in common."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.settings import (
    FinetuningType,
)
from tests.support.exports import said, written
from tests.support.golden import FULL, Case, case
from tsplanner.errors import TsplannerError

BOTH = pytest.mark.parametrize("name", ["axolotl", "trl"])


@BOTH
def test_time_series_are_refused(name: str) -> None:
    """And the way that takes them is named."""
    with pytest.raises(TsplannerError, match="does not read time series: export llamafactory"):
        said(case("chatts-8b"), name)


@BOTH
def test_adalora_is_refused(name: str) -> None:
    """With what it has instead."""
    adalora = case("qwen2.5-7b", learning={"finetuning_type": FinetuningType.ADALORA})
    with pytest.raises(TsplannerError, match="no adalora: plan again with --finetuning-type"):
        said(adalora, name)


def test_a_full_run_has_no_adapter() -> None:
    """No words about LoRA at all."""
    full = case("qwen2.5-0.5b", learning={"finetuning_type": FULL})
    assert not [key for key in said(full, "axolotl") if key.startswith(("lora_r", "adapter"))]
    assert said(full, "trl")["use_peft"] is False


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("axolotl", ("micro_batch_size", "num_epochs", "lora_r", "sequence_len")),
        ("trl", ("per_device_train_batch_size", "num_train_epochs", "lora_r", "max_length")),
    ],
)
def test_learning_settings_are_the_plans(name: str, keys: tuple[str, ...]) -> None:
    """Micro-batch 2 x accumulation 16, two epochs, rank 4, texts of 2048 tokens."""
    found = said(case("qwen2.5-7b"), name)
    assert [found[key] for key in keys] == [2, 2, 4, 2048]
    assert (found["gradient_accumulation_steps"], found["warmup_steps"]) == (16, 1)
    assert (found["learning_rate"], found["seed"], found["lora_alpha"]) == (0.005, 42, 8)


def test_a_tokenizer_elsewhere_is_named_or_asked_to_be_copied() -> None:
    """Axolotl takes one; trl sft looks beside the weights alone."""
    base = case("qwen2.5-7b")
    plan = replace(base.plan, model=replace(base.plan.model, tokenizer="/tokenizers/own"))
    moved = Case(plan, base.options)
    assert said(moved, "axolotl")["tokenizer_config"] == "/tokenizers/own"
    head = written(moved, "trl")["trl.yaml"]
    assert "Copy the tokenizer of /tokenizers/own beside the weights" in head
