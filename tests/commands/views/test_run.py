"""What a person and a program see of a full run at its end."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from memory_models.settings import FinetuningType, changed
from tests.support import tiny
from tests.support.hand_made import RECORD
from tsplanner.commands.views.run import (
    outcome_lines,
    run_document,
    use_lines,
    values_sentences,
)
from tsplanner.training.job import Status
from tsplanner.training.record import ClaimCount, Unchecked, ValuesChecked

FOLDER = Path("saves/tiny/lora/1")


def test_a_run_ends_with_its_loss_its_peak_and_where_it_lies(tmp_path: Path) -> None:
    """The best of two evaluations is after epoch 1, and the loss rose by 0.03 after it."""
    lines = outcome_lines(tiny.plan(tmp_path), FOLDER, RECORD)
    assert lines == [
        "done   10 steps in 2 min   eval 0.4100   best epoch 1   peak 17.0 GiB, predicted 0.59 GiB",
        "curve  The held-out loss was lowest, 0.4100, after epoch 1, and rose by 0.0300 to the "
        "end: stop at epoch 1.",
        "saved  saves/tiny/lora/1/   adapter, plan.json, metrics.jsonl, report.html, report.md",
    ]


def test_without_held_out_rows_there_is_no_best_epoch(tmp_path: Path) -> None:
    """A full fine-tune saves the whole model."""
    plan = tiny.with_learning(tiny.plan(tmp_path), finetuning_type=FinetuningType.FULL)
    lines = outcome_lines(plan, FOLDER, changed(RECORD, evaluations=(), start_eval_loss=None))
    assert lines[0].startswith("done   10 steps in 2 min   peak 17.0 GiB")
    assert lines[-1].startswith("saved  saves/tiny/lora/1/   model, plan.json")


@pytest.mark.parametrize("why", list(Unchecked))
def test_values_that_could_not_be_checked_are_told_of(tmp_path: Path, why: Unchecked) -> None:
    """Not silently left out."""
    lines = outcome_lines(tiny.plan(tmp_path), FOLDER, changed(RECORD, unchecked=why))
    assert lines[1].startswith("values not checked: no ")
    assert "values.jsonl" not in lines[-1]


def test_answers_given_on_the_way_are_named_where_they_are(tmp_path: Path) -> None:
    """A run that was not asked for any has no such file."""
    plan = tiny.plan(tmp_path)
    assert "answers.jsonl" not in outcome_lines(plan, tmp_path, RECORD)[-1]
    (tmp_path / "answers.jsonl").write_text("")
    assert "metrics.jsonl, answers.jsonl, report.html" in outcome_lines(plan, tmp_path, RECORD)[-1]


def test_checked_values_stand_beside_the_loss(tmp_path: Path) -> None:
    """By kind; the line says where other weights answered than those that are best."""
    counts = (ClaimCount(kind="place of the maximum", stated=9, right=7),)
    values = ValuesChecked(answers=9, right=7, claims=counts, step=10)
    record = changed(RECORD, values=values)
    lines = outcome_lines(tiny.plan(tmp_path), FOLDER, record)
    assert "metrics.jsonl, values.jsonl, report.html" in lines[-1]
    assert lines[1] == (
        "values right in 7 of 9 answers checked, by the last weights and not the best "
        "(place of the maximum 7 of 9)"
    )
    best = changed(RECORD, values=replace(values, step=5))
    assert values_sentences(best) == [
        "right in 7 of 9 answers checked (place of the maximum 7 of 9)"
    ]
    assert values_sentences(RECORD) == []


def test_a_run_that_ended_early_says_why(tmp_path: Path) -> None:
    """Below the line of its figures."""
    early = replace(RECORD, message="ended early: no lower held-out loss in 2 evaluations")
    lines = outcome_lines(tiny.plan(tmp_path), FOLDER, early)
    assert lines[1] == "ended early: no lower held-out loss in 2 evaluations"


def test_a_run_goes_on_with_code_a_card_and_the_merge(tmp_path: Path) -> None:
    """Lines that load it; whole weights have nothing to merge, and a failed run has nothing."""
    plan = tiny.plan(tmp_path)
    lines = use_lines(plan, FOLDER, RECORD)
    assert lines[0] == "use    import torch"
    assert 'PeftModel.from_pretrained(model, "saves/tiny/lora/1/adapter")' in lines[-3]
    assert lines[-2].startswith("card   saves/tiny/lora/1/adapter/README.md")
    assert lines[-1] == "merge  tsplanner merge saves/tiny/lora/1"
    full = tiny.with_learning(plan, finetuning_type=FinetuningType.FULL)
    assert use_lines(full, FOLDER, RECORD)[-1].startswith("card   saves/tiny/lora/1/model/")
    drawn = replace(plan, model=replace(plan.model, has_weights=False))
    assert use_lines(drawn, FOLDER, RECORD)[-1].startswith("card   ")
    assert use_lines(plan, FOLDER, replace(RECORD, status=Status.CRASHED)) == []


def test_a_run_that_failed_says_how_to_go_on(tmp_path: Path) -> None:
    """The folder keeps the checkpoints that --resume starts from."""
    failed = replace(RECORD, status=Status.DEVICE_OOM, message="the GPU is full")
    lines = outcome_lines(tiny.plan(tmp_path), FOLDER, failed)
    assert lines[0] == "✘ OUT OF GPU MEMORY   the GPU is full"
    assert lines[-1] == "Next   tsplanner train --run-folder saves/tiny/lora/1 --resume"


def test_a_run_is_plain_values_for_a_program() -> None:
    """The record as it was written, and what its curve says."""
    document = json.loads(json.dumps(run_document(FOLDER, RECORD)))
    assert document["run_folder"] == "saves/tiny/lora/1"
    assert document["record"]["status"] == "ok"
    assert document["record"]["losses"]["last_loss"] == 0.18
    assert (document["curve"]["state"], document["curve"]["best_epoch"]) == ("over-fitting", 1.0)
