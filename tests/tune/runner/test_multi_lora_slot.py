"""A slot whose trials share a base: refilling, accidents. The worker is a stand-in."""

from __future__ import annotations

from pathlib import Path

import pytest

from memory_models.settings import changed
from tests.support import tiny
from tests.support.multi_lora_worker import MultiLoraWorker, Trouble
from tests.support.searching import alike, shared_search
from tests.support.toy_request import GIB
from tsplanner.errors import TsplannerError
from tsplanner.planner.gather.probe_points import load_calibration
from tsplanner.planner.settings import LearningSettings
from tsplanner.training.job import Status
from tsplanner.tune.runner.slots import Slots
from tsplanner.tune.study.trial_result import TrialState


def test_free_places_are_refilled_in_one_worker(tmp_path: Path) -> None:
    """Seven trials on three places start one process, and no more than three train at once."""
    worker = MultiLoraWorker(alike)
    search, study, view = shared_search(tmp_path, worker)
    search.run(7)
    assert (len(worker.shared), worker.most, worker.alone) == (1, [3], [])
    assert worker.begun == [["0", "1", "2", "3", "4", "5", "6"]]
    assert [result.state for result in study.results()] == [TrialState.COMPLETED] * 7
    assert sorted(view.begun) == [0, 1, 2, 3, 4, 5, 6]
    assert [result.eval_loss for result in study.results()] == [1.0] * 7


def test_results_are_known_before_the_next_is_asked_for(tmp_path: Path) -> None:
    """Three that end in the same pass are all told before a fourth is proposed."""
    worker = MultiLoraWorker(alike)
    search, study, _ = shared_search(tmp_path, worker)
    order: list[str] = []
    ask, tell = study.claim, study.tell

    def take() -> object:
        order.append("ask")
        return ask()

    def told(*words: object) -> None:
        order.append("tell")
        tell(*words)  # type: ignore[arg-type]

    study.claim, study.tell = take, told  # type: ignore[assignment, method-assign]
    search.run(4)
    assert order[:7] == ["ask"] * 3 + ["tell"] * 3 + ["ask"]


def test_a_losers_place_is_refilled(tmp_path: Path) -> None:
    """The third is far behind: it stops, and the next takes its place while the others train."""
    worker = MultiLoraWorker(lambda one: 90.0 if one.optimization.learning_rate < 4e-3 else 1.0)
    search, study, _ = shared_search(tmp_path, worker)
    search.run(4)
    assert len(worker.shared) == 1
    third = study.results()[2]
    assert third.state is TrialState.PRUNED
    assert "against trial " in third.message
    assert len(study.results()) == 4


def test_a_loser_that_is_read_first_stops_as_well(tmp_path: Path) -> None:
    """The second's rivals reach the step after it in the same pass."""
    worker = MultiLoraWorker(lambda one: 90.0 if one.optimization.learning_rate > 8e-3 else 1.0)
    search, study, _ = shared_search(tmp_path, worker, at_once=4)
    search.run(4)
    second = study.results()[1]
    assert second.state is TrialState.PRUNED
    assert second.message.startswith("stopped at epoch 1: +89.0000")


def test_the_pairs_of_the_confirmation_share_a_base(tmp_path: Path) -> None:
    """Both sides of two pairs share one worker, each on its seed."""
    worker = MultiLoraWorker(alike)
    search, study, _ = shared_search(tmp_path, worker, at_once=4)
    default = study.encoding.baseline
    other = changed(default, learning_rate=7e-3)
    search.run_again([(side, seed) for seed in (43, 44) for side in (other, default)])
    assert len(worker.shared) == 1
    assert [trial.learning.seed for trial in worker.shared[0].shared.trials] == [43, 43, 44, 44]
    assert [result.seed for result in study.results()] == [43, 43, 44, 44]


def test_a_killed_worker_keeps_what_had_ended_and_tries_the_others_once_more(
    tmp_path: Path,
) -> None:
    """Two had ended when kill -9 came; the two at work run again, half as many at once."""
    worker = MultiLoraWorker(alike, [Trouble(rounds=8)])
    search, study, view = shared_search(tmp_path, worker, at_once=4)
    search.run(6)
    assert [number for number, _ in view.lost] == [4, 5]
    assert all("ended by SIGKILL" in words for _, words in view.lost)
    assert [job.shared.max_concurrent_trials for job in worker.shared] == [4, 2]
    assert worker.begun[1] == ["6", "7"]
    results = study.results()
    assert [one.number for one in results] == [0, 1, 2, 3, 6, 7]
    assert {one.state for one in results} == {TrialState.COMPLETED}


def test_trials_run_alone_after_two_workers_died(tmp_path: Path) -> None:
    """Nothing that was wanted is lost to an environment in which such workers do not live."""
    worker = MultiLoraWorker(alike, [Trouble(rounds=0), Trouble(rounds=0)])
    search, study, _ = shared_search(tmp_path, worker, at_once=4)
    search.run(4)
    assert len(worker.shared) == 2
    assert len(worker.alone) == 4
    assert [one.state for one in study.results()] == [TrialState.COMPLETED] * 4


def test_a_real_out_of_memory_is_a_constraint_and_a_calibration_point(tmp_path: Path) -> None:
    """The trials at work say how far over they were; later plans know what the worker held."""
    held = 3 * GIB
    worker = MultiLoraWorker(
        alike, [Trouble(rounds=2, status=Status.DEVICE_OOM, process_bytes=held)]
    )
    search, study, view = shared_search(tmp_path, worker, at_once=4)
    search.run(4)
    assert [number for number, _ in view.lost] == [0, 1, 2, 3]
    assert [job.shared.max_concurrent_trials for job in worker.shared] == [4, 2]
    told = [trial.constraints for trial in study.queue.trials()]
    upper = search.multi_lora.plan.memory.process_bytes.upper if search.multi_lora else 0
    assert [one["memory_bytes_over_in_fact"] for one in told[:4]] == [held - upper] * 4
    assert [one for found in told[4:] for one in found.values()] == [0.0] * 4
    points = load_calibration(tiny.machine())
    assert [point.measured.process_bytes for point in points] == [held] * len(points)
    assert len(points) == 1
    assert points[0].measured.step_seconds is None


def test_a_second_out_of_memory_of_the_baseline_ends_the_search(tmp_path: Path) -> None:
    """It had its second chance."""
    oom = [Trouble(rounds=2, status=Status.DEVICE_OOM), Trouble(rounds=2, status=Status.DEVICE_OOM)]
    search, _, _ = shared_search(tmp_path, MultiLoraWorker(alike, oom), at_once=4)
    with pytest.raises(TsplannerError, match="The plan's own settings failed: The GPU ran out"):
        search.run(4)


def test_a_trial_that_the_worker_refuses_runs_alone(tmp_path: Path) -> None:
    """The others share the base."""

    def refused(learning: LearningSettings) -> str | None:
        low = learning.optimization.learning_rate < 2e-3
        return "This trial runs alone: the record says so." if low else None

    worker = MultiLoraWorker(alike, refused=refused)
    search, study, _ = shared_search(tmp_path, worker)
    search.run(4)
    assert len(worker.shared) == 1
    assert [Path(job.folder).name for job in worker.alone] == ["2"]
    assert [one.state for one in study.results()] == [TrialState.COMPLETED] * 4


def test_two_slots_have_a_base_each(tmp_path: Path) -> None:
    """Four trials on two GPUs: two and two, though each base had room for four."""
    worker = MultiLoraWorker(alike)
    search, study, _ = shared_search(tmp_path, worker, at_once=4, slots=Slots(jobs=2))
    search.run(4)
    assert sorted(job.shared.max_concurrent_trials or 0 for job in worker.shared) == [2, 2]
    assert len(study.results()) == 4
