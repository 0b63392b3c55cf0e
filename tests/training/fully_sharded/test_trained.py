"""A whole model that two processes train in slices learns what one process learns."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402
from torch.distributed.tensor import DTensor  # noqa: E402

from memory_models.settings import (  # noqa: E402
    DecoderKernels,
    Dtype,
    FinetuningType,
    LossKernel,
    Sharding,
    TrainingSettings,
    effective_settings,
    from_flat,
)
from memory_models.sharding.states import model_states  # noqa: E402
from memory_models.step_phases import StepPhase, phase_peaks  # noqa: E402
from tests.support import multi_lora, tiny  # noqa: E402
from tests.support.sliced_peak import CONFIG, POSITIONS  # noqa: E402
from tests.training.fully_sharded.test_sharded_curves import (  # noqa: E402
    ALONE,
    PACKED,
    PADDED,
    SHARED,
    STEPS,
    same,
    shared,
)
from tsplanner.models.source import read_architecture  # noqa: E402
from tsplanner.planner.plan import Plan  # noqa: E402
from tsplanner.probe.runner import run_job  # noqa: E402
from tsplanner.training.base_model.build import build_model  # noqa: E402
from tsplanner.training.fully_sharded.trained import (  # noqa: E402
    read_slices,
    share_out_trained,
    sliced_states,
    trains_slices,
    whole_states,
    whole_weights,
)
from tsplanner.training.job import Job, JobKind, Status  # noqa: E402

HOST = torch.device("cpu")
FUSED = {"decoder_kernels": DecoderKernels.FUSED, "loss_kernel": LossKernel.FUSED}
HALF = {"model_dtype": Dtype.BF16, "autocast": Dtype.BF16}


def full(folder: Path) -> Plan:
    """The tiny plan, whose every weight is trained."""
    return tiny.with_learning(tiny.plan(folder), finetuning_type=FinetuningType.FULL)


@pytest.fixture
def group() -> Iterator[None]:
    """A group of this process alone, without a port of the machine."""
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def sliced(folder: Path) -> Any:
    """The tiny model in slices, all of them here."""
    model = build_model(full(folder), HOST)
    share_out_trained(model, HOST, Sharding(fsdp=True))
    return model


@pytest.mark.usefixtures("group")
def test_every_weight_is_in_slices_and_written_whole(tmp_path: Path) -> None:
    """What is written is the model before it was cut, and is read back to the bit."""
    whole = build_model(full(tmp_path), HOST).state_dict()
    model = sliced(tmp_path)
    assert trains_slices(model)
    assert all(isinstance(each, DTensor) for each in model.parameters())
    found = whole_weights(model)
    assert found.keys() == whole.keys()
    assert all(torch.equal(each, whole[name]) for name, each in found.items())
    from safetensors.torch import save_file

    save_file({name: each + 1 for name, each in found.items()}, tmp_path / "model.safetensors")
    read_slices(model, tmp_path)
    assert all(torch.equal(each, whole[name] + 1) for name, each in whole_weights(model).items())


@pytest.mark.usefixtures("group")
def test_states_of_an_optimizer_go_whole_and_come_back_cut(tmp_path: Path) -> None:
    """Moments have the shape of their weight; a step's number stays a number."""
    model = sliced(tmp_path)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    ids = torch.arange(12).view(1, 12)
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    whole = whole_states(optimizer)
    assert not any(
        isinstance(each, DTensor) for values in whole["state"].values() for each in values.values()
    )
    again = torch.optim.AdamW(model.parameters(), lr=1e-3)
    again.load_state_dict(sliced_states(again, whole))
    for values, own in zip(again.state.values(), optimizer.state.values(), strict=True):
        assert isinstance(values["exp_avg"], DTensor)
        assert torch.equal(values["exp_avg"].full_tensor(), own["exp_avg"].full_tensor())
        assert values["step"] == own["step"] == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [{**PADDED, "gradient_checkpointing": True}, {**PACKED, **FUSED}],
    ids=["padded", "packed"],
)
def test_two_processes_train_a_whole_model_as_one_does(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    """Losses, and the norms of gradients that clipping sees; held-out rows are packed as well."""
    same(full(tmp_path), tmp_path, settings)


ADAPTERS = {"fsdp_whole_model": True, "lora_rank": 8}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trains", "settings"),
    [("whole", {"finetuning_type": FinetuningType.FULL}), ("adapters", ADAPTERS)],
)
@pytest.mark.parametrize(("which", "accumulated"), [("first", 1), ("second", 2)])
def test_formula_and_trace_agree_on_a_pass_in_slices(
    which: str, accumulated: int, trains: str, settings: dict[str, Any]
) -> None:
    """Six layers of 3.1 MB and tables of 8.2, in fp32 on two processes: within 2 % in forward and
    in backward, with gradients of an earlier pass and without.
    """
    command = ["--standalone", "--nproc-per-node", "2", "-m", "tests.support.sliced_peak"]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *command, which, trains],
        check=False,
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"static"')]
    assert lines, done.stderr[-2000:]
    found = json.loads(lines[0])
    shape = read_architecture(dict(CONFIG), name="small", source="test")
    asked = from_flat(
        TrainingSettings,
        fsdp=True,
        world_size=2,
        loss_kernel=LossKernel.FUSED,
        sequence_length=POSITIONS,
        model_dtype=Dtype.FP32,
        autocast=None,
        gradient_checkpointing=False,
        gradient_accumulation_steps=accumulated,
        **settings,
    )
    asked = effective_settings(asked)
    static = model_states(shape, asked.states).device
    phases = {each.phase: each.bytes for each in phase_peaks(shape, asked)}
    forward = max(phases[StepPhase.FORWARD], phases[StepPhase.FORWARD_LOSS])
    assert static == pytest.approx(found["static"], rel=0.02)
    assert static + forward == pytest.approx(found["static"] + found["forward"], rel=0.02)
    later = {StepPhase.LAST_LAYER, StepPhase.FIRST_LAYER, StepPhase.EMBEDDING, StepPhase.LOSS}
    backward = max(size for phase, size in phases.items() if phase in later)
    assert static + backward == pytest.approx(found["static"] + found["backward"], rel=0.02)


@pytest.mark.slow
def test_weights_in_half_precision_stay_within_its_rounding(tmp_path: Path) -> None:
    """Pure bf16, as one process trains a bf16 model whole, under compiled kernels."""
    compiled = {**FUSED, "decoder_kernels": DecoderKernels.COMPILED}
    same(full(tmp_path), tmp_path, {**PADDED, **HALF, **compiled}, 2e-2)


@pytest.mark.slow
def test_a_run_saves_a_whole_model_and_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    """The model is that of one process, and so is the one after the last checkpoint went."""
    plan = tiny.with_hardware(full(tmp_path), **PADDED, **SHARED)
    alone = tiny.with_hardware(plan, **{**PADDED, **ALONE, STEPS: 4})
    shared(plan, tmp_path / "run", JobKind.TRAIN)
    file = tmp_path / "run" / "model" / "model.safetensors"
    first = load_file(file)
    whole = tmp_path / "whole"
    whole.mkdir()
    record = multi_lora.run_here(Job(kind=JobKind.TRAIN, plan=alone, folder=str(whole)))
    assert record.status is Status.OK, record.message
    expected = load_file(whole / "model" / "model.safetensors")
    assert first.keys() == expected.keys()
    assert all(torch.allclose(each, expected[name], atol=2e-4) for name, each in first.items())
    architectures = [
        json.loads((folder / "model" / "config.json").read_text())["architectures"]
        for folder in (tmp_path / "run", whole)
    ]
    assert architectures[0] == architectures[1]
    made = (tmp_path / "run" / "checkpoints").iterdir()
    shutil.rmtree(max(made, key=lambda each: each.stat().st_mtime))
    again = Job(kind=JobKind.TRAIN, plan=plan, folder=str(tmp_path / "run"), threads=1, resume=True)
    record = run_job(again, time_limit_seconds=200)
    assert record.status is Status.OK, record.message
    second = load_file(file)
    assert all(torch.equal(each, first[name]) for name, each in second.items())
