"""Two plans with the same learning settings give the same loss curve."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from memory_models.settings import DecoderKernels, Dtype, FinetuningType, LossKernel
from tests.support import tiny
from tsplanner.planner.plan import Plan
from tsplanner.probe.runner import METRICS_FILE, run_job
from tsplanner.runs import read_json_lines
from tsplanner.training.job import Job, JobKind, Status
from tsplanner.training.record import Record

if TYPE_CHECKING:
    from tsplanner.training.solo.recorder import Recorder

HARDWARE = {
    "micro-batch 1 x 4": {"micro_batch_size": 1, "gradient_accumulation_steps": 4},
    "micro-batch 4 x 1": {"micro_batch_size": 4, "gradient_accumulation_steps": 1},
    "checkpointing": {"gradient_checkpointing": True},
    "some layers checkpointed": {"gradient_checkpointing": True, "checkpointed_layers": 1},
    "fused loss": {"loss_kernel": LossKernel.FUSED},
}


TWO_RANKS = {
    "micro-batch 1 x 2": {"micro_batch_size": 1, "gradient_accumulation_steps": 2},
    "fused loss": {
        "micro_batch_size": 2,
        "gradient_accumulation_steps": 1,
        "loss_kernel": LossKernel.FUSED,
    },
}
HALF = {"model_dtype": Dtype.BF16, "autocast": Dtype.BF16}


def with_weights(plan: Plan) -> Plan:
    """The plan on a checkpoint: under ZeRO-3 random weights are drawn shard by shard."""
    import torch

    from tsplanner.training.base_model.build import build_model

    assert plan.model.path is not None
    build_model(plan, torch.device("cpu")).save_pretrained(plan.model.path)
    return replace(plan, model=replace(plan.model, has_weights=True))


def launched(plan: Plan, folder: Path) -> tuple[list[float], list[float]]:
    """Training and held-out losses of a plan, trained as the commands do."""
    job = Job(kind=JobKind.TRIAL, plan=plan, folder=str(folder), threads=1)
    record = run_job(job, time_limit_seconds=200)
    assert record.status is Status.OK, record.message
    assert len(record.processes) == (2 if plan.hardware.sharding.world_size == 2 else 0)
    rows = read_json_lines(folder / METRICS_FILE)
    losses = [float(str(row["loss"])) for row in rows if "loss" in row]
    return losses, [evaluation.loss for evaluation in record.losses.evaluations]


def trained(plan: Plan, folder: Path) -> tuple[Any, Recorder]:
    """The Trainer of a plan after training in this process, and what it noted."""
    from tsplanner.training.base_model.build import training_device
    from tsplanner.training.base_model.configuration import model_config
    from tsplanner.training.base_model.tokenizer import load_tokenizer
    from tsplanner.training.data import load_rows
    from tsplanner.training.memory import MemoryMeter
    from tsplanner.training.solo.recorder import Recorder
    from tsplanner.training.worker.execute import build_trainer

    folder.mkdir()
    job = Job(kind=JobKind.TRIAL, plan=plan, folder=str(folder))
    recorder = Recorder(job, MemoryMeter(cuda=False))
    assert len(load_rows(plan, load_tokenizer(plan.model), model_config(plan.model)).train) == 18
    built = build_trainer(job, recorder, training_device(plan.hardware), lambda: False)
    built.train()
    return built, recorder


def curve(plan: Plan, folder: Path) -> tuple[list[float], Record]:
    """Training losses of every step, and the record, trained in this process."""
    _, recorder = trained(plan, folder)
    return recorder.losses, recorder.finish(Status.OK)


def test_a_plan_of_two_checkpointed_layers_trains_with_two(tmp_path: Path) -> None:
    """Of three; Trainer itself switches checkpointing on for all of them."""
    from tsplanner.training.adapters import decoder_layers

    changes = {"gradient_checkpointing": True, "checkpointed_layers": 2}
    built, _ = trained(tiny.with_hardware(tiny.plan(tmp_path), **changes), tmp_path / "run")
    _, layers = decoder_layers(built.model)
    assert [layer.gradient_checkpointing for layer in layers] == [True, True, False]


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
        assert [e.loss for e in other.losses.evaluations] == pytest.approx(
            [e.loss for e in record.losses.evaluations], abs=2e-4
        ), name


@pytest.mark.slow
def test_two_ranks_learn_what_one_process_learns(tmp_path: Path) -> None:
    """DDP over two ranks sees the same rows in the same steps, and weighs their tokens alike."""
    base = tiny.plan(tmp_path)
    expected, record = curve(base, tmp_path / "base")
    for name, changes in TWO_RANKS.items():
        plan = tiny.with_hardware(base, world_size=2, **changes)
        losses, held_out = launched(plan, tmp_path / name)
        assert losses == pytest.approx(expected, abs=2e-4), name
        assert held_out == pytest.approx([e.loss for e in record.losses.evaluations], abs=2e-4), (
            name
        )


@pytest.mark.slow
def test_fused_kernels_learn_what_the_reference_learns_on_two_ranks(tmp_path: Path) -> None:
    """What plans run by default on GPUs stays within what bf16 rounds off."""
    base = tiny.with_hardware(tiny.plan(tmp_path), **HALF)
    expected, record = curve(base, tmp_path / "base")
    two = {"world_size": 2, "micro_batch_size": 1, "gradient_accumulation_steps": 2}
    plan = tiny.with_hardware(base, kernels=DecoderKernels.FUSED, **two)
    losses, held_out = launched(plan, tmp_path / "fused")
    assert losses == pytest.approx(expected, abs=2e-2)
    assert held_out == pytest.approx([e.loss for e in record.losses.evaluations], abs=2e-2)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [2, 3])
def test_zero_learns_what_one_process_learns_in_its_precision(
    tmp_path: Path, stage: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sharded over two ranks, the losses stay within what bf16 rounds off."""
    pytest.importorskip("deepspeed")
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    base = with_weights(tiny.with_hardware(tiny.plan(tmp_path), **HALF))
    expected, record = curve(base, tmp_path / "base")
    two = {"world_size": 2, "micro_batch_size": 1, "gradient_accumulation_steps": 2}
    plan = tiny.with_hardware(base, zero_stage=stage, **two)
    losses, held_out = launched(plan, tmp_path / "zero")
    assert losses == pytest.approx(expected, abs=2e-2)
    assert held_out == pytest.approx([e.loss for e in record.losses.evaluations], abs=2e-2)


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
