"""Asking for answers to held-out rows, and plans whose runs cannot give them."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from memory_models.generation import generation_bytes, step_bytes
from tests.support import tiny
from tsplanner.commands.work.sampled_answers import (
    add_samples_arguments,
    asked_samples,
    begun_with,
    sampling_line,
    sized,
)
from tsplanner.errors import TsplannerError
from tsplanner.planner.evaluate import step_settings
from tsplanner.planner.plan import Plan
from tsplanner.training.job import Extras, Job, JobKind, SampledAnswers

ASKED = SampledAnswers(rows=2, new_tokens=16)


def parsed(*words: str) -> SampledAnswers | None:
    """What flags ask for."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_samples_arguments(parser)
    return asked_samples(parser.parse_args(words))


def test_nothing_is_answered_unless_it_is_asked_for() -> None:
    """Answers have 64 tokens at most, or as many as are named."""
    assert parsed() is None
    assert parsed("--sample-answers", "3") == SampledAnswers(rows=3, new_tokens=64)
    assert parsed("--sample-answers", "3", "--sample-tokens", "9") == SampledAnswers(
        rows=3, new_tokens=9
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--sample-answers", "-1"), "must be at least 0"),
        (("--sample-answers", "2", "--sample-tokens", "0"), "must be at least 1"),
        (("--sample-answers", "33"), "must be at most 32, not 33"),
        (("--sample-answers", "two"), "is not an integer"),
        (("--sample-answers", "2", "--sample-tokens", "9999"), "must be at most 2048"),
    ],
)
def test_numbers_out_of_range_are_refused(words: tuple[str, ...], says: str) -> None:
    """With the limit."""
    with pytest.raises(argparse.ArgumentError, match=says):
        parsed(*words)


def test_a_length_without_answers_is_a_slip() -> None:
    """The sentence names the other flag."""
    with pytest.raises(TsplannerError, match="--sample-tokens needs --sample-answers N"):
        parsed("--sample-tokens", "9")


def test_a_resumed_run_goes_on_as_it_began_unless_it_is_told_otherwise(tmp_path: Path) -> None:
    """Its job.json says how; 0 rows are none, and no request of their own is one of the job's."""
    plan = tiny.plan(tmp_path)
    assert begun_with(tmp_path) is None
    job = Job(
        kind=JobKind.TRAIN, plan=plan, folder="run", extras=Extras(samples=sized(plan, ASKED))
    )
    (tmp_path / "job.json").write_bytes(msgspec.json.encode(job))
    assert begun_with(tmp_path) == ASKED
    none = parsed("--sample-answers", "0")
    assert sized(plan, none or begun_with(tmp_path)) is None
    (tmp_path / "job.json").write_text('{"extras": []}')
    assert begun_with(tmp_path) is None


def test_a_request_gets_the_positions_that_a_step_has_room_for(tmp_path: Path) -> None:
    """At most the longest row of 64 positions and 16 new tokens, and never beyond the step."""
    plan = tiny.plan(tmp_path)
    found = sized(plan, ASKED)
    assert found is not None
    settings = step_settings(plan.learning, plan.hardware, plan.dataset, reads_series=False)
    assert found == replace(ASKED, room=80)
    assert generation_bytes(plan.architecture, settings, 80) <= step_bytes(
        plan.architecture, settings
    )
    assert sized(plan, None) is None


def streamed(plan: Plan) -> Plan:
    """Its layers come anew in every pass."""
    return tiny.with_hardware(plan, streamed_layers=2, gradient_checkpointing=True)


def recorded(plan: Plan) -> Plan:
    """A family without a formula."""
    shape = plan.architecture
    other = replace(shape, layer=replace(shape.layer, recorded="key"))
    return replace(plan, model=replace(plan.model, architecture=other))


REFUSED: list[tuple[Any, str]] = [
    (lambda plan: tiny.with_learning(plan, validation_fraction=0.0), "needs held-out rows"),
    (lambda plan: tiny.with_hardware(plan, zero_stage=3, world_size=2), "ZeRO-3 or FSDP2"),
    (lambda plan: tiny.with_hardware(plan, fsdp=True, world_size=2), "ZeRO-3 or FSDP2"),
    (streamed, "every streamed layer"),
    (recorded, "layers with a formula"),
]


@pytest.mark.parametrize(("change", "says"), REFUSED)
def test_a_run_that_cannot_answer_is_refused_in_one_sentence(
    tmp_path: Path, change: Any, says: str
) -> None:
    """Before anything is started; without the flag it goes on."""
    plan = change(tiny.plan(tmp_path))
    with pytest.raises(TsplannerError, match=says) as refused:
        sized(plan, ASKED)
    assert str(refused.value).startswith("--sample-answers ")
    assert "\n" not in str(refused.value)
    assert sized(plan, None) is None


def test_an_answer_longer_than_the_steps_memory_is_refused(tmp_path: Path) -> None:
    """Rows of 64 positions leave no room for 2,000 new tokens."""
    with pytest.raises(TsplannerError, match="lower --sample-tokens"):
        sized(tiny.plan(tmp_path), replace(ASKED, new_tokens=2000))


def test_the_line_before_a_run_says_what_it_will_take() -> None:
    """Rows, tokens, file and time."""
    assert sampling_line(ASKED) == (
        "answers  up to 2 held-out rows after each evaluation, 16 tokens at most, into "
        "answers.jsonl; at most 60 s each time, beside the time below"
    )
