"""The pass over a file: in spans, in several processes, with faults, always the same figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.rows import (
    ENCODER,
    UNLIMITED_ENCODER,
    chatts,
    large_file,
    series_row,
    stats,
    written,
)
from tsplanner.datasets.lengths.scan import length_stats
from tsplanner.datasets.records import DroppedRow, Noticed
from tsplanner.datasets.rendering.fixed import ChatTSRenderer
from tsplanner.datasets.rendering.pieces import joined
from tsplanner.datasets.rows.readers import read_rows
from tsplanner.datasets.series_encoding import series_positions
from tsplanner.datasets.tokens.tokenizer import estimated_tokens
from tsplanner.errors import TsplannerError

ROOT = Path(__file__).resolve().parents[3]


def by_definition(path: Path, cutoff_len: int) -> tuple[dict[int, int], list[tuple[int, str]]]:
    """(rows by positions, lines and reasons dropped), row by row as the formulas say."""
    lengths: dict[int, int] = {}
    dropped = []
    for row in read_rows(path, encoder=ENCODER, on_bad="drop"):
        if isinstance(row, DroppedRow):
            dropped.append((row.line, row.reason))
            continue
        text = estimated_tokens(joined(ChatTSRenderer().pieces(row)))
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


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    """Give a file of three spans, with a fault in each."""
    return large_file(tmp_path_factory.mktemp("large"))


def test_progress_is_told_bytes_and_rows(large):
    """It ends at all bytes and all rows."""
    told: list[tuple[int, int, int]] = []

    stats(large, progress=lambda *news: told.append(news))

    size = large.stat().st_size
    assert told[-1] == (size, size, 9000)
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)


def test_refusal_tells_of_all_bad_rows_and_lists_them(tmp_path):
    """One message for thirteen faults, so that a file is fixed once."""
    path, listed = tmp_path / "rows.jsonl", tmp_path / "dropped.txt"
    bad = [chatts("a", "", [1.0])] * 12 + [b"{"]
    path.write_bytes(b"\n".join([chatts("a", "b", [1.0]), *bad, b""]))

    with pytest.raises(TsplannerError) as caught:
        stats(path, on_bad="refuse", dropped_file=listed)

    assert str(caught.value) == (
        f"{path}:2: the answer is empty, the first of 13 bad rows (12 empty answer, 1 not JSON); "
        f"all are listed in {listed}; fix them or leave such rows out with --on-bad-rows drop"
    )
    assert listed.read_text().count("\n") == 13


def test_a_refusal_counts_only_rows_that_have_to_be_fixed(tmp_path):
    """A row of which nothing is learned is left out, and is no bad row."""
    path = tmp_path / "rows.jsonl"
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "train": 0}]
    rows = [json.dumps({"messages": said}).encode(), chatts("a", "", [1.0]), b"{"]
    path.write_bytes(b"\n".join([*rows, chatts("a", "b", [1.0]), b""]))

    with pytest.raises(TsplannerError, match=r"2 bad rows \(1 empty answer, 1 not JSON\)"):
        stats(path, on_bad="refuse")


def test_text_over_the_cutoff_is_dropped_but_never_refused(tmp_path):
    """It is no fault of the file."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join([chatts("a", "b", [1.0]), chatts("word " * 2000, "b", [1.0])]))

    found = stats(path, on_bad="refuse")

    assert (found.rows_kept, found.dropped_kinds[0].fault) == (1, "text over cutoff_len")
    assert found.dropped_kinds[0].first_lines == (2,)


def test_the_tokens_that_hold_every_row_that_was_cut_are_known(tmp_path: Path) -> None:
    """Of two rows that were cut the longer one counts, whichever comes first."""
    path = tmp_path / "rows.jsonl"

    def row(words: int) -> str:
        return json.dumps({"prompt": "a", "completion": "word " * words}) + "\n"

    def whole(*lengths: int) -> str:
        path.write_text("".join(map(row, lengths)))
        found = length_stats(path, cutoff_len=500, encoder=None, tokenizer_folder=None)
        (cut,) = [each for each in found.content.remarks if each.kind == Noticed.CUT]
        assert cut.rows == len([length for length in lengths if length > 100])
        return cut.text

    longest = whole(1, 3000)
    assert int(longest) > 500
    assert whole(3000, 2000) == whole(2000, 3000) == longest


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


TINY = ROOT / "configs" / "models" / "tiny-chatts"


SAMPLE = ROOT / "configs" / "datasets" / "sample" / "sample.jsonl"


def test_length_adds_patches_less_the_two_marks(tmp_path):
    """80 points are 10 patches: 8 positions more than with 16 points in 2 patches."""
    short = length_stats(
        written(tmp_path, [series_row(16)]),
        cutoff_len=400,
        encoder=UNLIMITED_ENCODER,
        tokenizer_folder=None,
    )
    long = length_stats(
        written(tmp_path, [series_row(80)]),
        cutoff_len=400,
        encoder=UNLIMITED_ENCODER,
        tokenizer_folder=None,
    )

    assert long.most.longest - short.most.longest == 8
    assert long.most.longest_text == short.most.longest_text
    assert (short.most.most_series_positions, long.most.most_series_positions) == (0, 8)
    assert long.counted_by == "estimate"


def test_row_with_series_over_the_cutoff_is_dropped_with_its_length(tmp_path):
    """A question with series is never cut; it is left out, and the plan can say so."""
    path = written(tmp_path, [series_row(16), series_row(16, words="word " * 400)])

    found = length_stats(path, cutoff_len=200, encoder=UNLIMITED_ENCODER, tokenizer_folder=None)

    assert (found.rows_total, found.rows_kept) == (2, 1)
    assert found.dropped[0].line == 2
    assert found.dropped[0].reason.endswith("tokens of text, more than cutoff_len 200")


def test_patches_do_not_count_against_the_cutoff(tmp_path):
    """800 points take 100 positions, but not one token of the cutoff."""
    path = written(tmp_path, [series_row(800)])

    found = length_stats(path, cutoff_len=130, encoder=UNLIMITED_ENCODER, tokenizer_folder=None)

    assert found.rows_kept == 1
    assert found.most.longest == found.most.longest_text + 98


def test_text_over_the_cutoff_is_cut_to_it(tmp_path):
    """Rows without series are cut, not dropped."""
    path = written(tmp_path, [{"instruction": "word " * 500, "output": "Yes."}])

    found = length_stats(path, cutoff_len=128, encoder=None, tokenizer_folder=None)

    assert (found.most.longest, found.rows_kept, found.dropped) == (128, 1, ())


def test_no_row_left_says_which_flag_to_raise(tmp_path):
    """A cutoff shorter than every row is an error with its remedy."""
    with pytest.raises(TsplannerError, match="raise --cutoff-len"):
        length_stats(
            written(tmp_path, [series_row(16)]),
            cutoff_len=8,
            encoder=UNLIMITED_ENCODER,
            tokenizer_folder=None,
        )


def test_series_for_a_model_without_encoder_are_refused(tmp_path):
    """A text model cannot be trained on series."""
    with pytest.raises(TsplannerError, match="the model has no time-series encoder"):
        length_stats(
            written(tmp_path, [series_row(16)]),
            cutoff_len=400,
            encoder=None,
            tokenizer_folder=None,
        )


def test_sample_dataset_is_counted_with_the_tiny_tokenizer():
    """The shipped dataset fits the shipped model: every row is kept."""
    found = length_stats(SAMPLE, cutoff_len=512, encoder=UNLIMITED_ENCODER, tokenizer_folder=TINY)

    assert (found.rows_total, found.rows_kept) == (440, 440)
    assert found.counted_by == "tokenizer"
    assert found.most.longest < 220


def test_counting_lengths_imports_no_heavy_library():
    """`plan` starts fast: neither torch nor transformers nor numpy is loaded to count."""
    code = (
        "import sys; from pathlib import Path;"
        "from tsplanner.datasets.lengths.scan import length_stats;"
        "from memory_models.architecture import TimeSeriesEncoder as E;"
        f"length_stats(Path({str(SAMPLE)!r}), cutoff_len=900, tokenizer_folder=None,"
        " encoder=E(patch_size=8, num_layers=5, hidden_size=8));"
        "print([m for m in ('torch', 'transformers', 'numpy') if m in sys.modules])"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )

    assert done.stdout == "[]\n"
