"""What ``tsplanner probe`` prints, keeps and refuses."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from memory_models.settings import from_flat
from tests.support import tiny
from tests.support.verb import planned, run_verb
from tsplanner.commands import probe
from tsplanner.errors import TsplannerError
from tsplanner.folders.owner import RunFolder
from tsplanner.planner.gather.probe_points import load_calibration
from tsplanner.training.job import Job, JobKind, Status
from tsplanner.training.record import Record


@pytest.mark.slow
def test_probe_prints_prediction_against_measurement_and_keeps_it(tmp_path: Path) -> None:
    """The newest plan is probed, the point is stored, probe.json lies next to the plan."""
    path = planned(tmp_path)
    done = run_verb(tmp_path, "probe")
    assert done.returncode == 0, done.stderr
    assert "inside the bound" in done.stdout or "OVER THE BOUND" in done.stdout
    assert "stored, and the plan that was probed is unchanged" in done.stdout
    assert len((tmp_path / "state" / "calibration.jsonl").read_text().splitlines()) == 1
    document = json.loads((path.parent / "probe.json").read_text())
    assert document["process_bytes"]["measured"] > 0


@pytest.mark.slow
def test_probe_over_its_time_limit_is_a_result_with_status_1(tmp_path: Path) -> None:
    """A hang is told, in JSON too, and nothing is stored."""
    planned(tmp_path)
    done = run_verb(tmp_path, "probe", "--time-limit", "1", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["status"] == "timeout"
    assert not (tmp_path / "state").exists()


def record(status: Status, message: str = "") -> Record:
    """How a stand-in ends."""
    return from_flat(
        Record,
        status=status,
        kind=JobKind.PROBE,
        message=message,
        process_bytes=700 * 2**20,
        step_seconds=(9.0, 0.5, 0.5),
        warmup_steps=1,
    )


@dataclass
class Probes:
    """The jobs that were run, and how the next ones end; without an end a job ends well."""

    jobs: list[Job] = field(default_factory=list)
    ends: list[Record] = field(default_factory=list)

    def run_job(self, job: Job, **_: object) -> Record:
        """Note a job instead of running it."""
        self.jobs.append(job)
        return self.ends.pop(0) if self.ends else record(Status.OK)


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Probes:
    """Stands in for the worker, which would take ten seconds to import torch."""
    found = Probes()
    monkeypatch.setattr(probe, "run_job", found.run_job)
    monkeypatch.setenv("TSPLANNER_STATE", str(tmp_path / "state"))
    return found


def test_a_probe_has_three_steps_at_least(
    tmp_path: Path, probes: Probes, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first step is a warm-up, and the median of one step says little."""
    path = planned(tmp_path)
    assert probe.run(probe.Asked(steps=1), plan_path=path, here=tiny.machine()) == 0
    assert probe.run(probe.Asked(steps=10), plan_path=path, here=tiny.machine()) == 0
    assert [job.probe_steps for job in probes.jobs] == [3, 10]
    assert {job.kind for job in probes.jobs} == {JobKind.PROBE}
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith(f"plan   {path}, ")
    assert second == "probe  lora · fp32 · CPU  3 steps"


def test_a_probe_writes_nothing_beside_a_run_at_work(tmp_path: Path, probes: Probes) -> None:
    """Its plan may be probed from elsewhere."""
    path = planned(tmp_path)
    with (
        RunFolder(path.parent, "train"),
        pytest.raises(TsplannerError, match="is being written by tsplanner train"),
    ):
        probe.run(probe.Asked(), plan_path=path, here=tiny.machine())
    assert probes.jobs == []


def test_a_probe_that_failed_is_a_result_that_no_plan_uses(
    tmp_path: Path, probes: Probes, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 1, the message for a person, probe.json beside the plan, and no point stored."""
    path = planned(tmp_path)
    probes.ends.append(record(Status.HOST_OOM, "the machine is full"))
    assert probe.run(probe.Asked(), plan_path=path, here=tiny.machine()) == 1
    assert "✘ OUT OF MEMORY   the machine is full" in capsys.readouterr().out
    document = json.loads((path.parent / "probe.json").read_text())
    assert (document["status"], document["stored_in"]) == ("host_oom", None)
    assert load_calibration(tiny.machine()) == []


def test_json_is_one_document_and_the_one_on_disk(
    tmp_path: Path, probes: Probes, capsys: pytest.CaptureFixture[str]
) -> None:
    """A program reads the same from stdout and from probe.json; no line of progress is mixed in."""
    path = planned(tmp_path)
    assert probe.run(probe.Asked(), plan_path=path, as_json=True, here=tiny.machine()) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == json.loads((path.parent / "probe.json").read_text())
    assert document["step_seconds"]["measured"] == 0.5
    (point,) = load_calibration(tiny.machine())
    assert point.measured.step_seconds == 0.5


def test_too_little_memory_is_refused_unless_forced(tmp_path: Path, probes: Probes) -> None:
    """--force tries all the same."""
    path, here = planned(tmp_path), tiny.machine()
    here = replace(here, host=replace(here.host, available_bytes=2**29))
    with pytest.raises(TsplannerError, match="RAM free"):
        probe.run(probe.Asked(), plan_path=path, here=here)
    assert probes.jobs == []
    assert probe.run(probe.Asked(force=True), plan_path=path, here=here) == 0
