"""``tsplanner plan`` as a person and as a program run it."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import tiny
from tests.support.planning import ROOT, environment, line, plan
from tsplanner.planner.files import read_plan

HEAVY = ("torch", "transformers", "peft", "optuna", "numpy", "accelerate", "rich", "scipy")
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def test_the_embedded_default_needs_no_argument(tmp_path: Path) -> None:
    """A newcomer types ``plan`` and gets a plan for tiny-chatts, and the next command."""
    done = plan(tmp_path, "--cpu")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "FITS" in done.stdout
    saved = tmp_path / "saves" / "tiny-chatts" / "plan.json"
    assert done.stdout.endswith("Next   tsplanner probe --plan saves/tiny-chatts/plan.json\n")
    found = read_plan(saved)
    assert found.dataset.path is not None
    assert found.dataset.lengths.rows_kept >= 400
    assert [entry.name for entry in saved.parent.iterdir()] == ["plan.json"]


def test_json_is_one_document_with_the_plan_that_was_written(tmp_path: Path) -> None:
    """A program reads the same plan from stdout as from the file."""
    done = plan(tmp_path, "--model", "qwen2.5-7b", "--gpus", "H200", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    lists = {"probes", "front", "alternatives", "refusals", "remarks", "advice"}
    assert set(document) == {"plan", "path", "cost", "considered", *lists}
    assert document["probes"] == []
    assert document["cost"] is None
    for row in document["front"]:
        assert row["verdict"] in ("fits", "tight")
        assert row["samples_per_second"] > 0
        # The twin with products in 8 bits is shown for its gain, and nothing else is rounded.
        assert row["quality_risk"] == (row["hardware"]["base"]["quantization"] == "fp8")
    written = json.loads((tmp_path / document["path"]).read_text(encoding="utf-8"))
    assert written == document["plan"]
    assert document["plan"]["model"]["parameters_total"] == 7_615_616_512
    assert document["refusals"] == []


def test_a_price_gives_the_cost_of_the_run_with_its_error(tmp_path: Path) -> None:
    """In the currency of the price: GPU-hours times it, and the plan's own error either way."""
    words = ("--cpu", "--price-per-hour", "0.5")
    document = json.loads(plan(tmp_path, *words, "--json").stdout)
    cost, time = document["cost"], document["plan"]["time"]
    assert cost["of"] == "the full run"
    assert cost["gpu_hours"] == pytest.approx(time["total_seconds"] / 3600)
    assert cost["expected"] == pytest.approx(0.5 * cost["gpu_hours"])
    assert cost["upper"] == pytest.approx(cost["expected"] * (1 + time["relative_error"]))
    printed = plan(tmp_path, *words).stdout
    assert re.search(r"3 epochs, about \d+ s ± \d+ s\n +cost of the full run about 0\.00", printed)


def test_also_possible_are_plans_that_none_beats(tmp_path: Path) -> None:
    """Every row printed is one of the front in --json, and none is the chosen plan."""
    words = ("--model", "qwen2.5-7b", "--gpus", "2x H200")
    front = json.loads(plan(tmp_path, *words, "--json").stdout)["front"]
    settings = [row["setting"] for row in front if row["reason"] != "chosen"]
    lines = plan(tmp_path, *words).stdout.partition("Also possible")[2].splitlines()[1:]
    rows = [line for line in lines if re.search(r"\d\.\d\dx", line)]
    assert 2 <= len(rows) <= 5
    for row in rows:
        assert any(row.strip().startswith(setting) for setting in settings)


def test_a_mixed_machine_is_shown_card_by_card(tmp_path: Path) -> None:
    """Each kind with its own memory and precision, and which of them the plan uses."""
    done = plan(tmp_path, "--model", "qwen2.5-7b", "--gpus", "2x RTX 2080 Ti 22GiB + H200")
    assert "2x RTX 2080 Ti · 22.0 GiB each, 21.6 free · sm_75: fp16" in done.stdout
    assert "1x H200 · 141.0 GiB each, 139.7 free · sm_90: bf16" in done.stdout
    assert "uses 1x H200 of 2x RTX 2080 Ti + 1x H200" in done.stdout


def test_settings_carry_the_names_of_their_flags(tmp_path: Path) -> None:
    """What is pinned is kept, what is learned is as asked."""
    done = plan(
        tmp_path,
        *("--model", "qwen2.5-7b", "--gpus", "2x RTX 2080 Ti 22GiB", "--json"),
        *("--finetuning-type", "dora", "--lora-rank", "16", "--lora-alpha", "8"),
        *("--lora-target", "q_proj,v_proj", "--cutoff-len", "512", "--effective-batch", "8"),
        *("--epochs", "2", "--learning-rate", "1e-4", "--seed", "7", "--world-size", "2"),
        *("--micro-batch-size", "2", "--gradient-checkpointing", "on", "--attention", "eager"),
        *("--loss-kernel", "plain", "--quantization", "nf4", "--zero-stage", "0"),
        *("--output", "here.json"),
    )
    assert done.returncode == 0, done.stderr + done.stdout
    found = read_plan(tmp_path / "here.json")
    learning, hardware = found.learning, found.hardware
    assert (learning.method.finetuning_type, learning.method.lora_rank, learning.method.alpha) == (
        "dora",
        16,
        8.0,
    )
    assert learning.method.lora_target == ("q_proj", "v_proj")
    assert (learning.data.cutoff_len, learning.optimization.effective_batch_size) == (512, 8)
    assert (
        learning.optimization.num_train_epochs,
        learning.optimization.learning_rate,
        learning.seed,
    ) == (2, 1e-4, 7)
    assert (hardware.sharding.world_size, hardware.batch.micro_batch_size) == (2, 2)
    assert hardware.batch.gradient_accumulation_steps == 2
    assert hardware.batch.gradient_checkpointing
    assert (hardware.kernels.attention, hardware.kernels.loss_kernel) == ("eager", "plain")
    assert (hardware.base.quantization, hardware.sharding.zero_stage) == ("nf4", 0)
    assert hardware.base.autocast == "fp16"


def test_a_pipe_gets_the_same_words_without_colour_or_bars(tmp_path: Path) -> None:
    """What a person reads on a terminal is what a log keeps."""
    words = (
        "--model",
        "qwen2.5-7b",
        "--machine",
        str(ROOT / "configs/machines/1x-h200-141gib.yaml"),
    )
    piped = plan(tmp_path, *words).stdout
    assert "\x1b" not in piped
    assert "█" not in piped
    shown = on_a_terminal(tmp_path, *words)
    assert "\x1b[" in shown
    assert "█" in shown
    bare = re.sub("[█▏▎▍▌▋▊▉]", "", ANSI.sub("", shown)).replace("\r\n", "\n")
    assert [row.rstrip() for row in bare.splitlines()] == [
        row.rstrip() for row in piped.splitlines()
    ]


def on_a_terminal(folder: Path, *words: str) -> str:
    """What the verb writes to a terminal."""
    here, there = pty.openpty()
    with subprocess.Popen(
        line(*words),
        cwd=folder,
        env={**environment(folder), "TERM": "xterm-256color", "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        stdout=there,
        stderr=subprocess.DEVNULL,
    ) as child:
        os.close(there)
        chunks = []
        while True:
            try:
                chunk = os.read(here, 65536)
            except OSError:
                break
            if not chunk:
                break
            chunks.append(chunk)
        os.close(here)
        assert child.wait(timeout=60) == 0
    return b"".join(chunks).decode()


def test_nothing_fits_is_status_4_with_what_would_help(tmp_path: Path) -> None:
    """By how much, and the smallest changes, each with its number; no plan is written."""
    words = ("--model", "qwen2.5-72b", "--finetuning-type", "full", "--machine")
    done = plan(tmp_path, *words, str(ROOT / "configs/machines/1x-rtx-3090-24gib.yaml"))
    assert done.returncode == 4
    assert "NOTHING FITS" in done.stdout
    assert "72.71B needs" in done.stdout
    assert not (tmp_path / "saves").exists()


def test_nothing_fits_in_json_carries_the_numbers(tmp_path: Path) -> None:
    """The smallest plan, the free bytes, the remedies."""
    words = ("--model", "qwen2.5-14b", "--quantization", "none", "--json", "--streamed-layers", "0")
    done = plan(
        tmp_path,
        *words,
        "--zero-stage",
        "0",
        "--machine",
        str(ROOT / "configs/machines/1x-rtx-3090-24gib.yaml"),
    )
    assert done.returncode == 4
    document = json.loads(done.stdout)
    assert document["exit_status"] == 4
    smallest = document["smallest"]
    assert smallest["process_bytes"]["expected"] > smallest["free_bytes"] > 0
    assert "no pinned hardware settings" in [row["change"] for row in document["remedies"]]
    assert all(row["needs_bytes"] > 0 for row in document["remedies"])


def test_planning_imports_no_training_library(tmp_path: Path) -> None:
    """A plan answers fast because torch and its kind are never loaded."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *line("--json")[1:]],
        check=True,
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    loaded = {row.rpartition("|")[2].strip().partition(".")[0] for row in done.stderr.splitlines()}
    assert "tsplanner" in loaded
    assert not loaded.intersection(HEAVY)


def test_checkpoints_of_some_layers_are_said_with_the_models_number(tmp_path: Path) -> None:
    """Searched for, pinned, or ruled out by the flag beside checkpointing's own."""
    words = ("--model", "qwen2.5-14b", "--gpus", "RTX 6000 Ada", "--cutoff-len", "4096")
    assert re.search(r"checkpointing \d+ of 48 layers", plan(tmp_path, *words).stdout)
    pinned = plan(tmp_path, *words, "--checkpointed-layers", "40", "--output", "here.json").stdout
    assert "checkpointing 40 of 48 layers" in pinned
    assert read_plan(tmp_path / "here.json").hardware.batch.checkpointed_layers == 40
    assert "checkpointing on" in plan(tmp_path, *words, "--checkpointed-layers", "all").stdout


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--checkpointed-layers", "24"), "is not below the model's num_hidden_layers 24"),
        (("--checkpointed-layers", "0"), "must be at least 1"),
        (
            ("--checkpointed-layers", "3", "--gradient-checkpointing", "off"),
            "needs gradient_checkpointing",
        ),
    ],
)
def test_a_number_of_checkpoints_that_cannot_be_is_one_sentence(
    tmp_path: Path, flags: tuple[str, ...], reason: str
) -> None:
    """Not below the model's layers, none, or with checkpointing off."""
    done = plan(tmp_path, "--model", "qwen2.5-0.5b", "--gpus", "H200", *flags)
    assert done.returncode in (1, 2)
    assert reason in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 3


def test_advice_names_no_rank_that_the_matrices_are_too_small_for(tmp_path: Path) -> None:
    """Keys of the tiny model are 16 wide: ranks of 32 and more are no advice, and no bug."""
    tiny.write_model(tmp_path / "model")
    tiny.write_dataset(tmp_path / "rows.jsonl")
    words = ("--model", "model", "--dataset", "rows.jsonl", "--cutoff-len", "96", "--cpu")
    done = plan(tmp_path, *words, "--json")
    assert done.returncode == 0, done.stderr
    advised = {row["setting"]: row["value"] for row in json.loads(done.stdout)["advice"]}
    assert advised["lora_rank"] == 16
