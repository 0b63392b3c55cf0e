"""The tracer's own process, from its files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import torch

from memory_models.settings import TrainingSettings, from_flat
from tests.support.shrunk import config_of
from tsplanner.tracing import trace
from tsplanner.tracing.records import Subject, Trace, TraceOutcome, TraceRequest
from tsplanner.tracing.worker import main, outcome
from tsplanner.training.worker import environment_variables


def request(config: dict[str, object], **changes: object) -> TraceRequest:
    """A short case."""
    settings = from_flat(TrainingSettings, sequence_length=32, **changes)
    return TraceRequest(subject=Subject(config=config), settings=settings)


@pytest.fixture
def _same_process_afterwards(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Restore what the worker sets for the whole of its own process."""
    for name, value in environment_variables.DEFAULTS.items():
        monkeypatch.setenv(name, value)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("_same_process_afterwards")
def test_every_request_gets_a_line_in_order(tmp_path: Path) -> None:
    """A case that cannot be traced does not end the others."""
    asked, answered = tmp_path / "requests.json", tmp_path / "results.jsonl"
    requests = [request({"model_type": "nope"}), request(config_of("llama"))]
    asked.write_bytes(msgspec.json.encode(requests))
    assert main([str(asked), str(answered)]) == 0
    lines = answered.read_bytes().splitlines()
    refused, traced = (msgspec.json.decode(line, type=TraceOutcome) for line in lines)
    assert refused.trace is None
    assert str(refused.error).startswith('The installed transformers has no model of type "nope"')
    assert traced.error == ""
    assert traced.trace is not None
    assert traced.trace.peak_allocated_bytes > 0


def test_an_error_that_nobody_foresaw_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its type and its first line."""

    def fail(_: TraceRequest) -> Trace:
        raise LookupError("no such row\nand more")

    monkeypatch.setattr(trace, "trace_memory", fail)
    found = outcome(request(config_of("llama")))
    assert found.trace is None
    assert str(found.error).startswith("The trace failed (LookupError: no such row)")
    assert "\n" not in str(found.error)


def test_a_config_with_words_for_numbers_is_told_as_such() -> None:
    """By the field that transformers refuses."""
    found = outcome(request({**config_of("llama"), "hidden_size": "wide"}))
    assert "hidden_size" in str(found.error)
    assert "compare them with the published config.json" in str(found.error)
