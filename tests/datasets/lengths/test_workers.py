"""Processes that count spans of a large file side by side."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.rows import large_file, stats
from tsplanner.errors import TsplannerError

ROOT = Path(__file__).resolve().parents[3]
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="one process elsewhere")


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    """Give a file of three spans, with a fault in each."""
    return large_file(tmp_path_factory.mktemp("large"))


@ON_LINUX
def test_two_processes_count_as_one(large, tmp_path):
    """Lengths, faults and their lines do not depend on who reads them."""
    one, two, three = (
        stats(large, workers=count, dropped_file=tmp_path / f"{count}.txt") for count in (1, 2, 3)
    )

    assert large.stat().st_size > 2 * (4 << 20)
    assert one == two == three
    assert [row.line for row in one.dropped[:3]] == [6, 4001, 9000]
    listed = (tmp_path / "1.txt").read_text()
    assert listed == (tmp_path / "2.txt").read_text()
    assert f"{large}:4001: the answer is empty\n" in listed


@ON_LINUX
def test_killed_worker_is_one_clear_sentence(large):
    """Workers that the system kills do not leave the plan waiting, and no process behind."""
    before = set(children())

    def kill_all(*_: int) -> None:
        for victim in set(children()) - before:
            os.kill(victim, signal.SIGKILL)

    with pytest.raises(TsplannerError, match="ended too soon: it was killed, or memory ran out"):
        stats(large, workers=2, progress=kill_all)

    assert set(children()) == before


def children() -> list[int]:
    """Process ids of this process's children."""
    tasks = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return [int(word) for task in tasks for word in task.read_text().split()]


@ON_LINUX
def test_workers_end_with_a_killed_parent(large):
    """Nobody is left reading a gigabyte for a plan that is gone."""
    code = (
        "import sys; from pathlib import Path;"
        "from tsplanner.datasets.lengths.scan import ScanOptions, length_stats;"
        "import time;"
        f"length_stats(Path({str(large)!r}), cutoff_len=900, encoder=None, on_bad='drop',"
        " tokenizer_folder=None, options=ScanOptions(workers=2, progress=lambda *_:"
        " (print('on', flush=True), time.sleep(60))))"
    )
    alpaca = large.parent / "alpaca.jsonl"
    row = json.dumps({"instruction": "Why? " * 200, "output": "So."}).encode() + b"\n"
    alpaca.write_bytes(row * 12000)
    code = code.replace(str(large), str(alpaca))
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"on\n"
    tasks = Path(f"/proc/{parent.pid}/task").glob("*/children")
    workers = [int(word) for task in tasks for word in task.read_text().split()]
    parent.kill()
    parent.wait()
    parent.stdout.close()

    until = time.monotonic() + 20
    while any(alive(worker) for worker in workers) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(alive(worker) for worker in workers)


def alive(process: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@ON_LINUX
def test_processes_read_every_kind_of_file_as_one_does(large, tmp_path):
    """Parquet with one row group, lines, a table and a gzip stream, with faults in each."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = [json.loads(line) for line in large.read_bytes().splitlines()]
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, tmp_path / "a.parquet", compression="none", use_dictionary=False)
    (tmp_path / "b.jsonl").write_bytes(large.read_bytes())
    (tmp_path / "c.csv").write_text("input,output\na,b\na,\na\n")
    (tmp_path / "d.jsonl.gz").write_bytes(gzip.compress(b'{"input": "a", "output": "b"}\n{\n'))
    assert (tmp_path / "a.parquet").stat().st_size > 2 * (4 << 20)

    one, two = (stats(tmp_path, workers=count) for count in (1, 2))

    assert one == two
    places = [(row.file, row.line) for row in one.dropped]
    bad = [(file, line) for file in (0, 1) for line in (6, 4001, 9000)]
    assert places == [*bad, (2, 3), (2, 4), (3, 2)]
    assert [(each.text, each.rows) for each in one.content.remarks if each.kind == "form"] == [
        ("ChatTS", 17994),
        ("input and output, a user turn and an assistant turn", 2),
    ]
