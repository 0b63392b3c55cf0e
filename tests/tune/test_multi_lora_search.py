"""Searches on shared bases with real workers and a tiny model."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest

from memory_models.settings import LossKernel
from tests.support import multi_lora as solo
from tests.support import tiny
from tests.support.searching import Lost, shared_search
from tsplanner.tune.runner.runner import Search
from tsplanner.tune.runner.slots import Slots
from tsplanner.tune.study.study import Study
from tsplanner.tune.study.trial_result import TrialState

pytestmark = pytest.mark.slow


def real_search(folder: Path, *, at_once: int) -> tuple[Search, Study, Lost]:
    """A search of LoRA trials of the tiny model on 40 rows, 8 of them held out."""
    plan = tiny.with_learning(tiny.plan(folder, rows=40), validation_fraction=0.2)
    plan = tiny.with_hardware(plan, loss_kernel=LossKernel.FUSED)
    return shared_search(folder, None, at_once=at_once, slots=Slots(jobs=1, threads=1), plan=plan)


def test_trials_on_one_base_tell_the_losses_of_their_solo_runs(tmp_path: Path) -> None:
    """Five trials through three places of one worker, within 1e-5 of five runs alone."""
    search, study, _ = real_search(tmp_path, at_once=3)
    search.run(5)
    results = study.results()
    assert len(results) == 5
    workers = [path.parent.name for path in (tmp_path / "run" / "multi-lora").glob("*/worker.log")]
    assert workers == ["0"]
    done = [result for result in results if result.state is TrialState.COMPLETED]
    assert len(done) >= 2
    assert search.multi_lora is not None
    for result in done:
        alone = solo.alone(search.multi_lora.plan, result.learning, tmp_path / f"s{result.number}")
        best = min(evaluation.loss for evaluation in alone.losses.evaluations)
        assert result.eval_loss == pytest.approx(best, abs=1e-5)


def test_a_killed_worker_costs_what_was_in_flight_alone(tmp_path: Path) -> None:
    """After kill -9 the trials that had ended stay; the others run again in a new worker."""
    search, study, view = real_search(tmp_path, at_once=2)
    killed: list[int] = []

    def kill() -> None:
        deadline = time.monotonic() + 120
        trials = tmp_path / "run" / "trials"
        while not (trials / "2" / "metrics.jsonl").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        for child in psutil.Process(os.getpid()).children(recursive=True):
            if "tsplanner.training.worker" in " ".join(child.cmdline()):
                killed.append(child.pid)
                child.send_signal(signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    search.run(4)
    thread.join()
    assert len(killed) == 1
    lost = [number for number, _ in view.lost]
    assert 2 in lost
    results = study.results()
    assert len(results) == 4
    assert {result.state for result in results} <= {TrialState.COMPLETED, TrialState.PRUNED}
    assert not set(lost) & {result.number for result in results}
