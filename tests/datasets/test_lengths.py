"""Lengths: what is counted, what is cut, what is dropped."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from memory_models.architecture import TimeSeriesEncoder
from memory_models.settings import from_flat
from tsplanner.datasets.lengths.scan import length_stats
from tsplanner.datasets.lengths.stats import (
    LengthStats,
    length_histogram,
    length_quantiles,
    longest_batch_length,
)
from tsplanner.datasets.lengths.tokens import estimated_tokens
from tsplanner.datasets.records import LengthBin
from tsplanner.errors import TsplannerError

ENCODER = TimeSeriesEncoder(patch_size=8, num_layers=5, hidden_size=8)
ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "configs" / "models" / "tiny-chatts"
SAMPLE = ROOT / "configs" / "datasets" / "sample" / "sample.jsonl"


def written(folder: Path, rows: list[dict[str, object]]) -> Path:
    """Write rows as JSON lines."""
    path = folder / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def series_row(points: int, words: str = "Look") -> dict[str, object]:
    """Make a row with one series of so many points."""
    return {"input": f"{words} <ts><ts/>", "output": "Up.", "timeseries": [[0.5] * points]}


@pytest.mark.parametrize(
    ("text", "tokens"), [("", 0), ("abcd", 1), ("abcde", 2), ("12.5", 4), ("日本", 2)]
)
def test_estimated_tokens_counts_digits_and_foreign_letters_singly(text, tokens):
    """Four characters of English are one token, a digit or a Chinese character is one each."""
    assert tokens == estimated_tokens(text)


def test_length_adds_patches_less_the_two_marks(tmp_path):
    """80 points are 10 patches: 8 positions more than with 16 points in 2 patches."""
    short = length_stats(
        written(tmp_path, [series_row(16)]), cutoff_len=400, encoder=ENCODER, tokenizer_folder=None
    )
    long = length_stats(
        written(tmp_path, [series_row(80)]), cutoff_len=400, encoder=ENCODER, tokenizer_folder=None
    )

    assert long.most.longest - short.most.longest == 8
    assert long.most.longest_text == short.most.longest_text
    assert (short.most.most_series_positions, long.most.most_series_positions) == (0, 8)
    assert long.counted_by == "estimate"


def test_row_with_series_over_the_cutoff_is_dropped_with_its_length(tmp_path):
    """A question with series is never cut; it is left out, and the plan can say so."""
    path = written(tmp_path, [series_row(16), series_row(16, words="word " * 400)])

    stats = length_stats(path, cutoff_len=200, encoder=ENCODER, tokenizer_folder=None)

    assert (stats.rows_total, stats.rows_kept) == (2, 1)
    assert stats.dropped[0].line == 2
    assert stats.dropped[0].reason.endswith("tokens of text, more than cutoff_len 200")


def test_patches_do_not_count_against_the_cutoff(tmp_path):
    """800 points take 100 positions, but not one token of the cutoff."""
    path = written(tmp_path, [series_row(800)])

    stats = length_stats(path, cutoff_len=130, encoder=ENCODER, tokenizer_folder=None)

    assert stats.rows_kept == 1
    assert stats.most.longest == stats.most.longest_text + 98


def test_text_over_the_cutoff_is_cut_to_it(tmp_path):
    """Rows without series are cut, not dropped."""
    path = written(tmp_path, [{"instruction": "word " * 500, "output": "Yes."}])

    stats = length_stats(path, cutoff_len=128, encoder=None, tokenizer_folder=None)

    assert (stats.most.longest, stats.rows_kept, stats.dropped) == (128, 1, ())


def test_no_row_left_says_which_flag_to_raise(tmp_path):
    """A cutoff shorter than every row is an error with its remedy."""
    with pytest.raises(TsplannerError, match="raise --cutoff-len"):
        length_stats(
            written(tmp_path, [series_row(16)]),
            cutoff_len=8,
            encoder=ENCODER,
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


def stats_with(**changes: int) -> LengthStats:
    """Make statistics with a few figures changed."""
    figures = {"longest": 100, "longest_padded": 104, "longest_text": 90} | changes
    return from_flat(
        LengthStats,
        rows_total=2,
        rows_kept=2,
        mean=90.0,
        lengths={80: 1, 100: 1},
        padded_lengths={80: 1, 104: 1},
        counted_by="estimate",
        **figures,
    )


def test_quantiles_are_padded_lengths_at_even_shares_of_the_rows():
    """Rows of 80 and 104 positions: quarters of the way from one to the other."""
    assert length_quantiles(stats_with(most_series_positions=0), 5) == (80, 86, 92, 98, 104)
    assert len(length_quantiles(stats_with(most_series_positions=0))) == 33


def test_quantiles_pad_text_to_eights_and_patches_not(tmp_path):
    """Of one row: its text's next multiple of 8, and 8 positions of patches."""
    path = written(tmp_path, [series_row(80)])
    stats = length_stats(path, cutoff_len=400, encoder=ENCODER, tokenizer_folder=None)
    assert set(length_quantiles(stats)) == {-(-stats.most.longest_text // 8) * 8 + 8}


def test_histogram_has_bars_of_equal_width_that_hold_every_row():
    """Lengths 10 to 19 in three bars are four wide; the last ends at the longest row."""
    assert length_histogram({10: 2, 13: 1, 19: 4}, bins=3) == (
        LengthBin(shortest=10, longest=13, rows=3),
        LengthBin(shortest=14, longest=17, rows=0),
        LengthBin(shortest=18, longest=19, rows=4),
    )
    assert length_histogram({7: 5}) == (LengthBin(shortest=7, longest=7, rows=5),)


def test_longest_batch_of_one_row_is_the_longest_padded_row():
    """Alone, a row brings only its own patches."""
    assert longest_batch_length(stats_with(most_series_positions=30), 1) == 104


def test_longest_batch_of_several_rows_joins_two_maxima():
    """90 tokens are padded to 96, and another row may bring 30 positions of patches."""
    assert longest_batch_length(stats_with(most_series_positions=30), 2) == 126


def test_sample_dataset_is_counted_with_the_tiny_tokenizer():
    """The shipped dataset fits the shipped model: every row is kept."""
    stats = length_stats(SAMPLE, cutoff_len=512, encoder=ENCODER, tokenizer_folder=TINY)

    assert (stats.rows_total, stats.rows_kept) == (440, 440)
    assert stats.counted_by == "tokenizer"
    assert stats.most.longest < 220


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
