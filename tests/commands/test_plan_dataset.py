"""``tsplanner plan --dataset``: what it says of rows that cannot be used, and of lengths."""

from __future__ import annotations

import io
import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.support import forked
from tests.support.planning import environment
from tsplanner.commands.views.scan_bar import ScanBar
from tsplanner.planner.files import read_plan

ROOT = Path(__file__).resolve().parents[2]
GOOD = {"input": "See <ts><ts/> Peak?", "output": "Peak: last quarter.", "timeseries": [[1, 2.5]]}
TOO_LONG = json.dumps(GOOD | {"timeseries": [[0.5] * 32_769]}).encode()

# Of every fault: bytes of the row, the kind it is counted under, the reason that is given.
FAULTS: dict[str, tuple[bytes, str, str]] = {
    "missing field": (
        b'{"input": "See <ts><ts/>", "timeseries": [[1]]}',
        "field missing",
        'field "output" is missing',
    ),
    "fewer series than placeholders": (
        json.dumps(GOOD | {"timeseries": []}).encode(),
        "series and <ts><ts/> differ in number",
        "1 <ts><ts/> in the input but 0 series",
    ),
    "ragged": (
        json.dumps(GOOD | {"timeseries": [[1, [2, 3]]]}).encode(),
        "series not a flat list",
        "series 1 holds a list at point 2",
    ),
    "flat": (
        json.dumps(GOOD | {"timeseries": [1, 2, 3]}).encode(),
        "series not a flat list",
        "series 1 is a number, not a list of numbers",
    ),
    "empty series": (
        json.dumps(GOOD | {"timeseries": [[]]}).encode(),
        "empty series",
        "series 1 is empty",
    ),
    "NaN": (
        json.dumps(GOOD | {"timeseries": [[1, float("nan")]]}).encode(),
        "value not a usable number",
        'field "timeseries" holds NaN, which is not a number',
    ),
    "infinity": (
        json.dumps(GOOD | {"timeseries": [[1, float("-inf")]]}).encode(),
        "value not a usable number",
        'field "timeseries" holds -Infinity, which is not a number',
    ),
    "too many points": (
        TOO_LONG,
        "series too long",
        "series 1 has 32769 points, more than the model's max_sequence_length 32768",
    ),
    "marker in the answer": (
        json.dumps(GOOD | {"output": "Peak: <ts>"}).encode(),
        "<ts> in the answer",
        "<ts> in the output",
    ),
    "not UTF-8": (
        b'{"input": "caf\xe9 <ts><ts/>", "output": "Up.", "timeseries": [[1]]}',
        "not UTF-8",
        "is not UTF-8 (byte 15 of the row)",
    ),
    "not JSON": (b"input,output", "not JSON", "is not JSON (Expecting value: line 1 column 1"),
    "truncated last line": (
        json.dumps(GOOD).encode()[:-20],
        "last line cut off",
        "is cut off: the last line ends before its JSON does",
    ),
}


def plan(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the verb for ChatTS-8B on one described card."""
    asked = ("plan", "--dataset", "rows.jsonl", "--model", "chatts-8b")
    asked += ("--gpus", "RTX 6000 Ada 48GiB", *words)
    return forked.run_text(asked, folder, environment(folder))


def rows(folder: Path, *lines: bytes) -> None:
    """Write the dataset; the last line gets no line end."""
    (folder / "rows.jsonl").write_bytes(b"\n".join(lines))


@pytest.mark.parametrize("name", FAULTS)
def test_bad_row_is_refused_with_file_line_and_reason(tmp_path, name):
    """By default a plan stops at a row that cannot be trained on, and says how to go on."""
    data, _, reason = FAULTS[name]
    rows(tmp_path, json.dumps(GOOD).encode(), json.dumps(GOOD).encode(), data)

    done = plan(tmp_path)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"tsplanner: rows.jsonl:3: {reason}")
    assert done.stderr.endswith("fix the row or leave such rows out with --on-bad-rows drop\n")


def test_every_fault_is_dropped_and_counted_and_nothing_else_is_lost(tmp_path):
    """Twelve faults among thirteen good rows: the good ones are planned with, the others listed."""
    good = json.dumps(GOOD).encode()
    lines = [line for data, _, _ in FAULTS.values() for line in (good, data)]
    rows(tmp_path, *lines[:-1], good, lines[-1])

    done = plan(tmp_path, "--on-bad-rows", "drop", "--json")

    assert done.returncode == 0, done.stderr
    dataset = json.loads(done.stdout)["plan"]["dataset"]
    lengths = dataset["lengths"]
    assert (lengths["rows_total"], lengths["rows_kept"]) == (25, 13)
    counted = {kind["fault"]: kind["rows"] for kind in lengths["dropped"]}
    assert counted == {
        "field missing": 1,
        "series and <ts><ts/> differ in number": 1,
        "series not a flat list": 2,
        "empty series": 1,
        "value not a usable number": 2,
        "series too long": 1,
        "<ts> in the answer": 1,
        "not UTF-8": 1,
        "not JSON": 1,
        "last line cut off": 1,
    }
    lines_listed = (tmp_path / dataset["dropped_file"]).read_text().splitlines()
    listed = [line for line in lines_listed if ": kept; " not in line]
    # All good rows are the same one.
    assert len(lines_listed) - len(listed) == 12
    places = [*range(2, 23, 2), 25]
    reasons = [reason for _, _, reason in FAULTS.values()]
    assert len(listed) == 12
    for line, place, reason in zip(listed, places, reasons, strict=True):
        assert line.startswith(f"rows.jsonl:{place}: {reason}")


def test_dropped_rows_are_named_on_the_screen_and_in_the_plan(tmp_path):
    """A person sees how many, where the first of them are, and where all are listed."""
    good, bad = json.dumps(GOOD).encode(), json.dumps(GOOD | {"timeseries": [[]]}).encode()
    rows(tmp_path, *[good, bad] * 7)

    done = plan(tmp_path, "--on-bad-rows", "drop")

    assert done.returncode == 0, done.stderr
    assert "7 of 14 rows kept" in done.stdout
    assert "left out 7 rows, empty series: lines 2, 4, 6, 8, 10, … (series 1 is empty)\n" in (
        done.stdout
    )
    assert "all rows left out are listed in saves/chatts-8b/dropped-rows.txt\n" in done.stdout
    saved = read_plan(tmp_path / "saves" / "chatts-8b" / "plan.json")
    assert saved.dataset.lengths.dropped[0].first_lines == (2, 4, 6, 8, 10)
    assert saved.time.steps_per_epoch == 1


def test_remembered_lengths_still_name_what_was_dropped(tmp_path):
    """The second plan reads no row and says the same; a lost list is written again."""
    rows(tmp_path, json.dumps(GOOD).encode(), b"{}")
    listed = tmp_path / "saves" / "chatts-8b" / "dropped-rows.txt"
    said = [plan(tmp_path, "--on-bad-rows", "drop").stdout.splitlines()[1:5] for _ in range(2)]
    listed.unlink()
    said.append(plan(tmp_path, "--on-bad-rows", "drop").stdout.splitlines()[1:5])

    assert "left out 1 row, field missing: line 2 (has no field that is not null)" in said[0]
    assert said[0] == said[1] == said[2]
    assert listed.read_text() == "rows.jsonl:2: has no field that is not null\n"


def test_lengths_are_a_line_on_the_screen_and_bars_in_json(tmp_path):
    """Shortest, longest, median, and what of the mean row are series."""
    lines = [json.dumps(GOOD | {"timeseries": [[1.0] * 8 * n]}).encode() for n in range(1, 101)]
    rows(tmp_path, *lines)

    words = plan(tmp_path).stdout
    document = json.loads(plan(tmp_path, "--json").stdout)["plan"]["dataset"]

    line = next(line for line in words.splitlines() if line.startswith("row lengths "))
    assert "of text and 48 of series" in line  # 1 to 100 patches: 50.5 on average, less 2
    assert sum(bar["rows"] for bar in document["lengths"]["histogram"]) == 100
    assert (
        document["lengths"]["histogram"][0]["shortest"]
        < document["lengths"]["histogram"][-1]["longest"]
    )


def test_progress_shows_after_a_second_and_only_then():
    """A quick scan flashes nothing; a long one shows how far, how fast and how many rows."""
    stream, now = io.StringIO(), [0.0]
    with ScanBar(stream, clock=lambda: now[0]) as bar:
        now[0] = 0.9
        bar(90_000_000, 1_000_000_000, 700)
        assert stream.getvalue() == ""
        now[0] = 2.0
        bar(200_000_000, 1_000_000_000, 1500)

    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert "200 of 1,000 MB  100 MB/s  1,500 rows" in drawn


def test_a_pipe_sees_no_bar(tmp_path):
    """Nothing but the plan comes out where nobody looks."""
    rows(tmp_path, json.dumps(GOOD).encode())

    assert plan(tmp_path).stderr == ""
