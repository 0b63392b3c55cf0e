"""Steps, rows and ends of a job, and the first step of a probe."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import torch

from tests.support import tiny
from tsplanner.training.job import Job, JobKind
from tsplanner.training.model import load_tokenizer, model_config
from tsplanner.training.worker import execute
from tsplanner.training.worker.execute import step_from_the_first


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
    assert execute.total_steps(trial, 18) == 10
    probe = Job(kind=JobKind.PROBE, plan=plan, folder=str(tmp_path), probe_steps=3)
    assert execute.total_steps(probe, 18) == 3
    assert execute.device_name(torch.device("cpu")) == "cpu"


def test_the_last_weights_have_a_name_of_their_own_after_a_better_evaluation(
    tmp_path: Path,
) -> None:
    """Without any evaluation the last weights are the result; the best are saved already."""
    job = Job(kind=JobKind.TRAIN, plan=tiny.plan(tmp_path), folder=str(tmp_path / "run"))
    (tmp_path / "run").mkdir()

    class Built:
        """A Trainer at its tenth step."""

        state = SimpleNamespace(global_step=10)

        def save_model(self, folder: str) -> None:
            """Make the folder."""
            Path(folder).mkdir()

    for best, name in ((None, "adapter"), (5, "adapter-last"), (10, None)):
        recorder = SimpleNamespace(best_evaluation=best and SimpleNamespace(step=best))
        execute.save_result(Built(), job, recorder)  # type: ignore[arg-type]
        found = [path.name for path in (tmp_path / "run").iterdir()]
        assert found == ([] if name is None else [name])
        for path in (tmp_path / "run").iterdir():
            shutil.rmtree(path)


def test_a_probe_and_a_run_get_their_own_rows_and_batches(tmp_path: Path) -> None:
    """A probe's items are whole micro-batches; a run's are rows, two of which make one."""
    plan = tiny.plan(tmp_path)
    config, tokenizer = model_config(plan.model), load_tokenizer(plan.model)
    probe = Job(kind=JobKind.PROBE, plan=plan, folder=str(tmp_path), probe_steps=3)
    batches, held_out, collate = execute.job_data(probe, config, tokenizer)
    assert (len(batches), held_out) == (3 * 2, [])
    assert collate(batches[:1])["input_ids"].shape == (2, plan.sequence_length)
    run = Job(kind=JobKind.TRAIN, plan=plan, folder=str(tmp_path))
    train, validation, collate = execute.job_data(run, config, tokenizer)
    assert (len(train), len(validation)) == (18, 2)
    assert set(collate(train[:2])) == {"input_ids", "labels"}
