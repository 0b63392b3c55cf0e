"""A streamed base learns what a resident one learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from memory_models.settings import (
    DecoderKernels,
    Dtype,
    FinetuningType,
    LossKernel,
    Quantization,
)
from tests.support import multi_lora, tiny
from tests.support.chatts_plan import plan as chatts_plan
from tests.training.packing.test_packed_curves import numbers
from tests.training.test_same_curve import curve, launched
from tsplanner.planner.plan import Plan
from tsplanner.runs import read_json_lines
from tsplanner.training.job import Job, JobKind, Status
from tsplanner.training.worker import execute

BATCHES = {"micro_batch_size": 1, "gradient_accumulation_steps": 4, "gradient_checkpointing": True}
STREAMED = {"streamed_layers": 2}


def trained(plan: Plan, folder: Path) -> tuple[list[list[float]], bytes]:
    """Losses, norms and held-out losses of a full run, and the adapter that it saved."""
    folder.mkdir()
    record = multi_lora.run_here(Job(kind=JobKind.TRAIN, plan=plan, folder=str(folder)))
    assert record.status is Status.OK, record.message
    return numbers(folder), (folder / "adapter" / "adapter_model.safetensors").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    "hardware",
    [
        {},
        {"inputs_on_device": 0},
        {"streamed_layers": 3, "loss_kernel": LossKernel.FUSED},
        {"inputs_on_device": 1, "streamed_layers": 3},
        {"token_budget": 96, "inputs_on_device": 2},
        {"passes_together": 3},
        {"stream_from_files": True, "inputs_on_device": 0},
    ],
    ids=[
        "padded",
        "inputs in host memory",
        "all layers, fused loss",
        "inputs of one layer here, the others in host memory",
        "packed, inputs of two layers here",
        "three passes together",
        "from files",
    ],
)
@pytest.mark.parametrize("method", ["lora", "dora"])
def test_every_step_is_that_of_a_resident_base(
    tmp_path: Path, method: str, hardware: dict[str, Any]
) -> None:
    """In fp32 bit for bit: losses, norms of the gradients, held-out losses and adapter."""
    learning = {"finetuning_type": FinetuningType(method), "lora_dropout": 0.1}
    plan = tiny.with_learning(tiny.plan(tmp_path), num_train_epochs=1, **learning)
    streamed = tiny.with_hardware(plan, **BATCHES, **{**STREAMED, **hardware})
    resident = tiny.with_hardware(
        streamed,
        streamed_layers=0,
        inputs_on_device=None,
        passes_together=None,
        stream_from_files=False,
    )
    expected, adapter = trained(resident, tmp_path / "resident")
    found, other = trained(streamed, tmp_path / "streamed")
    assert len(expected[0]) > 3
    assert found == expected
    assert other == adapter


@pytest.mark.slow
@pytest.mark.parametrize("kernels", [DecoderKernels.FUSED, DecoderKernels.COMPILED])
def test_half_precision_and_our_kernels_round_alike(
    tmp_path: Path, kernels: DecoderKernels
) -> None:
    """What plans run by default on GPUs: bf16 and our own kernels, two rows in a micro-batch."""
    half = {"model_dtype": Dtype.BF16, "autocast": Dtype.BF16, "kernels": kernels}
    plan = tiny.with_learning(tiny.plan(tmp_path), num_train_epochs=1)
    two = {"micro_batch_size": 2, "gradient_accumulation_steps": 2, "gradient_checkpointing": True}
    resident = tiny.with_hardware(plan, **half, **two)
    expected, adapter = trained(resident, tmp_path / "resident")
    streamed = tiny.with_hardware(resident, streamed_layers=3, inputs_on_device=0)
    assert trained(streamed, tmp_path / "streamed") == (expected, adapter)


@pytest.mark.slow
def test_an_encoder_below_the_layers_is_trained_too_and_answers_are_checked(tmp_path: Path) -> None:
    """The adapters of ChatTS's encoder get their gradients from the first layer's input, and the
    trained model answers held-out rows with layers that come for every token.
    """
    plan = chatts_plan(tmp_path, validation_fraction=0.25)
    resident = tiny.with_hardware(plan, gradient_checkpointing=True)
    expected, adapter = trained(resident, tmp_path / "resident")
    streamed = tiny.with_hardware(resident, streamed_layers=2)
    assert trained(streamed, tmp_path / "streamed") == (expected, adapter)
    said = [(tmp_path / name / "values.jsonl").read_text() for name in ("resident", "streamed")]
    assert said[0] == said[1] != ""


@pytest.mark.slow
@pytest.mark.parametrize("scale", [2.0**8, 2.0**22], ids=["every step", "steps left out"])
def test_fp16_with_a_scaled_loss_steps_as_on_a_resident_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scale: float
) -> None:
    """Turing's arithmetic: every pass goes back from the scaled loss, gradients are unscaled before
    they are clipped, and a step whose gradients overflow is left out. On a CPU Trainer scales
    nothing, so the test gives it the scaler that it has on a GPU.
    """
    built, scalers = execute.build_trainer, []

    def scaled(*arguments: Any, **options: Any) -> Any:
        made = built(*arguments, **options)
        scalers.append(torch.amp.GradScaler("cpu", init_scale=scale))
        made.accelerator.scaler = scalers[-1]
        return made

    monkeypatch.setattr(execute, "build_trainer", scaled)
    half = {"model_dtype": Dtype.FP16, "autocast": Dtype.FP16}
    plan = tiny.with_learning(tiny.plan(tmp_path), num_train_epochs=1)
    resident = tiny.with_hardware(plan, **BATCHES, **half)
    streamed = tiny.with_hardware(resident, streamed_layers=3, inputs_on_device=0)
    found = []
    for name, each in (("resident", resident), ("streamed", streamed)):
        folder = tmp_path / name
        folder.mkdir()
        record = multi_lora.run_here(Job(kind=JobKind.TRAIN, plan=each, folder=str(folder)))
        adapter = (folder / "adapter" / "adapter_model.safetensors").read_bytes()
        # Where a step overflows its norm is no number.
        lines = [
            [line.get(key) for key in ("loss", "grad_norm", "eval_loss")]
            for line in read_json_lines(folder / "metrics.jsonl")
        ]
        found.append((record.status, lines, adapter))
    assert found[0][0] is Status.OK
    assert found[1] == found[0]
    ends = [scaler.get_scale() for scaler in scalers]
    assert ends[0] == ends[1]
    assert (ends[0] < scale) is (scale > 2.0**20)


@pytest.mark.slow
@pytest.mark.parametrize(
    "base",
    [
        {},
        {"quantization": Quantization.NF4_DQ},
        {"stream_from_files": True},
        {"streamed_layers": (1, 3), "inputs_on_device": 1},
        {"streamed_layers": (3, 2), "quantization": Quantization.NF4_DQ},
        {"streamed_layers": (2, 1), "stream_from_files": True},
    ],
    ids=[
        "plain",
        "nf4-dq",
        "from files",
        "one layer and three",
        "three layers and two, nf4-dq",
        "two layers and one, from files",
    ],
)
def test_two_processes_learn_what_one_learns(tmp_path: Path, base: dict[str, Any]) -> None:
    """Each streams for its own rows, as many layers as the plan says of it; the adapters' gradients
    are joined once per step.
    """
    plan = tiny.with_learning(tiny.plan(tmp_path), num_train_epochs=1)
    one = {"micro_batch_size": 1, "gradient_accumulation_steps": 4, "gradient_checkpointing": True}
    form = {"quantization": base.get("quantization"), "upcast_unquantized": False}
    resident = tiny.with_hardware(plan, **one, **form)
    two = {"world_size": 2, "gradient_accumulation_steps": 2, "streamed_layers": 3}
    streamed = tiny.with_hardware(resident, **{**two, **base})
    expected, record = curve(resident, tmp_path / "one")
    losses, held_out = launched(streamed, tmp_path / "two")
    assert losses == pytest.approx(expected, abs=2e-4)
    assert held_out == pytest.approx([e.loss for e in record.losses.evaluations], abs=2e-4)


@pytest.mark.slow
def test_a_run_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    """Stopped in the middle and resumed, dropout and all, it ends as the whole run does."""
    from tsplanner.training.worker.base_model_cache import KeptBase
    from tsplanner.training.worker.execute import execute_one
    from tsplanner.training.worker.stop_switch import StopSwitch

    plan = tiny.with_learning(tiny.plan(tmp_path), num_train_epochs=2, lora_dropout=0.1)
    plan = tiny.with_hardware(plan, **BATCHES, streamed_layers=3)
    expected, adapter = trained(plan, tmp_path / "whole")
    folder = tmp_path / "parts"
    folder.mkdir()
    steps = len(expected[0]) // 2
    job = Job(kind=JobKind.TRAIN, plan=plan, folder=str(folder))
    (folder / "job.json").write_bytes(msgspec.json.encode(job))

    class AfterSteps(StopSwitch):
        """Stops a run in the middle."""

        def __call__(self) -> bool:
            """Whether half of the steps are noted."""
            metrics = folder / "metrics.jsonl"
            return metrics.is_file() and len(numbers(folder)[0]) >= steps

    assert execute_one(folder / "job.json", AfterSteps(), KeptBase()) == 0
    assert multi_lora.record_in(folder).status is Status.STOPPED
    record = multi_lora.run_here(replace(job, resume=True))
    assert record.status is Status.OK, record.message
    assert numbers(folder) == expected
    assert (folder / "adapter" / "adapter_model.safetensors").read_bytes() == adapter


@pytest.mark.slow
@pytest.mark.parametrize("has_weights", [True, False], ids=["of a folder", "drawn"])
@pytest.mark.parametrize("form", list(Quantization))
def test_a_quantised_base_is_streamed_as_it_is_packed(
    tmp_path: Path, form: Quantization, has_weights: bool
) -> None:
    """Every step is that of a resident base in the same form."""
    plan = tiny.with_learning(tiny.plan(tmp_path), num_train_epochs=1)
    half = {"model_dtype": Dtype.BF16, "autocast": Dtype.BF16, "quantization": form}
    half |= {"upcast_unquantized": False, "kernels": DecoderKernels.FUSED}
    resident = tiny.with_hardware(plan, **BATCHES, **half)
    where = {"has_weights": has_weights, "tokenizer": plan.model.path}
    resident = replace(resident, model=replace(resident.model, **where))
    expected, adapter = trained(resident, tmp_path / "resident")
    streamed = tiny.with_hardware(resident, streamed_layers=2, inputs_on_device=0)
    assert trained(streamed, tmp_path / "streamed") == (expected, adapter)


@pytest.mark.slow
@pytest.mark.parametrize("form", [Quantization.NF4, Quantization.NF4_DQ])
def test_dora_measures_packed_matrices_as_they_come(tmp_path: Path, form: Quantization) -> None:
    """The magnitudes are the norms of the dequantised rows, not of what was shown meanwhile."""
    learning = {"finetuning_type": FinetuningType.DORA, "num_train_epochs": 1}
    plan = tiny.with_learning(tiny.plan(tmp_path), **learning)
    form_ = {"quantization": form, "upcast_unquantized": False}
    resident = tiny.with_hardware(plan, **BATCHES, **form_)
    expected, adapter = trained(resident, tmp_path / "resident")
    streamed = tiny.with_hardware(resident, streamed_layers=3)
    assert trained(streamed, tmp_path / "streamed") == (expected, adapter)
