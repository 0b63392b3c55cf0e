"""Six recorded runs of ChatTS: what they say, and what arithmetic makes of it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from memory_models.estimate import estimate_memory
from memory_models.settings import (
    Dtype,
    FinetuningType,
    Quantization,
    TrainingSettings,
    from_flat,
)
from memory_models.states.adapters import trainable_parameters
from memory_models.states.chatts_remote_code import as_released
from memory_models.states.storage import nf4_bytes
from memory_models.states.weights import (
    base_weight_bytes,
    embedding_parameters,
    quantized_linears,
    total_parameters,
)
from tests.support import forked
from tsplanner.models.source import read_model

ROOT = Path(__file__).resolve().parents[2]
GIB = 2**30
SIX = {
    "chatts-14b_rtx-6000_lora-r16": (65, 1.718),
    "chatts-14b_rtx-6000_lora-r16-20251228": (60, 1.609),
    "chatts-14b_rtx-2080-ti_qlora-r8": (78, 0.582),
    "chatts-14b_rtx-2080-ti_lora-r8-zero3": (42, 0.569),
    "chatts-8b_rtx-6000_lora-r8": (156, 0.934),
    "chatts-8b_rtx-2080-ti_qlora-r8": (78, 0.984),
}
CHATTS_14B = read_model("chatts-14b").architecture
CHATTS_8B = read_model("chatts-8b").architecture
QKV = ("q_proj", "k_proj", "v_proj")


def test_qlora_holds_9_30_gib_of_14b_and_not_7():
    """13,317,611,520 linears at 0.515869 bytes, embedding and head of 1,557,135,360 at two."""
    linears = sum(linear.weight_count * copies for linear, copies in quantized_linears(CHATTS_14B))
    one = next(linear for linear, _ in quantized_linears(CHATTS_14B))
    settings = from_flat(
        TrainingSettings,
        quantization=Quantization.NF4_DQ,
        model_dtype=Dtype.FP16,
        autocast=Dtype.FP16,
        upcast_unquantized=False,
    )

    assert linears == 13_317_611_520
    assert 2 * embedding_parameters(CHATTS_14B) == 1_557_135_360
    assert nf4_bytes(one.weight_count, double=True) / one.weight_count == pytest.approx(
        0.515869, abs=5e-5
    )
    assert base_weight_bytes(CHATTS_14B, settings.states) / GIB == pytest.approx(9.30, abs=0.005)
    assert base_weight_bytes(CHATTS_8B, settings.states) / GIB == pytest.approx(5.69, abs=0.005)
    released = base_weight_bytes(as_released(CHATTS_14B), settings.states)
    assert released / GIB == pytest.approx(10.05, abs=0.005)


def test_full_14b_needs_238_gb_and_not_80():
    """16 bytes for each of 14,876,137,488 parameters, before any activation."""
    settings = from_flat(
        TrainingSettings,
        finetuning_type=FinetuningType.FULL,
        model_dtype=Dtype.FP32,
        autocast=Dtype.FP16,
    )

    peak = estimate_memory(CHATTS_14B, settings).peak_allocated_bytes.expected

    assert 16 * total_parameters(CHATTS_14B) == 238_018_199_808
    assert 238.0e9 < peak < 1.1 * 238.0e9


@pytest.mark.parametrize(
    ("model", "total"),
    [
        ("chatts-14b", 14_876_137_488),
        ("chatts-8b", 8_258_946_064),
        ("chatts-14b-2024", 14_874_998_784),
    ],
)
def test_parameters_are_those_of_the_released_checkpoints(model, total):
    """The release of December 2024 has patches of 16 points and no positions of its own."""
    assert total_parameters(read_model(model).architecture) == total


@pytest.mark.parametrize(
    ("architecture", "rank", "trained"),
    [
        (CHATTS_14B, 8, 9_020_480),
        (CHATTS_14B, 16, 18_040_960),
        (CHATTS_8B, 8, 5_604_416),
        (CHATTS_8B, 16, 11_208_832),
    ],
)
def test_lora_trains_the_encoder_too(architecture, rank, trained):
    """q, k, v of every layer and the five linears of the encoder: no "under a million"."""
    settings = from_flat(TrainingSettings, lora_rank=rank, lora_target=QKV)

    assert trainable_parameters(architecture, settings.method) == trained


def plan(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the verb."""
    environment = {**os.environ, "TSPLANNER_STATE": str(folder / "state")}
    return forked.run_text(("plan", *words), folder, environment)


def test_plan_says_of_a_run_what_cannot_have_been(tmp_path):
    """Status 4 on the recorded machine, the machine that could, and the contradictions."""
    done = plan(tmp_path, "--experiment", "chatts-14b_rtx-6000_lora-r16")

    assert done.returncode == 4
    assert "NOTHING FITS" in done.stdout
    assert "Record   rtx6000_tune: 65 steps of 18.72 s, 1.718 samples/s" in done.stdout
    assert "✔ 65 steps: 418 rows, 32 per step, 5 epochs, rounded down" in done.stdout
    assert "✘ cannot work on 2x Quadro RTX 6000" in done.stdout
    assert "✔ works on 2x RTX 6000 Ada" in done.stdout
    assert "27.7 GiB of fp16 weights alone" in done.stdout


def test_plan_of_a_run_that_works_is_a_plan_with_its_settings(tmp_path):
    """Learning and hardware settings are the record's; what it leaves out the planner chooses."""
    done = plan(tmp_path, "--experiment", "chatts-14b_rtx-2080-ti_qlora-r8", "--json")

    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    made = document["plan"]
    assert made["learning"]["method"]["lora_target"] == ["q_proj", "k_proj", "v_proj"]
    assert made["hardware"]["base"]["quantization"] == "nf4-dq"
    assert made["hardware"]["sharding"]["world_size"] == 2
    assert made["hardware"]["batch"]["micro_batch_size"] == 1
    assert made["model"]["parameters_trainable"] == 9_020_480
    assert made["time"]["total_steps"] == 78
    found = document["experiment"]
    assert (found["steps_agree"], found["speed_agrees"]) == (True, True)
    assert [row["fits"] for row in found["machines"]] == [True, False]
    assert any("FlashAttention" in note for note in found["notes"])


def test_flash_attention_2_is_impossible_on_turing(tmp_path):
    """Whatever the record notes: the 2080 Ti has compute capability 7.5."""
    done = plan(
        tmp_path,
        "--experiment",
        "chatts-14b_rtx-2080-ti_qlora-r8",
        "--attention",
        "flash_attention_2",
    )

    assert done.returncode == 1
    assert "flash_attention_2 needs compute capability 8.0, the GPU has 7.5" in done.stderr


def test_a_typed_machine_takes_the_place_of_the_recorded_one(tmp_path):
    """The same run on cards of one's own."""
    words = ("--experiment", "chatts-14b_rtx-6000_lora-r16", "--machine", "2x-rtx-6000-ada-48gib")

    done = plan(tmp_path, *words)

    assert done.returncode == 0, done.stderr
    assert "FITS" in done.stdout
    assert "Quadro RTX 6000:" not in done.stdout


def test_without_a_name_the_runs_are_listed(tmp_path):
    """And an almost right name gets the one that was meant."""
    listed = plan(tmp_path, "--experiment").stdout
    wrong = plan(tmp_path, "--experiment", "chatts-8b_rtx-6000_lora")

    assert [line.split()[0] for line in listed.splitlines()] == sorted(SIX)
    assert wrong.returncode == 2
    assert 'Did you mean "chatts-8b_rtx-6000_lora-r8"?' in wrong.stderr
