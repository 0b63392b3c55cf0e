"""How the worker names what went wrong, splits rows and lays out evaluations."""

from __future__ import annotations

import errno
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tsplanner.errors import TsplannerError
from tsplanner.training.data import held_out_count, split
from tsplanner.training.job import Status
from tsplanner.training.solo.saving import latest_checkpoint
from tsplanner.training.solo.trainer import DivergedError, eval_steps
from tsplanner.training.worker.execute import step_from_the_first
from tsplanner.training.worker.outcome import guarded, outcome_of

FOLDER = Path("run")
OUTCOMES = [
    (torch.OutOfMemoryError("CUDA out of memory. Tried 2 GiB"), Status.DEVICE_OOM, "Tried 2 GiB"),
    (RuntimeError("CUDA error: out of memory"), Status.DEVICE_OOM, "outside"),
    (MemoryError(), Status.HOST_OOM, "machine"),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory"), Status.HOST_OOM, "machine"),
    (OSError(errno.ENOSPC, "No space left on device"), Status.CRASHED, "disk under run is full"),
    (DivergedError("the loss is nan at step 3"), Status.DIVERGED, "diverged: the loss is nan"),
    (TsplannerError("No such target."), Status.CRASHED, "No such target."),
    (KeyError("x"), Status.CRASHED, "KeyError: 'x'"),
]


@pytest.mark.parametrize(("error", "status", "words"), OUTCOMES)
def test_failure_gets_a_status_and_a_sentence(error: Exception, status: Status, words: str) -> None:
    """Each way to fail has its own status, told in one line."""
    found, message = outcome_of(error, FOLDER)
    assert found is status
    assert words in message
    assert "\n" not in message


def test_work_that_raises_does_not_escape(capsys: pytest.CaptureFixture[str]) -> None:
    """The worker's record is written even after an unforeseen error."""

    def work() -> Status:
        raise torch.OutOfMemoryError("CUDA out of memory")

    assert guarded(work, FOLDER)[0] is Status.DEVICE_OOM
    assert "OutOfMemoryError" in capsys.readouterr().err


def test_held_out_rows_are_a_share_but_never_all() -> None:
    """10 % of 414 rows is 41; two rows leave one to train on; one row is never held out."""
    assert held_out_count(414, 0.1) == 41
    assert held_out_count(5, 0.1) == 1
    assert held_out_count(2, 0.9) == 1
    assert held_out_count(1, 0.5) == 0
    assert held_out_count(100, 0.0) == 0


def test_split_is_the_same_for_the_same_seed_and_loses_no_row() -> None:
    """Every row is either trained on or held out, by the seed alone."""
    train, held_out = split(range(50), 0.2, seed=3)
    assert sorted([*train, *held_out]) == list(range(50))
    assert len(held_out) == 10
    assert split(range(50), 0.2, seed=3) == (train, held_out)
    assert split(range(50), 0.2, seed=4) != (train, held_out)


def test_evaluations_are_spread_evenly_and_end_each_epoch() -> None:
    """Two epochs of 5 steps with two evaluations each: steps 2, 5, 7 and 10."""
    assert sorted(eval_steps(10, 5, 2)) == [2, 5, 7, 10]
    assert sorted(eval_steps(3, 3, 1)) == [3]
    assert sorted(eval_steps(1, 1, 6)) == [1]


def test_checkpoint_that_was_cut_off_is_not_resumed_from(tmp_path: Path) -> None:
    """Only a checkpoint whose last file was written counts."""
    for step, whole in ((9, True), (100, True), (110, False)):
        folder = tmp_path / "checkpoints" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        if whole:
            (folder / "trainer_state.json").write_text("{}")
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert found.name == "checkpoint-100"


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
