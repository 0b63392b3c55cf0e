"""Two plans with the same learning settings give the same loss curve."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import tiny

from memory_models.settings import FinetuningType, LossKernel
from tsplanner.planner.plan import Plan
from tsplanner.training.job import Job, JobKind, Record

HARDWARE = {
    "micro-batch 1 x 4": {"micro_batch_size": 1, "gradient_accumulation_steps": 4},
    "micro-batch 4 x 1": {"micro_batch_size": 4, "gradient_accumulation_steps": 1},
    "checkpointing": {"gradient_checkpointing": True},
    "fused loss": {"loss_kernel": LossKernel.FUSED},
}


def curve(plan: Plan, folder: Path) -> tuple[list[float], Record]:
    """Training losses of every step, and the record, trained in this process."""
    from tsplanner.training.data import load_rows
    from tsplanner.training.execute import build_trainer
    from tsplanner.training.job import Status
    from tsplanner.training.memory import MemoryMeter
    from tsplanner.training.model import load_tokenizer, model_config, training_device
    from tsplanner.training.recorder import Recorder

    folder.mkdir()
    job = Job(kind=JobKind.TRIAL, plan=plan, folder=str(folder))
    recorder = Recorder(job, MemoryMeter(cuda=False))
    assert len(load_rows(plan, load_tokenizer(plan.model), model_config(plan.model)).train) == 18
    build_trainer(job, recorder, training_device(plan.hardware), lambda: False).train()
    return recorder.losses, recorder.finish(Status.OK)


@pytest.mark.slow
@pytest.mark.parametrize("method", [FinetuningType.LORA, FinetuningType.ADALORA])
def test_hardware_settings_do_not_change_the_loss_curve(
    tmp_path: Path, method: FinetuningType
) -> None:
    """Micro-batch, accumulation, checkpointing and the loss kernel only move speed and memory."""
    base = tiny.with_learning(tiny.plan(tmp_path), finetuning_type=method)
    expected, record = curve(base, tmp_path / "base")
    assert len(expected) == 10
    for name, changes in HARDWARE.items():
        losses, other = curve(tiny.with_hardware(base, **changes), tmp_path / name)
        assert losses == pytest.approx(expected, abs=2e-4), name
        assert [e.loss for e in other.evaluations] == pytest.approx(
            [e.loss for e in record.evaluations], abs=2e-4
        ), name


@pytest.mark.slow
def test_data_order_depends_on_the_seed_alone(tmp_path: Path) -> None:
    """Another learning rate sees the same rows in the same order; another seed does not."""
    base = tiny.plan(tmp_path)
    first, _ = curve(base, tmp_path / "a")
    again, _ = curve(tiny.with_learning(base, learning_rate=5e-5), tmp_path / "b")
    other, _ = curve(tiny.with_learning(base, seed=7), tmp_path / "c")
    # The first step comes before any update of the weights.
    assert again[0] == pytest.approx(first[0], abs=1e-6)
    assert other[0] != pytest.approx(first[0], abs=1e-6)


def test_job_survives_its_file(tmp_path: Path) -> None:
    """A job read back from job.json equals the one that was written."""
    job = Job(kind=JobKind.TRAIN, plan=tiny.plan(tmp_path), folder="x", resume=True)
    assert msgspec.json.decode(msgspec.json.encode(job), type=Job) == job
