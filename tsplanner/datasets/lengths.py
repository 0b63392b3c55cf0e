"""How long the samples of a dataset are, in tokens and in decoder positions.

T is the tokens of a row's text, S its decoder positions: S = T + sum over series (patches - 2).
``cutoff_len`` is compared with T alone, as ChatTS's own trainer does.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from memory_models.architecture import TimeSeriesEncoder
from tsplanner.datasets.encoding import chatts_answer, chatts_prompt, series_positions
from tsplanner.datasets.readers import dataset_format, read_rows
from tsplanner.datasets.records import DroppedRow, OnBad, Sample
from tsplanner.errors import TsplannerError

# English prose takes 4.2-4.7 characters a token with the Qwen and Llama vocabularies; 4.0 errs on
# the long side. Digits and characters outside ASCII are counted as one token each: Qwen splits
# numbers into digits, and one CJK character takes between half a token and two.
CHARACTERS_PER_TOKEN = 4.0

# What the chat templates of Qwen, Llama 3, Gemma and Mistral put around one question and its
# answer is 8 to 45 tokens; a longer built-in system text is not seen here.
CHAT_TEMPLATE_TOKENS = 45

PAD_MULTIPLE = 8
"""Text of a batch is padded to a multiple of this many tokens."""

QUANTILES = 33
"""Lengths that a plan keeps of a dataset: 32 even steps from the shortest row to the longest."""

_CHUNK_ROWS = 512

TokenCounter = Callable[[list[str]], list[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthStats:
    """Lengths of the kept rows. Positions are those of the decoder, tokens are text only."""

    rows_total: int
    rows_kept: int
    dropped: tuple[DroppedRow, ...] = field(default=())
    longest: int
    """Positions of the longest row, without padding."""
    longest_padded: int
    """Positions of the longest row with its text padded to a multiple of 8."""
    longest_text: int
    """Text tokens of the row with the most."""
    most_series_positions: int
    """Largest sum over a row's series of (patches - 2); 0 for text."""
    mean: float
    """Positions of the mean row."""
    lengths: tuple[int, ...]
    """Positions of every kept row, ascending."""
    padded_lengths: tuple[int, ...]
    """The same with each row's text padded to a multiple of 8."""
    counted_by: str
    """``tokenizer`` or ``estimate``."""


def estimated_tokens(text: str) -> int:
    """Tokens of a text, from its characters alone."""
    single = sum(1 for character in text if character.isdigit() or not character.isascii())
    return single + math.ceil((len(text) - single) / CHARACTERS_PER_TOKEN)


def longest_batch_length(stats: LengthStats, micro_batch_size: int) -> int:
    """Decoder positions of the longest batch that ``micro_batch_size`` rows can make.

    With several rows the longest text and the most patches may come from different rows, and
    both count.
    """
    if micro_batch_size == 1:
        return stats.longest_padded
    return padded_tokens(stats.longest_text) + stats.most_series_positions


def length_quantiles(stats: LengthStats, count: int = QUANTILES) -> tuple[int, ...]:
    """Padded positions at evenly spaced shares of the rows, from the shortest to the longest."""
    lengths = stats.padded_lengths
    last = len(lengths) - 1
    places = [last * step / (count - 1) for step in range(count)]
    return tuple(_between(lengths, place) for place in places)


def _between(lengths: tuple[int, ...], place: float) -> int:
    """The value at a place between two rows, on the straight line that joins them."""
    below = int(place)
    above = min(below + 1, len(lengths) - 1)
    return round(lengths[below] + (place - below) * (lengths[above] - lengths[below]))


def padded_tokens(tokens: int) -> int:
    """The next multiple of 8 tokens."""
    return -(-tokens // PAD_MULTIPLE) * PAD_MULTIPLE


def length_stats(
    path: Path,
    *,
    cutoff_len: int,
    encoder: TimeSeriesEncoder | None,
    tokenizer_folder: Path | None,
    on_bad: OnBad | str = OnBad.REFUSE,
) -> LengthStats:
    """Lengths of a dataset as a model will see them, and the rows it will not see.

    Rows with series whose text is longer than ``cutoff_len`` are dropped, whatever ``on_bad``
    says: cutting them would cut a series' text. Rows without series are cut to ``cutoff_len``.

    Raises TsplannerError: see `read_rows`; also if the rows hold series but the model has no
    encoder, if tokenizer.json is damaged, and if no row is left.
    """
    if encoder is None and dataset_format(path).holds_series:
        raise TsplannerError(
            f"{path} is a ChatTS dataset with time series, but the model has no time-series "
            "encoder; choose a ChatTS model or a text dataset"
        )
    counter = _tokenizer_counter(tokenizer_folder)
    tally = _Tally(cutoff_len=cutoff_len, encoder=encoder)
    for chunk in _chunks(read_rows(path, encoder=encoder, on_bad=on_bad)):
        samples = [row for row in chunk if isinstance(row, Sample)]
        tally.dropped.extend(row for row in chunk if isinstance(row, DroppedRow))
        counts = _text_tokens(samples, encoder, counter or _estimated_counter)
        for sample, tokens in zip(samples, counts, strict=True):
            tally.add(sample, tokens)
    return tally.stats(path, counted_by="estimate" if counter is None else "tokenizer")


@dataclass(slots=True, kw_only=True)
class _Tally:
    """Running figures over the rows of one pass."""

    cutoff_len: int
    encoder: TimeSeriesEncoder | None
    lengths: list[int] = field(default_factory=list)
    padded: list[int] = field(default_factory=list)
    dropped: list[DroppedRow] = field(default_factory=list)
    longest_text: int = 0
    most_series_positions: int = 0

    def add(self, sample: Sample, tokens: int) -> None:
        """Count one row by its text tokens, or note why it is dropped."""
        if tokens > self.cutoff_len:
            if sample.timeseries:
                reason = f"{tokens} tokens of text, more than cutoff_len {self.cutoff_len}"
                self.dropped.append(DroppedRow(line=sample.line, reason=reason))
                return
            tokens = self.cutoff_len
        extra = 0 if self.encoder is None else series_positions(sample, self.encoder)
        self.lengths.append(tokens + extra)
        self.longest_text = max(self.longest_text, tokens)
        self.padded.append(padded_tokens(tokens) + extra)
        self.most_series_positions = max(self.most_series_positions, extra)

    def stats(self, path: Path, *, counted_by: str) -> LengthStats:
        """The finished record."""
        if not self.lengths:
            raise TsplannerError(
                f"no row of {path} is left: every text is longer than cutoff_len "
                f"{self.cutoff_len}; raise --cutoff-len"
            )
        return LengthStats(
            rows_total=len(self.lengths) + len(self.dropped),
            rows_kept=len(self.lengths),
            dropped=tuple(sorted(self.dropped, key=lambda row: row.line)),
            longest=max(self.lengths),
            longest_padded=max(self.padded),
            longest_text=self.longest_text,
            most_series_positions=self.most_series_positions,
            mean=sum(self.lengths) / len(self.lengths),
            lengths=tuple(sorted(self.lengths)),
            padded_lengths=tuple(sorted(self.padded)),
            counted_by=counted_by,
        )


def _chunks(rows: Iterable[Sample | DroppedRow]) -> Iterator[list[Sample | DroppedRow]]:
    iterator = iter(rows)
    while chunk := list(islice(iterator, _CHUNK_ROWS)):
        yield chunk


def _text_tokens(
    samples: list[Sample], encoder: TimeSeriesEncoder | None, counter: TokenCounter
) -> list[int]:
    """Text tokens of each sample; question and answer are tokenised apart, as for training."""
    if encoder is None:
        prompts, answers = [s.input for s in samples], [s.output for s in samples]
        template = CHAT_TEMPLATE_TOKENS
    else:
        prompts, answers = [chatts_prompt(s) for s in samples], [chatts_answer(s) for s in samples]
        template = 0
    return [
        question + answer + template
        for question, answer in zip(counter(prompts), counter(answers), strict=True)
    ]


def _estimated_counter(texts: list[str]) -> list[int]:
    return [estimated_tokens(text) for text in texts]


def _tokenizer_counter(folder: Path | None) -> TokenCounter | None:
    """Counts with the folder's tokenizer.json; None where the file or the library is missing."""
    if folder is None or not (folder / "tokenizer.json").is_file():
        return None
    try:
        library = importlib.import_module("tokenizers")
    except ImportError:
        return None
    try:
        tokenizer = library.Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # the library raises bare Exception
        raise TsplannerError(
            f"{folder / 'tokenizer.json'} cannot be read ({error}); fetch the file again"
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def count(texts: list[str]) -> list[int]:
        # The fast form keeps no offsets into the text; only the count is wanted.
        return [len(e.ids) for e in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    return count
