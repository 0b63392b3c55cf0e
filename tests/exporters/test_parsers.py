"""Every golden export, read by the parser of the trainer it is for."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import tiny
from tests.support.golden import CASES, FOLDER
from tests.support.parser_environments import ENVIRONMENT_OF, FORK, FORK_VARIABLE, environment
from tsplanner.exporters.launch import ExportOptions
from tsplanner.exporters.llamafactory.tables import TEMPLATES
from tsplanner.exporters.registry import render
from tsplanner.exporters.rows import dialogues
from tsplanner.exporters.rows.written import write_rows
from tsplanner.planner.plan import Plan

READERS = Path(__file__).parent / "readers"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def answers(name: str) -> dict[str, Any]:
    """What the parser made of all its golden folders, by case; skips where it is not to be had."""
    python = environment(name)
    if isinstance(python, str):
        pytest.skip(python)
    return answered(name, python)


@cache
def answered(name: str, python: Path) -> dict[str, Any]:
    """The reader's one document."""
    reader = ENVIRONMENT_OF[name]
    done = subprocess.run(
        [python, READERS / reader.script, *map(str, folders(name))],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
    assert done.returncode == 0, done.stderr[-2000:]
    assert lines, done.stderr[-2000:]
    found = json.loads(lines[-1].removeprefix("ANSWER "))
    assert isinstance(found, dict)
    return found


def folders(name: str) -> list[Path]:
    """The golden folders that a parser is to read."""
    exporter = "llamafactory" if name == "fork" else name
    return [
        FOLDER / exporter / case
        for case in CASES[exporter]
        if exporter != "llamafactory" or case.startswith("chatts") is (name == "fork")
    ]


def said(folder: Path) -> dict[str, Any]:
    """The YAML as it is written."""
    names = {"llamafactory": "train.yaml", "axolotl": "axolotl.yaml", "trl": "trl.yaml"}
    found = yaml.safe_load((folder / names[folder.parent.name]).read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


LISTS = {"lora_target", "dataset", "eval_dataset"}
CHANGED = {"report_to", "use_cpu", "deepspeed", "accelerate_config"}
"""Words whose value a parser turns into something else."""


def differing(found: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """What a parser read otherwise than it was written."""
    return {
        key: (value, found.get(key, "(not read)"))
        for key, value in wanted.items()
        if key not in CHANGED
        and found.get(key, "(not read)") != (value.split(",") if key in LISTS else value)
    }


@pytest.mark.parametrize("folder", folders("llamafactory"), ids=lambda found: found.name)
def test_llamafactory_reads_what_was_written(folder: Path) -> None:
    """Its parser checks what excludes what, too; its template and columns are ones it has."""
    found = answers("llamafactory")
    read, wanted = found[folder.name], said(folder)
    assert differing(read, wanted) == {}
    assert wanted["template"] in found["templates"]
    if (folder / "dataset_info.json").is_file():
        assert read["rows"] == read["held_out"]
        assert read["rows"]["formatting"] == "sharegpt"
        assert (read["rows"]["messages"], read["rows"]["tools"]) == ("messages", "tools")
    else:
        assert read["tokenized_path"] == "tokenized"


def test_llamafactory_has_every_template_named_here() -> None:
    """The table is not ahead of it."""
    assert set(TEMPLATES.values()) <= set(answers("llamafactory")["templates"])


@pytest.mark.skipif(
    FORK is None, reason=f"{FORK_VARIABLE} names no src folder of a ChatTS-Training checkout"
)
@pytest.mark.parametrize("folder", folders("fork"), ids=lambda found: found.name)
def test_the_chatts_fork_reads_what_was_written(folder: Path) -> None:
    """It is in no registry, so its source must be at hand."""
    found = answers("fork")
    read, wanted = found[folder.name], said(folder)
    assert differing(read, wanted) == {}
    assert wanted["template"] in found["templates"]
    assert read["rows"]["timeseries"] == "timeseries"


@pytest.mark.parametrize("folder", folders("axolotl"), ids=lambda found: found.name)
def test_axolotl_reads_what_was_written(folder: Path) -> None:
    """Its schema lets unknown words pass, so they are asked for."""
    read, wanted = answers("axolotl")[folder.name], said(folder)
    assert read["unknown"] == []
    for name in ("datasets", "test_datasets"):
        for rows, asked in zip(read.pop(name), wanted.pop(name), strict=True):
            assert {key: rows[key] for key in asked} == asked
    slices = read.pop("fsdp_config", {})
    assert {key: slices[key] for key in wanted.get("fsdp_config", {})} == wanted.pop(
        "fsdp_config", {}
    )
    assert {key: value for key, value in wanted.items() if read[key] != value} == {}


@pytest.mark.parametrize("folder", folders("trl"), ids=lambda found: found.name)
def test_trl_reads_what_was_written(folder: Path) -> None:
    """What is left over is for accelerate, and it is the one file."""
    read, wanted = answers("trl")[folder.name], said(folder)
    assert read["for_accelerate"] == ["--accelerate_config", "accelerate.yaml"]
    targets = wanted.get("lora_target_modules")
    if targets is not None and len(targets) == 1:
        wanted["lora_target_modules"] = targets[0]  # one name alone it takes out of its list
    assert differing(read, wanted) == {}


def test_what_trl_starts_trains_to_the_end(tmp_path: Path) -> None:
    """The script of a CPU plan: 18 rows by 4 for two epochs are the 10 steps planned."""
    python = environment("trl")
    if isinstance(python, str):
        pytest.skip(python)
    plan, options = trainable(tmp_path)
    folder = tmp_path / "export"
    folder.mkdir()
    for file in render("trl", plan, options):
        (folder / file.name).write_text(file.text, encoding="utf-8")
    write_rows(plan, folder, options.rows, shape=dialogues.trl)
    inherited = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        ["bash", str(folder / "trl.sh")],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        env={**inherited, "PATH": f"{python.parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "2"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (folder / "output" / "adapter_model.safetensors").is_file()
    state = json.loads((folder / "output" / "checkpoint-10" / "trainer_state.json").read_text())
    assert state["global_step"] == state["max_steps"] == plan.time.total_steps == 10
    adapter = json.loads((folder / "output" / "adapter_config.json").read_text(encoding="utf-8"))
    assert (adapter["r"], adapter["lora_alpha"]) == (4, 8)


def trainable(folder: Path) -> tuple[Plan, ExportOptions]:
    """The tiny plan with weights and a chat template."""
    import torch

    from tsplanner.training.base_model.build import build_model

    plan = tiny.plan(folder)
    assert plan.model.path is not None
    build_model(plan, torch.device("cpu")).save_pretrained(plan.model.path)
    file = Path(plan.model.path) / "tokenizer_config.json"
    turns = "{% for turn in messages %}{{ turn['content'] }} {% endfor %}"
    file.write_text(json.dumps({**json.loads(file.read_text()), "chat_template": turns}))
    return replace(plan, model=replace(plan.model, has_weights=True)), ExportOptions()
