"""Estimates as documents, and files of cases."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from memory_models.result import Component, Interval, MemoryEstimate
from tests.support.shrunk import config_of
from tsplanner.errors import TsplannerError
from tsplanner.tracing.cases import Traced, TracedCase
from tsplanner.tracing.estimates import Estimated, Lines, Tracing, document, formula_of, from_trace


def model(folder: Path, **changes: object) -> str:
    """A folder with a small Llama's config."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**config_of("llama"), **changes}))
    return str(folder)


def test_a_document_has_four_quantities_and_the_parts_of_the_peak() -> None:
    """By the names that scripts rely on."""
    sizes = [Interval(expected=number, upper=2 * number) for number in (10, 20, 30, 40)]
    estimate = MemoryEstimate(
        peak_allocated_bytes=sizes[0],
        peak_reserved_bytes=sizes[1],
        process_bytes=sizes[2],
        host_bytes=sizes[3],
        parameters_total=7,
        parameters_trainable=3,
        components=(Component(name="base weights", bytes=9),),
        peak_instant="backward",
        assumptions=("one",),
    )
    assert document(estimate) == {
        "peak_allocated_bytes": {"expected": 10, "upper": 20},
        "peak_reserved_bytes": {"expected": 20, "upper": 40},
        "process_bytes": {"expected": 30, "upper": 60},
        "host_bytes": {"expected": 40, "upper": 80},
        "parameters": {"total": 7, "trainable": 3},
        "components": {"base weights": 9},
        "peak_instant": "backward",
        "assumptions": ["one"],
    }


def test_a_formula_answers_unless_a_trace_is_asked_for_or_is_the_only_way(tmp_path: Path) -> None:
    """An unknown type has no formula."""
    known = {"model": model(tmp_path / "known"), "sequence_length": 64}
    unknown = {"model": model(tmp_path / "unknown", model_type="seed_oss"), "sequence_length": 64}
    found = formula_of(known, {}, {}, Tracing())
    assert found is not None
    assert found.name == "known"
    assert found.document == document(found.estimate)
    assert formula_of(known, {}, {}, Tracing(always=True)) is None
    assert formula_of(unknown, {}, {}, Tracing()) is None


def test_an_error_of_a_trace_stays_an_error() -> None:
    """It has no document."""
    error = TsplannerError("no")
    assert from_trace(error) is error


Take = Callable[[Traced | TsplannerError], None]


def test_lines_are_answered_in_order_around_those_that_wait_for_a_trace(tmp_path: Path) -> None:
    """One process traces all of them; what is no case is told in its place."""
    known = {"model": model(tmp_path / "known"), "sequence_length": 64}
    unknown = {"model": model(tmp_path / "unknown", model_type="seed_oss"), "sequence_length": 64}
    runs: list[int] = []
    out = io.StringIO()

    def run_traces(cases: Sequence[TracedCase], take: Take) -> None:
        runs.append(len(cases))
        for case in cases:
            take(TsplannerError(f"{case.name} was not traced"))

    lines = [
        json.dumps(known),
        "",
        "[1]",
        "{",
        json.dumps(unknown),
        '{"a": NaN}',
        json.dumps(known),
    ]
    Lines(out, Tracing(), run_traces).run(lines)
    answers = [json.loads(line) for line in out.getvalue().splitlines()]
    assert runs == [1]
    assert [answer.get("error", "")[:24] for answer in answers] == [
        "",
        "a case must be a JSON ob",
        "not valid JSON: Expectin",
        "unknown was not traced",
        "not valid JSON: NaN is n",
        "",
    ]
    assert answers[0]["case"] == known
    assert answers[0] == answers[5]


@pytest.mark.parametrize("case", [{"model": "nowhere-at-all"}, {"sequence_length": 0}])
def test_a_case_that_cannot_be_is_one_sentence(case: dict[str, object]) -> None:
    """The rest of the file goes on."""
    out = io.StringIO()
    Lines(out, Tracing(), lambda cases, take: None).run([json.dumps(case)])
    answer = json.loads(out.getvalue())
    assert answer["case"] == case
    assert answer["error"]


def test_equal_lines_are_estimated_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three lines, two of them equal: three answers, two estimates."""
    estimated: list[object] = []

    def counted(given: Mapping[str, object], *rest: Any) -> Estimated | None:
        estimated.append(given)
        return formula_of(given, *rest)

    monkeypatch.setattr("tsplanner.tracing.estimates.formula_of", counted)
    case, out = {"model": model(tmp_path / "m"), "sequence_length": 64}, io.StringIO()
    lines = [json.dumps(case), json.dumps(case | {"sequence_length": 65}), json.dumps(case)]
    Lines(out, Tracing(), lambda *_: None).run(f"{line}\n" for line in lines)
    first, other, again = out.getvalue().splitlines()
    assert first == again != other
    assert len(estimated) == 2


@pytest.mark.parametrize("line", ['{"lora_dropout": 1e999}', '{"model": "\\ud800"}', "[" * 50_000])
def test_a_line_that_is_no_json_is_answered_in_json(line: str) -> None:
    """An infinity that was echoed would break the reader of our output."""
    out = io.StringIO()
    Lines(out, Tracing(), lambda *_: None).run([line])
    answer = json.loads(out.getvalue(), parse_constant=pytest.fail)
    assert answer["error"].startswith("not valid JSON")
