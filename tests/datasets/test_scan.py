"""The pass over a file: in spans, in several processes, with faults, always the same figures."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memory_models.architecture import TimeSeriesEncoder
from tsplanner.datasets.lengths.scan import length_stats
from tsplanner.datasets.lengths.stats import LengthStats
from tsplanner.datasets.lengths.tokens import estimated_tokens
from tsplanner.datasets.records import DroppedRow
from tsplanner.datasets.rows.raw import SpanRows
from tsplanner.datasets.rows.readers import read_rows
from tsplanner.datasets.series_encoding import chatts_answer, chatts_prompt, series_positions
from tsplanner.errors import TsplannerError

ENCODER = TimeSeriesEncoder(
    patch_size=8, num_layers=5, hidden_size=8, max_sequence_length=64, use_position_embedding=True
)
ROOT = Path(__file__).resolve().parents[2]
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="one process elsewhere")


def chatts(words: str = "Load", answer: str = "Up.", *series: list[float]) -> bytes:
    """Make a row with a placeholder for every series."""
    text = words + " <ts><ts/>" * len(series)
    return json.dumps({"input": text, "output": answer, "timeseries": list(series)}).encode()


def stats(path: Path, *, workers: int = 1, cutoff_len: int = 300, **more: object) -> LengthStats:
    """Scan with faults dropped."""
    return length_stats(
        path,
        cutoff_len=cutoff_len,
        encoder=ENCODER,
        tokenizer_folder=None,
        workers=workers,
        **{"on_bad": "drop", **more},
    )


def by_definition(path: Path, cutoff_len: int) -> tuple[dict[int, int], list[tuple[int, str]]]:
    """(rows by positions, lines and reasons dropped), row by row as the formulas say."""
    lengths: dict[int, int] = {}
    dropped = []
    for row in read_rows(path, encoder=ENCODER, on_bad="drop"):
        if isinstance(row, DroppedRow):
            dropped.append((row.line, row.reason))
            continue
        text = estimated_tokens(chatts_prompt(row)) + estimated_tokens(chatts_answer(row))
        if text > cutoff_len and row.timeseries:
            reason = f"{text} tokens of text, more than cutoff_len {cutoff_len}"
            dropped.append((row.line, reason))
            continue
        length = min(text, cutoff_len) + series_positions(row, ENCODER)
        lengths[length] = lengths.get(length, 0) + 1
    return lengths, dropped


SERIES = st.lists(st.floats(-1e6, 1e6), min_size=0, max_size=70)
GOOD = st.builds(
    chatts, st.text("abc é7", max_size=900), st.just("Up."), st.lists(st.floats(-9, 9), min_size=1)
)
ANY = st.builds(chatts, st.text("ab<ts>", max_size=20), st.text("<ts> ", max_size=5), SERIES)
LINES = st.lists(
    GOOD | ANY | st.binary(max_size=30).filter(lambda data: b"\n" not in data), max_size=12
)


@settings(
    deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(lines=LINES, ended=st.booleans())
def test_figures_are_those_of_the_definition_whatever_the_rows(tmp_path, lines, ended):
    """Good rows, faulty rows, bytes that are no rows: lengths, lines and reasons agree."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join([chatts("a", "b", [1.0]), *lines]) + b"\n" * ended)

    found = stats(path)
    lengths, dropped = by_definition(path, 300)

    assert found.lengths == lengths
    assert [(row.line, row.reason) for row in found.dropped] == dropped
    assert found.rows_total == sum(lengths.values()) + len(dropped)


@given(
    lines=st.lists(st.sampled_from([b"", b" ", b"x", b"yy", b"zzz" * 9]), max_size=20),
    cuts=st.lists(st.integers(0, 60), max_size=5),
    ended=st.booleans(),
)
@settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_spans_give_every_line_once_and_in_order(tmp_path, lines, cuts, ended):
    """Wherever a file is cut, a line belongs to the span that it begins in."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n" * ended)
    size = path.stat().st_size
    ends = sorted({min(cut, size) for cut in cuts} | {size})

    found, line = [], 0
    for start, end in zip([0, *ends], ends, strict=False):
        span = SpanRows(path, start, end)
        found += [(line + row.line, row.data) for row in span]
        line += span.lines

    kept = [(number, data) for number, data in enumerate(lines, start=1) if data.strip()]
    assert [(number, data.rstrip(b"\n")) for number, data in found] == kept


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    """Give a file of three spans, with a fault in each."""
    path = tmp_path_factory.mktemp("large") / "rows.jsonl"
    with path.open("wb") as file:
        for number in range(9000):
            bad = number in (5, 4000, 8999)
            values = [float(number % 7 + step) / 8 for step in range(60)]
            row = chatts("Load " * (number % 90), "" if bad else "Up.", values, values)
            file.write(row + b"\n")
    return path


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
    assert f"{large}:4001: the output is empty\n" in listed


def test_progress_is_told_bytes_and_rows(large):
    """It ends at all bytes and all rows."""
    told: list[tuple[int, int, int]] = []

    stats(large, progress=lambda *news: told.append(news))

    size = large.stat().st_size
    assert told[-1] == (size, size, 9000)
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)


@ON_LINUX
def test_killed_worker_is_one_clear_sentence(large):
    """A worker that the system kills does not leave the plan waiting, and no process behind."""

    def kill_one(*_: int) -> None:
        (victim, *_rest) = children()
        os.kill(victim, signal.SIGKILL)

    with pytest.raises(TsplannerError, match="ended too soon: it was killed, or memory ran out"):
        stats(large, workers=2, progress=kill_one)

    assert children() == []


def children() -> list[int]:
    """Process ids of this process's children."""
    tasks = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return [int(word) for task in tasks for word in task.read_text().split()]


@ON_LINUX
def test_workers_end_with_a_killed_parent(large):
    """Nobody is left reading a gigabyte for a plan that is gone."""
    code = (
        "import sys; from pathlib import Path;"
        "from tsplanner.datasets.lengths.scan import length_stats;"
        "import time;"
        f"length_stats(Path({str(large)!r}), cutoff_len=900, encoder=None, on_bad='drop',"
        " tokenizer_folder=None, workers=2, progress=lambda *_: (print('on', flush=True),"
        " time.sleep(60)))"
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


def test_refusal_tells_of_all_bad_rows_and_lists_them(tmp_path):
    """One message for thirteen faults, so that a file is mended once."""
    path, listed = tmp_path / "rows.jsonl", tmp_path / "dropped.txt"
    bad = [chatts("a", "", [1.0])] * 12 + [b"{"]
    path.write_bytes(b"\n".join([chatts("a", "b", [1.0]), *bad, b""]))

    with pytest.raises(TsplannerError) as caught:
        stats(path, on_bad="refuse", dropped_file=listed)

    assert str(caught.value) == (
        f"{path}:2: the output is empty, the first of 13 bad rows (12 empty answer, 1 not JSON); "
        f"all are listed in {listed}; mend them or leave such rows out with --on-bad-rows drop"
    )
    assert listed.read_text().count("\n") == 13


def test_text_over_the_cutoff_is_dropped_but_never_refused(tmp_path):
    """It is no fault of the file."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join([chatts("a", "b", [1.0]), chatts("word " * 2000, "b", [1.0])]))

    found = stats(path, on_bad="refuse")

    assert (found.rows_kept, found.dropped_kinds[0].fault) == (1, "text over cutoff_len")
    assert found.dropped_kinds[0].first_lines == (2,)


def test_a_list_of_an_earlier_scan_goes_when_nothing_is_dropped(tmp_path):
    """A mended file has no list of bad rows any more."""
    path, listed = tmp_path / "rows.jsonl", tmp_path / "dropped.txt"
    path.write_bytes(chatts("a", "b", [1.0]) + b"\n{}\n")
    stats(path, dropped_file=listed)
    assert listed.read_text() == f'{path}:2: field "input" is missing\n'
    path.write_bytes(chatts("a", "b", [1.0]))

    stats(path, dropped_file=listed)

    assert not listed.exists()


def test_mean_row_is_its_text_and_its_patches(tmp_path):
    """Rows of 1 and 5 patches: 3 on average, of which two take the places of the marks."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(chatts("a", "b", [1.0] * 8) + b"\n" + chatts("a", "b", [1.0] * 40))

    found = stats(path)

    assert found.mean - found.mean_text == 1.0
    assert found.most.most_series_positions == 3


def test_the_row_with_the_most_patches_is_known(tmp_path: Path) -> None:
    """Two series of 9 and 20 points in patches of 8 are 2 + 3; one of 17 is 3."""
    rows = [
        {"input": "<ts><ts/> <ts><ts/>", "output": "a", "timeseries": [[1.0] * 9, [2.0] * 20]},
        {"input": "<ts><ts/>", "output": "b", "timeseries": [[1.0] * 17]},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = length_stats(path, cutoff_len=500, encoder=ENCODER, tokenizer_folder=None)
    assert found.most.most_patches == 5
