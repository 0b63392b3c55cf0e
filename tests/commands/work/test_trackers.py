"""A full run reports to trackers while it trains, where that is asked for."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import pytest

from tests.support import tiny
from tsplanner.commands.work.trackers import Tracker, require_trackers, trackers
from tsplanner.errors import TsplannerError
from tsplanner.training.job import Extras, Job, JobKind


def test_trackers_are_named_with_commas() -> None:
    """Each counts once; none is nobody."""
    assert trackers("wandb, tensorboard,wandb") == (Tracker.WANDB, Tracker.TENSORBOARD)
    assert trackers("none") == ()


@pytest.mark.parametrize(
    ("text", "says"), [("tensorbord", 'Did you mean "tensorboard"'), (",", "give tensorboard")]
)
def test_a_name_that_no_tracker_has_is_refused(text: str, says: str) -> None:
    """With the nearest one."""
    with pytest.raises(argparse.ArgumentTypeError, match=says):
        trackers(text)


def test_a_tracker_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a command for this very environment."""
    monkeypatch.setattr("tsplanner.install.find_spec", lambda name: None)
    with pytest.raises(TsplannerError, match=r"needs the package trackio: .*install.* trackio"):
        require_trackers((Tracker.TRACKIO,))


TRACKIO = """
import json, os
NOTES = os.environ["TRACKIO_NOTES"]
def note(*words):
    with open(NOTES, "a") as file:
        file.write(json.dumps(words) + "\\n")
class Config(dict):
    def update(self, *_, **__): pass
config = Config()
class _Space:
    get = staticmethod(lambda: None)
class context_vars:
    current_space_id = _Space
def init(project, name=None, **_): note("init", project, name)
def log(values, **_): note("log", sorted(values))
def finish(): note("finish")
def setup(*_, **__): pass
__version__ = "0.0"
"""
"""Notes what Trainer's own integration tells it."""


@pytest.mark.slow
def test_trainers_own_integration_gets_every_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nine steps of two epochs; a probe reports nothing."""
    pytest.importorskip("torch")
    from tests.support import multi_lora

    (tmp_path / "trackio").mkdir()
    (tmp_path / "trackio" / "__init__.py").write_text(TRACKIO)
    notes = tmp_path / "notes.jsonl"
    monkeypatch.setenv("TRACKIO_NOTES", str(notes))
    monkeypatch.syspath_prepend(str(tmp_path))
    job = Job(
        kind=JobKind.TRAIN,
        plan=tiny.plan(tmp_path),
        folder=str(tmp_path / "run-7"),
        extras=Extras(report_to=("trackio",)),
    )
    (tmp_path / "run-7").mkdir()
    record = multi_lora.run_here(job)
    sys.modules.pop("trackio", None)
    assert record.message == ""
    told = [json.loads(line) for line in notes.read_text().splitlines()]
    assert told[0] == ["init", "tsplanner", "run-7"]
    logged = [names for kind, *rest in told if kind == "log" for names in rest]
    losses = [names for names in logged if "train/loss" in names]
    assert len(losses) == record.steps
