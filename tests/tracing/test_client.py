"""The tracer's process, from outside."""

from __future__ import annotations

import sys

import pytest

from memory_models.settings import TrainingSettings, from_flat
from tsplanner.errors import TsplannerError
from tsplanner.tracing import client
from tsplanner.tracing.client import refuse
from tsplanner.tracing.records import Subject, TraceOutcome, TraceRequest


def test_refuse_names_what_a_trace_does_not_cover() -> None:
    """Several ranks are left to the formulas."""
    with pytest.raises(TsplannerError, match="A trace covers one GPU"):
        refuse(from_flat(TrainingSettings, world_size=2))


STAND_IN = """
import json, os, sys, time
requests = json.load(open(sys.argv[1]))
with open(sys.argv[2], "w") as results:
    for number, request in enumerate(requests):
        line = json.dumps({"error": request["subject"]["config"]["name"]})
        results.write(line[:5]); results.flush(); time.sleep(0.15)
        results.write(line[5:] + "\\n"); results.flush()
        if number == int(os.environ.get("DIES_AFTER", "99")):
            print("out of luck", flush=True)
            sys.exit(9)
"""


def request(name: str) -> TraceRequest:
    """A request that the stand-in answers with its model's name."""
    return TraceRequest(subject=Subject(config={"name": name}), settings=TrainingSettings())


def test_outcomes_come_whole_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that is still being written is waited for."""
    monkeypatch.setattr(client, "WORKER", (sys.executable, "-c", STAND_IN))
    found: list[TraceOutcome] = []
    client.trace_all([request("a"), request("b")], found.append)
    assert found == [TraceOutcome(error="a"), TraceOutcome(error="b")]


def test_a_tracer_that_dies_is_named_with_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it had finished was handed on before."""
    monkeypatch.setattr(client, "WORKER", (sys.executable, "-c", STAND_IN))
    monkeypatch.setenv("DIES_AFTER", "0")
    found: list[TraceOutcome] = []
    with pytest.raises(TsplannerError, match=r"ended early \(9\): out of luck"):
        client.trace_all([request("a"), request("b")], found.append)
    assert len(found) == 1
