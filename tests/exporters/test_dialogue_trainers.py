"""What axolotl and TRL are told of a plan, and the rows they are given."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from memory_models.settings import DecoderKernels, FinetuningType, changed
from tests.support.golden import CASES, CHATTS_ROWS, FREEZE, FULL, Case, case
from tsplanner.errors import TsplannerError
from tsplanner.exporters.launch import ExportFile
from tsplanner.exporters.registry import render

BOTH = pytest.mark.parametrize("name", ["axolotl", "trl"])


def said(name: str, each: Case) -> dict[str, Any]:
    """The trainer's YAML."""
    found = yaml.safe_load(text(render(name, each.plan, each.options), f"{name}.yaml"))
    assert isinstance(found, dict)
    return found


def text(files: list[ExportFile], name: str) -> str:
    """One of the files."""
    return next(file.text for file in files if file.name == name)


@BOTH
def test_time_series_are_refused(name: str) -> None:
    """And the way that takes them is named."""
    with pytest.raises(TsplannerError, match="knows no time series: export llamafactory"):
        said(name, case("chatts-8b", rows=CHATTS_ROWS))


@BOTH
def test_adalora_is_refused(name: str) -> None:
    """With what it has instead."""
    adalora = case("qwen2.5-7b", learning={"finetuning_type": FinetuningType.ADALORA})
    with pytest.raises(TsplannerError, match="no adalora: plan again with --finetuning-type"):
        said(name, adalora)


def test_trl_freezes_nothing() -> None:
    """Trl sft trains an adapter or everything; axolotl names what stays trained."""
    frozen = case("llama-3.2-1b", learning={"finetuning_type": FREEZE})
    with pytest.raises(TsplannerError, match="trl sft has no freeze"):
        said("trl", frozen)
    # 16 blocks, the last two of them
    assert said("axolotl", frozen)["unfrozen_parameters"] == [
        r"^model\.layers\.14\.",
        r"^model\.layers\.15\.",
    ]


def test_a_full_run_has_no_adapter() -> None:
    """No words about LoRA at all."""
    full = case("qwen2.5-0.5b", learning={"finetuning_type": FULL})
    assert not [key for key in said("axolotl", full) if key.startswith(("lora_r", "adapter"))]
    assert said("trl", full)["use_peft"] is False


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("axolotl", ("micro_batch_size", "num_epochs", "lora_r", "sequence_len")),
        ("trl", ("per_device_train_batch_size", "num_train_epochs", "lora_r", "max_length")),
    ],
)
def test_learning_settings_are_the_plans(name: str, keys: tuple[str, ...]) -> None:
    """Micro-batch 2 x accumulation 16, two epochs, rank 4, texts of 2048 tokens."""
    found = said(name, case("qwen2.5-7b"))
    assert [found[key] for key in keys] == [2, 2, 4, 2048]
    assert (found["gradient_accumulation_steps"], found["warmup_steps"]) == (16, 1)
    assert (found["learning_rate"], found["seed"], found["lora_alpha"]) == (0.005, 42, 8)


def test_lean_kernels_let_axolotl_take_its_own() -> None:
    """A plan on reference kernels turns them off."""
    assert said("axolotl", case("qwen2.5-7b"))["lora_mlp_kernel"] is False
    assert "lora_mlp_kernel" not in said(
        "axolotl", case("qwen2.5-7b", kernels=DecoderKernels.FUSED)
    )


def test_a_tokenizer_elsewhere_is_named_or_asked_to_be_copied() -> None:
    """Axolotl takes one; trl sft looks beside the weights alone."""
    base = case("qwen2.5-7b")
    plan = replace(base.plan, model=replace(base.plan.model, tokenizer="/tokenizers/own"))
    moved = Case(plan, base.options)
    assert said("axolotl", moved)["tokenizer_config"] == "/tokenizers/own"
    head = text(render("trl", plan, base.options), "trl.yaml")
    assert "Copy the tokenizer of /tokenizers/own beside the weights" in head


def test_each_file_of_rows_has_the_template() -> None:
    """Axolotl's own default for a file is another one than the run's."""
    rows = said("axolotl", case("qwen2.5-7b"))
    assert rows["datasets"][0]["chat_template"] == rows["chat_template"]


DATASETS = {
    "alpaca": {"instruction": "why", "input": "now", "output": "so"},
    "chatts": {"input": "why\nnow", "output": "so", "timeseries": []},
    "sharegpt": {
        "conversations": [
            {"from": "human", "value": "hi"},
            {"from": "gpt", "value": "ho"},
            {"from": "human", "value": "why\nnow"},
            {"from": "gpt", "value": "so"},
            {"from": "human", "value": "left out"},
        ],
        "system": "be brief",
    },
    "messages": {
        "messages": [
            {"role": "user", "content": "why\nnow"},
            {"role": "assistant", "content": "so"},
        ]
    },
}


@BOTH
@pytest.mark.parametrize("form", DATASETS)
def test_rows_become_dialogues_that_end_with_the_answer(
    name: str, form: str, tmp_path: Path
) -> None:
    """Ten rows, of which one is held out, as our worker draws it; the last answer is learned."""
    from tsplanner.training.data import split

    source = tmp_path / "source.jsonl"
    rows = [json.dumps({**DATASETS[form], "id": place}) for place in range(10)]
    source.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    base = case("qwen2.5-7b")
    plan = replace(base.plan, dataset=changed(base.plan.dataset, path=str(source), rows_kept=10))
    (tmp_path / "prepare.py").write_text(text(render(name, plan, base.options), "prepare.py"))
    subprocess.run([sys.executable, str(tmp_path / "prepare.py")], check=True, cwd="/")
    written = {
        part: [json.loads(line) for line in (tmp_path / "rows" / f"{part}.jsonl").open()]
        for part in ("train", "test")
    }
    assert (len(written["train"]), len(written["test"])) == tuple(map(len, split(rows, 0.1, 42)))
    row = written["train"][0]
    turns = row["messages"] if name == "axolotl" else row["prompt"] + row["completion"]
    assert (turns[-1]["role"], turns[-1]["content"]) == ("assistant", "so")
    assert (turns[-2]["role"], turns[-2]["content"]) == ("user", "why\nnow")
    if form == "sharegpt":
        roles = ["system", "user", "assistant", "user", "assistant"]
        assert [turn["role"] for turn in turns] == roles
    if name == "axolotl":
        assert [turn["train"] for turn in turns] == [False] * (len(turns) - 1) + [True]


def test_what_is_held_out_is_what_our_worker_holds_out(tmp_path: Path) -> None:
    """Row by row, by the plan's seed."""
    from tsplanner.training.data import split

    source = tmp_path / "source.json"
    source.write_text(json.dumps([{"input": str(n), "output": "a"} for n in range(40)]))
    base = CASES["trl"]["lora"]
    plan = replace(base.plan, dataset=changed(base.plan.dataset, path=str(source), rows_kept=40))
    (tmp_path / "prepare.py").write_text(text(render("trl", plan, base.options), "prepare.py"))
    subprocess.run([sys.executable, str(tmp_path / "prepare.py")], check=True)
    found = [json.loads(line) for line in (tmp_path / "rows" / "test.jsonl").open()]
    _, expected = split([str(n) for n in range(40)], 0.1, 42)
    assert [row["prompt"][0]["content"] for row in found] == expected
