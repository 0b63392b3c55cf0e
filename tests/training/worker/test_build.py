"""Steps and rows of a job, and the first step of a probe."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import torch

from memory_models.settings import Attention
from tests.support import tiny
from tsplanner.training.base_model.configuration import model_config
from tsplanner.training.base_model.drawing import from_config
from tsplanner.training.base_model.tokenizer import load_tokenizer
from tsplanner.training.job import Job, JobKind
from tsplanner.training.kernels.row_attention import FLEX
from tsplanner.training.worker.build import (
    job_data,
    step_from_the_first,
    total_steps,
    with_adapters_and_kernels,
)


def test_a_probe_in_fp16_takes_its_first_step() -> None:
    """From the usual scale of 65,536 the first steps may overflow, and no state is made."""
    device = torch.device("cpu")
    accelerator = SimpleNamespace(scaler=torch.amp.GradScaler("cpu"), device=device)
    step_from_the_first(accelerator)
    weight = torch.nn.Parameter(torch.ones(1))
    accelerator.scaler.scale((weight * 1e-3).sum()).backward()
    assert accelerator.scaler.get_scale() == 1.0
    plain = SimpleNamespace(scaler=None, device=device)
    step_from_the_first(plain)
    assert plain.scaler is None


def test_a_job_has_the_steps_of_its_epochs_or_of_its_probe(tmp_path: Path) -> None:
    """18 rows of 4 are 5 steps, twice; a probe is told its own number."""
    plan = tiny.plan(tmp_path)
    trial = Job(kind=JobKind.TRIAL, plan=plan, folder=str(tmp_path))
    assert total_steps(trial, 18) == 10
    probe = Job(kind=JobKind.PROBE, plan=plan, folder=str(tmp_path), probe_steps=3)
    assert total_steps(probe, 18) == 3


def test_a_probe_and_a_run_get_their_own_rows_and_batches(tmp_path: Path) -> None:
    """A probe's items are whole micro-batches; a run's are rows, two of which make one."""
    plan = tiny.plan(tmp_path)
    config, tokenizer = model_config(plan.model), load_tokenizer(plan.model)
    probe = Job(kind=JobKind.PROBE, plan=plan, folder=str(tmp_path), probe_steps=3)
    batches, held_out, collate = job_data(probe, config, tokenizer)
    assert (len(batches), held_out) == (3 * 2, [])
    assert collate(batches[:1])["input_ids"].shape == (2, plan.sequence_length)
    run = Job(kind=JobKind.TRAIN, plan=plan, folder=str(tmp_path))
    train, validation, collate = job_data(run, config, tokenizer)
    assert (len(train), len(validation)) == (18, 2)
    assert set(collate(train[:2])) == {"input_ids", "labels"}


def test_a_padded_plan_with_flex_attention_gets_it(tmp_path: Path) -> None:
    """In the place of what the model was built with."""
    plan = tiny.with_hardware(tiny.plan(tmp_path), attention=Attention.FLEX_ATTENTION)
    base = from_config(plan.hardware, model_config(plan.model), torch.device("cpu"))
    assert base.config._attn_implementation == "sdpa"
    with_adapters_and_kernels(plan, base, 5, None)
    assert base.config._attn_implementation == FLEX
