"""Steps, cadence, early stopping and NEFTune on the real worker: one curve, whatever runs it."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support import multi_lora, tiny
from tests.training.packing.test_packed_curves import PACKED, PADDED, curve
from tests.training.test_same_curve import launched
from tests.training.worker.test_entry import finish, rows_of, start, wait_for_lines
from tsplanner.planner.plan import Plan
from tsplanner.training.job import Job, JobKind, Status

pytestmark = pytest.mark.slow

NOISY = {"neftune_noise_alpha": 20.0}


def noisy(folder: Path, **learning: Any) -> Plan:
    """The tiny plan with NEFTune."""
    folder.mkdir()
    return tiny.with_learning(tiny.plan(folder), **NOISY, **learning)


@pytest.mark.parametrize(
    "hardware",
    [
        {"micro_batch_size": 4, "gradient_accumulation_steps": 1},
        PACKED,
        {**PADDED, "gradient_checkpointing": True},
        {**PADDED, "gradient_checkpointing": True, "streamed_layers": 2},
        {**PACKED, "gradient_checkpointing": True, "streamed_layers": 2},
    ],
    ids=["one micro-batch", "packed", "checkpointed", "streamed", "streamed and packed"],
)
def test_noise_is_one_however_the_rows_are_dealt_out(
    tmp_path: Path, hardware: dict[str, Any]
) -> None:
    """Losses, norms and held-out losses; without noise they would be others."""
    plan = noisy(tmp_path / "plan")
    expected = curve(tiny.with_hardware(plan, **PADDED), tmp_path / "padded")
    found = curve(tiny.with_hardware(plan, **hardware), tmp_path / "other")
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, abs=1e-5, rel=1e-5)
    quiet = tiny.with_learning(plan, neftune_noise_alpha=None)
    without = curve(tiny.with_hardware(quiet, **PADDED), tmp_path / "quiet")
    assert without[0] != pytest.approx(expected[0], abs=1e-3)
    # The first evaluation has no noise, and comes before the first step.
    assert without[2][0] == expected[2][0]


TWO = {"world_size": 2, "micro_batch_size": 1, "gradient_accumulation_steps": 2}


@pytest.mark.parametrize(
    "hardware",
    [TWO, {**TWO, "token_budget": 96}, {**TWO, "fsdp": True}],
    ids=["two processes", "packed", "a shared-out base"],
)
def test_noise_is_one_on_two_processes(tmp_path: Path, hardware: dict[str, Any]) -> None:
    """It belongs to a row, whichever process has it."""
    plan = noisy(tmp_path / "plan")
    alone = launched(tiny.with_hardware(plan, **PADDED), tmp_path / "alone")
    found = launched(tiny.with_hardware(plan, **hardware), tmp_path / "two")
    for one, other in zip(found, alone, strict=True):
        assert one == pytest.approx(other, abs=1e-5)


@pytest.mark.parametrize("method", ["full", "dora", "adalora"])
def test_noise_reaches_every_method(tmp_path: Path, method: str) -> None:
    """Packed rows learn what padded ones do."""
    plan = noisy(tmp_path / "plan", finetuning_type=method)
    expected = curve(tiny.with_hardware(plan, **PADDED), tmp_path / "padded")
    found = curve(tiny.with_hardware(plan, **PACKED), tmp_path / "packed")
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, abs=1e-5, rel=1e-5)


def test_a_run_goes_on_from_the_middle_of_an_epoch(tmp_path: Path) -> None:
    """Checkpoints every 3 of 5 steps an epoch; noise after a kill is what it would have been."""
    plan = noisy(tmp_path / "plan", max_steps=32, save_steps=3, eval_steps=8)
    whole = finish(Job(kind=JobKind.TRAIN, plan=plan, folder=str(tmp_path / "whole"), threads=1))
    folder = tmp_path / "killed"
    process = start(Job(kind=JobKind.TRAIN, plan=plan, folder=str(folder), threads=1))
    wait_for_lines(folder, 12)
    process.send_signal(signal.SIGKILL)
    process.wait()
    resumed = finish(Job(kind=JobKind.TRAIN, plan=plan, folder=str(folder), threads=1, resume=True))
    assert resumed.status is Status.OK, resumed.message
    assert resumed.steps == whole.steps == 32
    assert [row["step"] for row in rows_of(folder) if "eval_loss" in row] == [0, 8, 16, 24, 32]
    assert resumed.losses.evaluations[-1].loss == pytest.approx(
        whole.losses.evaluations[-1].loss, abs=1e-5
    )


@pytest.mark.parametrize(
    ("learning", "steps"),
    [({"max_steps": 7}, 7), ({"num_train_epochs": 0.5}, 3), ({"num_train_epochs": 1.3}, 7)],
)
def test_a_trial_on_a_shared_base_is_as_long_as_alone(
    tmp_path: Path, learning: dict[str, Any], steps: int
) -> None:
    """Of five steps per epoch; with the same curve, its warm-up included."""
    plan = tiny.plan(tmp_path)
    (asked,) = multi_lora.trials(plan, ({**learning, "warmup_steps": 2},))
    multi_lora.alone(plan, asked, tmp_path / "alone")
    record = multi_lora.run_here(multi_lora.shared_job(plan, tmp_path / "shared", [asked]))
    assert record.status is Status.OK, record.message
    found, expected = (
        multi_lora.lines_in(folder) for folder in (tmp_path / "shared" / "0", tmp_path / "alone")
    )
    assert [line["step"] for line in found] == [line["step"] for line in expected]
    assert found[-1]["step"] == steps
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, abs=1e-5, rel=1e-5)


@pytest.mark.parametrize("shared", [False, True])
def test_a_full_run_ends_early_and_keeps_its_best_weights(tmp_path: Path, shared: bool) -> None:
    """A rate that drives the loss up ends after two evaluations behind the best one."""
    plan = tiny.with_learning(
        tiny.plan(tmp_path),
        learning_rate=0.5,
        num_train_epochs=40,
        eval_steps=2,
        early_stopping_patience=2,
    )
    folder = tmp_path / "run"
    if shared:
        job = multi_lora.shared_job(plan, folder, [plan.learning], kind=JobKind.TRAIN)
        multi_lora.run_here(job)
        folder = folder / "0"
        record = multi_lora.record_in(folder)
    else:
        record = multi_lora.run_here(Job(kind=JobKind.TRAIN, plan=plan, folder=str(folder)))
    assert record.status is Status.OK, record.message
    best = min(record.losses.evaluations, key=lambda each: each.loss)
    assert record.steps == best.step + 4 < 200
    assert record.message.startswith("ended early: no lower held-out loss in 2 evaluations")
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()
    assert (folder / "adapter-last" / "adapter_model.safetensors").is_file()
