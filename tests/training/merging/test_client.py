"""The parent's side of a merge: stages as they come, and one sentence for a failure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from memory_models.settings import Dtype
from tests.support import tiny
from tsplanner.errors import TsplannerError
from tsplanner.processes import ProcessResult
from tsplanner.training.merging import client
from tsplanner.training.merging.records import Compared, Merged, MergeRequest, MergeTold
from tsplanner.trust import FLAG, granting

DONE = Merged(
    compared=Compared(
        difference=0.01, effect=0.2, same_token=1.0, positions=9, rows=4, from_dataset=True
    ),
    files=1,
    bytes=7,
)


def worker(monkeypatch: pytest.MonkeyPatch, *lines: MergeTold) -> list[list[str]]:
    """A worker that writes these lines and ends; the commands it was started with."""
    started: list[list[str]] = []

    def run(command: Sequence[str], *, log_path: Path, poll: Callable[[], None], **_: Any) -> Any:
        started.append(list(command))
        log_path.write_text("last words\n")
        with Path(command[4]).open("wb") as told:
            for line in lines:
                told.write(msgspec.json.encode(line) + b"\n")
                told.flush()
                poll()
            told.write(b'{"stage": "half a li')
        poll()
        return ProcessResult(exit_status=1, timed_out=False, stopped_by_signal=None, seconds=1.0)

    monkeypatch.setattr(client, "run_process", run)
    return started


def request(folder: Path) -> MergeRequest:
    """A merge of the tiny plan."""
    return MergeRequest(plan=tiny.plan(folder), adapter="a", output="o", dtype=Dtype.FP32)


def test_stages_are_told_once_and_the_end_is_what_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker trusts code of a folder only where this call does."""
    lines = (MergeTold(stage="base loaded"), MergeTold(stage="written"), MergeTold(merged=DONE))
    started = worker(monkeypatch, *lines)
    stages: list[str] = []
    assert client.run_merge(request(tmp_path / "1"), stages.append) == DONE
    assert stages == ["base loaded", "written"]
    with granting(True):
        client.run_merge(request(tmp_path / "2"), stages.append)
    assert [FLAG in command for command in started] == [False, True]


def test_a_reason_is_raised_as_it_was_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the worker's own sentence."""
    worker(monkeypatch, MergeTold(stage="base loaded"), MergeTold(error="It does not fit."))
    with pytest.raises(TsplannerError, match=r"^It does not fit\.$"):
        client.run_merge(request(tmp_path), lambda _: None)


def test_a_worker_that_died_is_told_by_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most often the memory was too small."""
    worker(monkeypatch, MergeTold(stage="base loaded"))
    with pytest.raises(TsplannerError, match=r"ended early \(status 1\).*last words"):
        client.run_merge(request(tmp_path), lambda _: None)


def test_half_a_line_is_not_read(tmp_path: Path) -> None:
    """It is being written."""
    path = tmp_path / "told.jsonl"
    assert client.told(path) == []
    path.write_bytes(b'{"stage": "one"}\n{"stage": "tw')
    assert client.told(path) == [MergeTold(stage="one")]
