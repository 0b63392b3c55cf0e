"""The warm server's own parts; whole servers are tested with their client."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tsplanner.training.worker.server import Server, cuda_works_after_fork

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux alone")

WORKER = """
import os, sys

def main(arguments):
    words = f"{arguments} {os.environ['GIVEN']} {os.getpgid(0) == os.getpid()}\\n"
    os.write(1, words.encode())  # past pytest, which has a stdout of its own
    if arguments == ["leave"]:
        sys.exit("no such model")
    return int(arguments[0])
"""


@pytest.fixture
def pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    """Where answers are read and written; a worker's module is on the path."""
    (tmp_path / "server_worker.py").write_text(WORKER)
    monkeypatch.syspath_prepend(str(tmp_path))
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize(("argument", "status"), [("0", 0), ("3", 3), ("leave", 1), ("x", 1)])
def test_a_request_is_a_fork_whose_end_is_told(
    tmp_path: Path, pipe: tuple[int, int], argument: str, status: int
) -> None:
    """Its process id first, then its exit status; its words are in its own log."""
    reading, writing = pipe
    server = Server(answers=writing, entry="server_worker:main")
    log = tmp_path / "log"
    server.start(
        {"id": 7, "log": str(log), "arguments": [argument], "environment": {"GIVEN": "yes"}}
    )
    (pid,) = server.children
    deadline = time.monotonic() + 20
    while server.children and time.monotonic() < deadline:
        server.reap()
        time.sleep(0.01)
    answers = [json.loads(line) for line in os.read(reading, 65536).splitlines()]
    assert answers == [{"id": 7, "pid": pid}, {"id": 7, "exit": status}]
    assert log.read_text().startswith(f"{[argument]} yes True\n")


def test_a_fork_of_a_process_without_cuda_can_start_it() -> None:
    """Also where there is no driver."""
    assert cuda_works_after_fork()
