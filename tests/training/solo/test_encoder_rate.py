"""A learning rate of its own for the time-series encoder."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memory_models.settings import FinetuningType, changed
from tests.support import tiny
from tests.support.chatts_plan import ENCODER_RATE, RATE, plan
from tsplanner.planner.plan import Plan
from tsplanner.probe.runner import METRICS_FILE, run_job
from tsplanner.runs import read_json_lines
from tsplanner.training.job import Job, JobKind, Status


def built(plan: Plan, folder: Path, kind: JobKind = JobKind.TRIAL) -> Any:
    """The Trainer of the plan, in this process."""
    from tsplanner.training.base_model.build import training_device
    from tsplanner.training.memory import MemoryMeter
    from tsplanner.training.solo.recorder import Recorder
    from tsplanner.training.worker.execute import build_trainer

    folder.mkdir(exist_ok=True)
    job = Job(kind=kind, plan=plan, folder=str(folder))
    recorder = Recorder(job, MemoryMeter(cuda=False))
    return build_trainer(job, recorder, training_device(plan.hardware), lambda: False)


def trained(trainer: Any) -> dict[str, Any]:
    """Copies of what is trained, by name."""
    return {
        name: parameter.detach().clone()
        for name, parameter in trainer.model.named_parameters()
        if parameter.requires_grad
    }


@pytest.mark.parametrize("method", [FinetuningType.LORA, FinetuningType.FULL])
def test_the_encoder_moves_by_its_own_rate_and_the_rest_by_theirs(
    tmp_path: Path, method: FinetuningType
) -> None:
    """One step of SGD is the rate times the gradient, parameter by parameter."""
    import torch
    from transformers import TrainerCallback

    trainer = built(plan(tmp_path, finetuning_type=method), tmp_path / "run")
    moves: dict[str, float] = {}

    class Watch(TrainerCallback):
        """Compares one step with the gradients it was made from."""

        def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
            """Keep where everything stands."""
            self.before = trained(trainer)
            self.gradients = {
                name: parameter.grad.clone()
                for name, parameter in trainer.model.named_parameters()
                if parameter.grad is not None
            }

        def on_optimizer_step(self, *_: Any, **__: Any) -> None:
            """Rate of every parameter that has moved."""
            after = trained(trainer)
            for name, gradient in self.gradients.items():
                if gradient.abs().max() > 1e-6:
                    rate = ENCODER_RATE if "ts_encoder" in name.split(".") else RATE
                    wanted = self.before[name] - rate * gradient
                    torch.testing.assert_close(after[name], wanted, rtol=1e-4, atol=1e-6)
                    moves[name] = rate

    trainer.add_callback(Watch())
    trainer.train()
    assert {RATE, ENCODER_RATE} == set(moves.values())


def test_the_scheduler_scales_both_rates_alike(tmp_path: Path) -> None:
    """A cosine from a first rate of 0.01 and 0.5: fifty to one at every step."""
    from transformers import TrainerCallback

    trainer = built(plan(tmp_path, lr_scheduler_type="cosine"), tmp_path / "run")
    seen = []

    class Watch(TrainerCallback):
        """Notes the rates of the groups that hold parameters."""

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            """The rates of this step."""
            groups = [group for group in trainer.optimizer.param_groups if group["params"]]
            seen.append([group["lr"] for group in groups])

    trainer.add_callback(Watch())
    trainer.train()
    assert seen[0] == [RATE, ENCODER_RATE]
    assert len({rates[0] for rates in seen}) == len(seen) == 4
    assert [rates[1] / rates[0] for rates in seen] == pytest.approx([50.0] * 4)


def test_without_it_the_optimizer_is_as_it_was(tmp_path: Path) -> None:
    """No group more, no rate but the global one."""
    trainer = built(plan(tmp_path, timeseries_lr=None), tmp_path / "run")
    assert {group["lr"] for group in trainer.create_optimizer().param_groups} == {RATE}


@pytest.mark.slow
def test_a_resumed_run_keeps_the_rate(tmp_path: Path) -> None:
    """Going on from the first epoch's checkpoint ends with the weights of the unbroken run."""
    import torch

    asked = plan(tmp_path)
    whole = built(asked, tmp_path / "run", JobKind.TRAIN)
    whole.train()
    checkpoints = tmp_path / "run" / "checkpoints"
    shutil.rmtree(checkpoints / "checkpoint-4")
    resumed = built(asked, tmp_path / "run", JobKind.TRAIN)
    resumed.train(resume_from_checkpoint=str(checkpoints / "checkpoint-2"))
    expected = trained(whole)
    for name, found in trained(resumed).items():
        torch.testing.assert_close(found, expected[name], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_two_ranks_learn_as_one_does(tmp_path: Path) -> None:
    """The groups are the same on every rank, so the curve is."""
    asked = plan(tmp_path)
    shared = changed(asked.hardware, world_size=2, gradient_accumulation_steps=1)
    losses = []
    for name, each in (("one", asked), ("two", replace(asked, hardware=shared))):
        job = Job(kind=JobKind.TRIAL, plan=each, folder=str(tmp_path / name), threads=1)
        record = run_job(job, time_limit_seconds=200)
        assert record.status is Status.OK, record.message
        rows = read_json_lines(tmp_path / name / METRICS_FILE)
        losses.append([float(str(row["loss"])) for row in rows if "loss" in row])
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)


def test_magnitudes_of_dora_do_not_decay(tmp_path: Path) -> None:
    """A decay to 0 would take the base along; the matrices decay towards it."""
    dora = tiny.with_learning(
        tiny.plan(tmp_path), finetuning_type=FinetuningType.DORA, weight_decay=0.1
    )
    trainer = built(dora, tmp_path / "run")
    names = trainer.get_decay_parameter_names(trainer.model)
    learned = [name for name in trained(trainer) if name in names]
    assert any("lora_A" in name for name in learned)
    assert any("lora_B" in name for name in learned)
    assert not any("lora_magnitude_vector" in name for name in names)
    decays = {
        id(each): group["weight_decay"]
        for group in trainer.create_optimizer().param_groups
        for each in group["params"]
    }
    for name, parameter in trainer.model.named_parameters():
        if parameter.requires_grad:
            assert decays[id(parameter)] == (0.0 if "magnitude" in name else 0.1)
