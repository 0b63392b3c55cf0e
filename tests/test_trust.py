"""Only the flag of the call itself lets code from a model's folder run."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import tiny
from tsplanner.planner.files import read_plan, write_plan
from tsplanner.probe.launch import worker_command
from tsplanner.trust import FLAG, add_trust_argument, granting, is_granted


def test_trust_lasts_as_long_as_the_call() -> None:
    """It is not granted before, nor after."""
    assert not is_granted()
    with granting(True):
        assert is_granted()
        with granting(False):
            assert not is_granted()
    assert not is_granted()


@pytest.mark.parametrize("written", [True, False])
@pytest.mark.parametrize("given", [True, False])
def test_what_a_plan_says_of_trust_counts_for_nothing(
    written: bool, given: bool, tmp_path: Path
) -> None:
    """The flag of the call decides, whoever wrote the file."""
    plan = tiny.plan(tmp_path)
    plan = replace(plan, model=replace(plan.model, trust_remote_code=written))
    path = write_plan(plan, tmp_path / "plan.json")
    assert json.loads(path.read_text())["model"]["trust_remote_code"] is written
    with granting(given):
        assert read_plan(path).model.trust_remote_code is given


def test_the_flag_goes_to_the_worker_as_an_argument(tmp_path: Path) -> None:
    """A job.json is a file as well."""
    hardware = tiny.plan(tmp_path).hardware
    assert worker_command(hardware, ["job.json", FLAG])[-2:] == ["job.json", FLAG]


def test_the_flag_is_one_of_the_verb() -> None:
    """Off unless it is given."""
    parser = argparse.ArgumentParser()
    add_trust_argument(parser)
    assert parser.parse_args([]).trust_remote_code is False
    assert parser.parse_args([FLAG]).trust_remote_code is True
