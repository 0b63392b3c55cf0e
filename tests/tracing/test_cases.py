"""Cases that are traced, read and answered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memory_models.settings import Optimizer
from tests.support.shrunk import config_of
from tsplanner.errors import TsplannerError
from tsplanner.tracing import cases
from tsplanner.tracing.cases import Traced, TracedCase, largest_tensors, read_traced_case
from tsplanner.tracing.records import Alive, Trace, TraceOutcome, TraceRequest

TRACE = Trace(
    parameters_total=1000,
    parameters_trainable=100,
    persistent_bytes=2**20,
    peak_allocated_bytes=2**21,
    peak_reserved_bytes=2**22,
    peak_instant="forward",
    components={"base weights": 2**21},
    seconds=1.0,
    versions={"torch": "2"},
    alive=(Alive(kind="base weights", origin="", count=2, bytes=2**20),),
)


def case(folder: Path, config: dict[str, object], **given: object) -> TracedCase:
    """A case of a model in a folder."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    return read_traced_case(
        {"model": str(folder), "sequence_length": 64, **given}, {}, {}, trust_remote_code=False
    )


def test_a_known_model_has_an_architecture_and_an_unknown_one_a_reason(tmp_path: Path) -> None:
    """Both can be traced."""
    known = case(tmp_path / "known", config_of("llama"))
    assert known.architecture is not None
    assert known.no_reader == ""
    assert known.request.settings.sequence_length == 64
    unknown = case(tmp_path / "unknown", {**config_of("llama"), "model_type": "seed_oss"})
    assert unknown.architecture is None
    assert 'model_type "seed_oss" has no reader' in unknown.no_reader


@pytest.mark.parametrize(("shape", "model_type"), [("opt", "opt"), ("llama", "seed_oss")])
def test_a_length_above_the_models_is_refused(tmp_path: Path, shape: str, model_type: str) -> None:
    """Whether or not there is a reader, where nothing says that positions are rotary."""
    config = {**config_of(shape), "model_type": model_type}
    with pytest.raises(ValueError, match="sequence_length 129 is above"):
        case(tmp_path / "model", config, sequence_length=129)


@pytest.mark.parametrize("model_type", ["llama", "seed_oss"])
def test_rotary_positions_have_no_end(tmp_path: Path, model_type: str) -> None:
    """A rope key in the config says so, reader or not."""
    config = {**config_of("llama"), "model_type": model_type, "rope_theta": 10_000.0}
    found = case(tmp_path / "model", config, sequence_length=129)
    assert found.request.settings.sequence_length == 129


def test_results_come_in_order_and_errors_are_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The formulas' figures stand beside a trace; a view is told how many cases are done."""
    known = case(tmp_path / "known", config_of("llama"))
    unknown = case(
        tmp_path / "unknown",
        {**config_of("llama"), "model_type": "seed_oss"},
        optimizer=Optimizer.PAGED_ADAMW_32BIT.value,
    )
    answers = [TraceOutcome(trace=TRACE), TraceOutcome(error="no"), TraceOutcome(trace=TRACE)]

    def trace_all(requests: list[TraceRequest], on_outcome: object) -> None:
        assert len(requests) == len(answers)
        for answer in answers:
            on_outcome(answer)  # type: ignore[operator]

    monkeypatch.setattr(cases, "trace_all", trace_all)
    found: list[Traced | TsplannerError] = []
    told: list[tuple[int, int]] = []
    cases.run_traces([known, known, unknown], found.append, lambda *news: told.append(news))
    first, error, last = found
    assert told == [(0, 3), (1, 3), (2, 3)]
    assert isinstance(first, Traced)
    assert first.formula is not None
    assert first.estimate.assumptions[-1].startswith("by formula: ")
    assert isinstance(error, TsplannerError)
    assert str(error) == "no"
    assert isinstance(last, Traced)
    assert last.formula is None
    assert last.estimate.assumptions[-1].startswith("no reader for this model type")
    # Without a reader the bound takes all states of a paged optimizer to be paged onto the card:
    # 8 bytes per trained element.
    extra = last.estimate.process_bytes.upper - first.estimate.process_bytes.upper
    assert extra == 8 * 100


def test_tensors_at_the_peak_are_plain_values() -> None:
    """As a document has them."""
    assert largest_tensors(TRACE) == [
        {"kind": "base weights", "origin": "", "count": 2, "bytes": 2**20}
    ]
