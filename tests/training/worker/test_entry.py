"""The worker, in processes of its own: what it writes, how it ends, that it can go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from memory_models.settings import FinetuningType, LossKernel, Quantization
from tests.support import tiny
from tsplanner.planner.plan import Plan
from tsplanner.training.job import Job, JobKind, Status
from tsplanner.training.record import Record, parse_record, record_so_far

pytestmark = pytest.mark.slow


def start(job: Job) -> subprocess.Popen[bytes]:
    """Start the worker of a job as the runner does."""
    folder = Path(job.folder)
    folder.mkdir(exist_ok=True)
    (folder / "job.json").write_bytes(msgspec.json.encode(job))
    command = [sys.executable, "-m", "tsplanner.training.worker", str(folder / "job.json")]
    with (folder / "worker.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def finish(job: Job) -> Record:
    """Run a job to its end."""
    process = start(job)
    process.wait(timeout=200)
    return record_of(Path(job.folder))


def record_of(folder: Path) -> Record:
    """The record a worker left."""
    return parse_record((folder / "record.json").read_bytes())


def rows_of(folder: Path) -> list[dict[str, float]]:
    """The lines of metrics.jsonl."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def wait_for_lines(folder: Path, count: int) -> None:
    """Wait until a run has logged some steps."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        path = folder / "metrics.jsonl"
        if path.exists() and len(path.read_text().splitlines()) >= count:
            return
        time.sleep(0.02)
    raise AssertionError((folder / "worker.log").read_text())


def test_full_run_writes_metrics_record_checkpoints_and_an_adapter_peft_can_load(
    tmp_path: Path,
) -> None:
    """A finished run leaves curves, figures, and an adapter that plain PEFT reads."""
    plan = tiny.plan(tmp_path)
    folder = tmp_path / "run"
    record = finish(Job(kind=JobKind.TRAIN, plan=plan, folder=str(folder), threads=1))
    assert record.status is Status.OK, record.message
    # 18 rows of 4 a step: 5 steps an epoch, 2 epochs, one evaluation each and one at the start.
    assert record.steps == 10
    assert [evaluation.step for evaluation in record.losses.evaluations] == [5, 10]
    assert record.losses.start_eval_loss is not None
    assert record.losses.evaluations[-1].loss < record.losses.start_eval_loss
    steps = [row["step"] for row in rows_of(folder) if "loss" in row]
    assert steps == list(range(1, 11))
    assert record.memory.process_bytes is not None
    assert record.memory.baseline_bytes is not None
    assert record.memory.process_bytes >= record.memory.baseline_bytes
    assert (folder / "checkpoints" / "checkpoint-10" / "trainer_state.json").is_file()
    assert not list((folder / "adapter").glob("*.bin"))
    assert adapter_parameters(plan, folder / "adapter") == adapter_parameter_count()


def adapter_parameter_count() -> int:
    """Rank 4 on every linear of 3 layers: q, k, v, o, gate, up and down of a 32-64 model."""
    layer = (32 + 32) + (32 + 16) + (32 + 16) + (32 + 32) + (32 + 64) * 2 + (64 + 32)
    return 3 * 4 * layer


def adapter_parameters(plan: Plan, folder: Path) -> int:
    """Elements of an adapter, loaded by PEFT onto a base built from the plan."""
    import torch
    from peft import PeftModel

    from tsplanner.training.base_model.build import build_model

    base = build_model(plan, torch.device("cpu"))
    model = PeftModel.from_pretrained(base, str(folder))
    return sum(p.numel() for name, p in model.named_parameters() if "lora_" in name)


def test_killed_run_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    """After kill -9 a run resumes, and ends with the loss it would have had."""
    plan = tiny.with_learning(tiny.plan(tmp_path), num_train_epochs=8)
    whole = finish(Job(kind=JobKind.TRAIN, plan=plan, folder=str(tmp_path / "whole"), threads=1))
    folder = tmp_path / "killed"
    process = start(Job(kind=JobKind.TRAIN, plan=plan, folder=str(folder), threads=1))
    wait_for_lines(folder, 14)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "record.json").exists()
    resumed = finish(Job(kind=JobKind.TRAIN, plan=plan, folder=str(folder), threads=1, resume=True))
    assert resumed.status is Status.OK, resumed.message
    assert resumed.steps == whole.steps == 40
    assert resumed.losses.evaluations[-1].loss == pytest.approx(
        whole.losses.evaluations[-1].loss, abs=1e-5
    )
    steps = [row["step"] for row in rows_of(folder) if "loss" in row]
    assert steps == list(range(1, 41))
    # As if it had been killed once more, after its last step: nothing is left to train.
    (folder / "record.json").unlink()
    so_far = parse_record(record_so_far(folder / "checkpoints" / "checkpoint-40", 0).read_bytes())
    again = finish(Job(kind=JobKind.TRAIN, plan=plan, folder=str(folder), threads=1, resume=True))
    assert again.status is Status.OK, again.message
    assert (again.steps, len(again.timing.step_seconds)) == (40, 40)
    assert again.timing.seconds == pytest.approx(resumed.timing.seconds, abs=0.01)
    assert again.timing.samples_per_second == resumed.timing.samples_per_second
    assert (again.memory.process_bytes or 0) >= (so_far.memory.process_bytes or 0) > 2**20


@pytest.mark.parametrize("how", ["file", "signal"])
def test_run_stops_after_the_step_at_hand_when_asked(tmp_path: Path, how: str) -> None:
    """A stop file or SIGTERM ends a trial early with a record that says so."""
    plan = tiny.with_learning(tiny.plan(tmp_path), num_train_epochs=400)
    folder = tmp_path / "run"
    process = start(Job(kind=JobKind.TRIAL, plan=plan, folder=str(folder), threads=1))
    wait_for_lines(folder, 3)
    if how == "file":
        (folder / "stop").touch()
    else:
        process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    record = record_of(folder)
    assert record.status is Status.STOPPED
    assert 3 <= record.steps < 2000
    assert not (folder / "adapter").exists()


def test_worker_ends_when_its_parent_dies(tmp_path: Path) -> None:
    """A worker whose parent was killed does not train on for nobody."""
    plan = tiny.with_learning(tiny.plan(tmp_path), num_train_epochs=400)
    folder = tmp_path / "run"
    folder.mkdir()
    job = Job(kind=JobKind.TRIAL, plan=plan, folder=str(folder), threads=1)
    (folder / "job.json").write_bytes(msgspec.json.encode(job))
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-m', 'tsplanner.training.worker', "
        f"{str(folder / 'job.json')!r}])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    wait_for_lines(folder, 3)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and Path(f"/proc/{worker}").exists():
        time.sleep(0.1)
    assert not alive(worker)


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    import psutil

    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_loss_that_is_no_number_is_reported(tmp_path: Path) -> None:
    """A diverged run ends with a sentence, not with a curve of averages."""
    plan = tiny.with_learning(
        tiny.plan(tmp_path),
        finetuning_type=FinetuningType.FULL,
        learning_rate=1e30,
        max_grad_norm=0.0,
    )
    record = finish(Job(kind=JobKind.TRIAL, plan=plan, folder=str(tmp_path / "run"), threads=1))
    assert record.status is Status.DIVERGED
    assert "lower the learning rate" in record.message
    assert msgspec.json.decode((tmp_path / "run" / "record.json").read_bytes())


def test_unknown_target_is_named_with_what_there_is(tmp_path: Path) -> None:
    """A lora_target the model lacks is one sentence with a suggestion."""
    plan = tiny.with_learning(tiny.plan(tmp_path), lora_target=("q_porj",))
    record = finish(Job(kind=JobKind.TRIAL, plan=plan, folder=str(tmp_path / "run"), threads=1))
    assert record.status is Status.CRASHED
    assert 'Did you mean "q_proj"?' in record.message


METHODS = {
    "lora": (FinetuningType.LORA, None),
    "qlora": (FinetuningType.LORA, Quantization.NF4),
    "dora": (FinetuningType.DORA, None),
    "adalora": (FinetuningType.ADALORA, None),
    "full": (FinetuningType.FULL, None),
    "freeze": (FinetuningType.FREEZE, None),
}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_three_steps_on_the_cpu(tmp_path: Path, name: str) -> None:
    """LoRA, QLoRA, DoRA, AdaLoRA, full and freeze run through the one worker."""
    method, quantization = METHODS[name]
    plan = tiny.plan(tmp_path)
    plan = tiny.with_learning(
        plan, finetuning_type=method, effective_batch_size=8, num_train_epochs=1
    )
    plan = tiny.with_hardware(
        plan,
        quantization=quantization,
        gradient_accumulation_steps=4,
        loss_kernel=LossKernel.FUSED,
    )
    folder = tmp_path / "run"
    record = finish(Job(kind=JobKind.TRAIN, plan=plan, folder=str(folder), threads=1))
    assert record.status is Status.OK, record.message
    assert record.steps == 3  # 18 rows of 8
    assert record.losses.start_eval_loss is not None
    kept = "model" if name in ("full", "freeze") else "adapter"
    weights = list((folder / kept).glob("*.safetensors"))
    assert len(weights) == 1
    assert os.path.getsize(weights[0]) > 1000


def test_probe_leaves_no_weights_and_marks_its_warm_up(tmp_path: Path) -> None:
    """A probe runs the asked steps on the longest batch and keeps nothing."""
    plan = tiny.plan(tmp_path)
    folder = tmp_path / "run"
    record = finish(
        Job(kind=JobKind.PROBE, plan=plan, folder=str(folder), probe_steps=5, threads=1)
    )
    assert record.status is Status.OK, record.message
    assert len(record.timing.step_seconds) == 5
    assert record.timing.warmup_steps == 2
    assert not (folder / "checkpoints").exists()
    assert not (folder / "adapter").exists()
