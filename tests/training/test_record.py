"""record.json: what is written is read, and so is what version 0.1 wrote."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tsplanner.training.job import JobKind, Status
from tsplanner.training.record import (
    Evaluation,
    MeasuredLosses,
    MeasuredMemory,
    MeasuredTime,
    ProcessMemory,
    Record,
    parse_record,
    record_file,
)

WHOLE = Record(
    status=Status.OK,
    kind=JobKind.TRAIN,
    device_name="Card X",
    steps=7,
    epochs=1.0,
    memory=MeasuredMemory(peak_allocated_bytes=70, process_bytes=90, host_bytes=100),
    timing=MeasuredTime(load_seconds=2.0, step_seconds=(0.5, 0.25), seconds=9.0),
    losses=MeasuredLosses(first_loss=2.0, evaluations=(Evaluation(epoch=1.0, step=7, loss=1.5),)),
    processes=(
        ProcessMemory(
            process=1,
            memory=MeasuredMemory(peak_allocated_bytes=60, process_bytes=80, host_bytes=50),
        ),
    ),
    versions={"torch": "2"},
)
OLD = b"""{"status": "ok", "kind": "train", "message": "", "rank": 0, "device_name": "Card X",
"peak_allocated_bytes": 70, "process_bytes": 90, "host_bytes": 100, "pinned_bytes": null,
"ranks": [{"rank": 1, "allocated": 60, "reserved": null, "process": 80, "host": 50,
"pinned": null}], "allocation_retries": 0, "load_seconds": 2.0, "step_seconds": [0.5, 0.25],
"steps": 7, "epochs": 1.0, "seconds": 9.0, "first_loss": 2.0,
"evaluations": [{"epoch": 1.0, "step": 7, "loss": 1.5}], "versions": {"torch": "2"}}"""


def test_what_is_written_is_read() -> None:
    """Every field comes back, also those of inner records."""
    assert parse_record(msgspec.json.encode(WHOLE)) == WHOLE


def test_a_record_of_version_0_1_says_the_same() -> None:
    """That version listed all fields side by side, and called a process a rank."""
    assert parse_record(OLD) == WHOLE


@pytest.mark.parametrize(
    "document",
    [b"", b"{", b"[]", b"{}", b'{"status": "ok"}', b'{"status": "ok", "ranks": [1]}',
     b'{"status": "ok", "kind": "train", "unheard_of": 1}'],
)  # fmt: skip
def test_what_is_no_record_is_refused_by_one_kind_of_error(document: bytes) -> None:
    """No JSON, no mapping, fields that are missing, wrong or unknown."""
    with pytest.raises(msgspec.MsgspecError):
        parse_record(document)


def test_each_process_has_a_file_of_its_own() -> None:
    """The first one's is the run's."""
    assert record_file(Path("run")) == Path("run/record.json")
    assert record_file(Path("run"), 3) == Path("run/record-3.json")
