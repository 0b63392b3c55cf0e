"""What a person and a program see of probes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from memory_models.settings import from_flat
from tests.support import tiny
from tsplanner.commands.views.probe import (
    dataset_words,
    failure_lines,
    next_command,
    proof_lines,
    proof_rows,
    result_lines,
)
from tsplanner.planner.plan import Plan
from tsplanner.planner.rank import choose
from tsplanner.probe.proof import Proof
from tsplanner.probe.rounds import Probed
from tsplanner.training.job import JobKind, Status
from tsplanner.training.record import Record

RAN = from_flat(
    Record, status=Status.OK, kind=JobKind.PROBE, process_bytes=660 * 2**20, step_seconds=(0.5, 0.5)
)


def proof(plan: Plan, *records: Record) -> Proof:
    """A proof of one plan whose probes ended like this."""
    return Proof(
        choice=replace(choose(tiny.request(plan)), plan=plan),
        probed=tuple(Probed(plan=plan, record=record) for record in records),
        first=plan.hardware,
    )


@pytest.mark.parametrize(
    ("status", "head"),
    [
        (Status.DEVICE_OOM, "OUT OF GPU MEMORY"),
        (Status.HOST_OOM, "OUT OF MEMORY"),
        (Status.TIMEOUT, "TIME LIMIT"),
        (Status.STOPPED, "STOPPED"),
        (Status.CRASHED, "CRASHED"),
        (Status.DIVERGED, "CRASHED"),
    ],
)
def test_a_failure_is_named_with_what_the_plan_had_said(
    tmp_path: Path, status: Status, head: str
) -> None:
    """0.59 GiB expected, 0.88 at most, 12 free: a person sees whether memory was the cause."""
    lines = failure_lines(tiny.plan(tmp_path), replace(RAN, status=status, message="it is full"))
    assert lines == [
        f"✘ {head}   it is full",
        "  The plan expected 0.59 GiB (95 %: 0.88), free were 12.00.",
    ]


def test_a_probe_that_ran_names_the_next_step(tmp_path: Path) -> None:
    """Tune starts from the plan that was probed; a failed probe asks for another, or for time."""
    plan, path = tiny.plan(tmp_path), Path("saves/tiny/plan.json")
    lines = result_lines(plan, RAN, path)
    assert lines[-1] == "Next   tsplanner tune --plan saves/tiny/plan.json --trials 8"
    assert "They are stored, and the plan that was probed is unchanged." in lines
    failed = result_lines(plan, replace(RAN, status=Status.HOST_OOM), path)
    assert failed[-1] == f"Next   tsplanner plan --model {tmp_path / 'model'}"
    late = result_lines(plan, replace(RAN, status=Status.TIMEOUT), path)
    assert late[-1] == "Next   tsplanner probe --plan saves/tiny/plan.json --time-limit 1h"
    assert not any("Stored" in line for line in failed)


def test_a_proof_is_a_table_for_a_person(tmp_path: Path) -> None:
    """One line per probe below the headings."""
    lines = proof_lines(proof(tiny.plan(tmp_path), RAN, replace(RAN, status=Status.HOST_OOM)))
    assert len(lines) == 3
    assert lines[1].endswith("chosen")
    assert lines[2].endswith("chosen, out of memory")


def test_a_proof_is_plain_values_for_a_program(tmp_path: Path) -> None:
    """Probes in their order, with the prediction beside the measurement."""
    plan = tiny.plan(tmp_path)
    (row,) = json.loads(json.dumps(proof_rows(proof(plan, RAN))))
    assert row["hardware"]["batch"]["micro_batch_size"] == 2
    assert (row["status"], row["chosen"]) == ("ok", True)
    assert row["step_seconds"] == 0.5
    assert row["predicted_process_bytes"] == {"expected": 600 * 2**20, "upper": 900 * 2**20}
    assert row["process_bytes"] == 660 * 2**20


def test_a_probe_names_no_search_that_would_be_refused(tmp_path: Path) -> None:
    """A search needs rows and weights: the next step is a plan that has them."""
    plan, path = tiny.plan(tmp_path), Path("plan.json")
    without_rows = replace(plan, dataset=replace(plan.dataset, path=None))
    model = tmp_path / "model"
    assert next_command(without_rows, path) == f"tsplanner plan --model {model} --dataset FILE"
    bare = replace(plan, model=replace(plan.model, has_weights=False))
    words = f"tsplanner plan --model FOLDER --dataset {plan.dataset.path}"
    assert next_command(bare, path) == words
    named = replace(plan.dataset, further=("b",), columns=(("prompt", "q"), ("answer", "r")))
    assert dataset_words(named)[2:] == ["b", "--columns", "prompt=q,answer=r"]
