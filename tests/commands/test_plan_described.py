"""Plans for machines that are only described: nothing of this computer enters or runs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support import forked
from tests.support.planning import environment, plan

CARDS = ("--model", "qwen2.5-0.5b", "--gpus", "2x RTX 3090")


def test_ram_that_decides_and_that_nobody_stated_is_the_first_thing_shown(tmp_path: Path) -> None:
    """7B in fp16 is streamed to a T4 from little RAM; with more of it more layers would be."""
    words = ("--model", "qwen2.5-7b", "--gpus", "T4")
    done = plan(tmp_path, *words)
    assert done.returncode == 0, done.stdout
    assert done.stdout.split("\n")[1].startswith("! 16 GiB of host RAM are assumed")
    assert "16.0 GiB RAM assumed" in done.stdout
    assert "lora r=8 on fp16 · one GPU + 24 layers streamed" in done.stdout
    stated = plan(tmp_path, *words, "--host-memory", "1TiB").stdout
    assert "RAM are assumed" not in stated
    assert "1,024.0 GiB RAM, 1,022.0 free" in stated
    assert "lora r=8 on fp16 · one GPU + 28 layers streamed" in stated


def test_what_fits_a_rig_does_not_depend_on_this_computer(tmp_path: Path) -> None:
    """32B on eight A100 and 7B on eight RTX 3090, trained whole, fit what such machines have."""
    for model, gpus in (("qwen2.5-32b", "8x A100 80GB"), ("qwen2.5-7b", "8x RTX 3090")):
        done = plan(tmp_path, "--model", model, "--gpus", gpus, "--finetuning-type", "full")
        assert "✔ FITS   full on bf16 with fp32 masters · ZeRO-3 x8" in done.stdout


def test_where_ram_is_short_it_is_named_before_the_cards(tmp_path: Path) -> None:
    """What is needed, what there is, and the flag that states it."""
    words = ("--model", "llama-3.1-70b", "--gpus", "8x A100 80GB", "--finetuning-type", "full")
    done = plan(tmp_path, *words)
    assert done.returncode == 4
    assert "GiB of host RAM (95 %: " in done.stdout
    remedies = done.stdout.partition("What would make it fit")[2].splitlines()
    assert "--host-memory" in remedies[0]
    assert "2 machines of this kind" in done.stdout
    assert all("per card)" in row or "of host RAM)" in row for row in remedies if row.strip())


def test_the_next_step_is_not_taken_on_this_computer(tmp_path: Path) -> None:
    """The plan goes to the machine, or a job for it is written here."""
    told = plan(tmp_path, *CARDS).stdout.partition("Next   ")[2]
    assert told.startswith("copy saves/qwen2.5-0.5b/plan.json to that machine")
    assert "tsplanner export torchrun --plan saves/qwen2.5-0.5b/plan.json" in told


def test_what_was_not_asked_for_is_not_refused_to_anybody(tmp_path: Path) -> None:
    """FlashAttention is no matter unless it is pinned: then that machine is taken to have it."""
    assert "Refused" not in plan(tmp_path, *CARDS).stdout
    assert "Refused" not in plan(tmp_path, *CARDS, "--finetuning-type", "full").stdout
    pinned = plan(tmp_path, *CARDS, "--attention", "flash_attention_2")
    assert pinned.returncode == 0
    assert "Refused" not in pinned.stdout
    assert "needs the package flash-attn on that machine" in " ".join(pinned.stdout.split())


@pytest.mark.parametrize("verb", ["probe", "train", "tune"])
def test_no_worker_starts_for_gpus_that_are_not_here(verb: str, tmp_path: Path) -> None:
    """One sentence, and neither a run folder nor a probe's record."""
    (tmp_path / "rows.jsonl").write_text('{"instruction": "a", "output": "b"}\n' * 20)
    plan(tmp_path, *CARDS, "--dataset", "rows.jsonl")
    saved = sorted(path.name for path in (tmp_path / "saves" / "qwen2.5-0.5b").iterdir())
    # The preset has no weights, which a probe does not mind.
    done = run(tmp_path, verb, *(() if verb == "probe" else ("--random-weights",)))
    assert done.returncode == 1
    assert nothing_but_the_plan(done.stdout)
    assert done.stderr.count("\n") == 1
    assert "The plan is for 2x RTX 3090, and this machine has no GPU to use" in done.stderr
    assert sorted(path.name for path in (tmp_path / "saves" / "qwen2.5-0.5b").iterdir()) == saved


@pytest.mark.parametrize("verb", ["train", "tune"])
def test_nothing_is_trained_without_a_dataset(verb: str, tmp_path: Path) -> None:
    """The command that would plan with one is named, and none to resume what never ran."""
    plan(tmp_path, "--model", "smollm2-135m", "--cpu")
    done = run(tmp_path, verb)
    assert done.returncode == 1
    assert nothing_but_the_plan(done.stdout)
    assert "names no dataset, so there is nothing to train on: plan again with" in done.stderr
    assert "--resume" not in done.stderr
    assert [path.name for path in (tmp_path / "saves" / "smollm2-135m").iterdir()] == ["plan.json"]


def nothing_but_the_plan(printed: str) -> bool:
    """Whether a refused verb printed at most the line that names its plan and the plan's age."""
    lines = printed.splitlines()
    return len(lines) <= 1 and all(line.startswith("plan   saves/") for line in lines)


def run(folder: Path, verb: str, *words: str) -> subprocess.CompletedProcess[str]:
    """The verb on the newest plan, on a computer whose GPUs are hidden."""
    hidden = {**environment(folder), "CUDA_VISIBLE_DEVICES": ""}
    return forked.run_text((verb, *words), folder, hidden)
