"""How ChatTS turns series into numbers for its encoder and into text for its decoder. Pure Python.

Source: the value-preserving ("sp") encoding and the chat template published with ChatTS
(August 2025 and later, patch size 8); older releases print a shorter prefix.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from memory_models.architecture import TimeSeriesEncoder
from tsplanner.datasets.records import Sample
from tsplanner.datasets.rows.checks import PLACEHOLDER

NORMALISED_LIMIT = 3.0
"""Largest distance from the mean after normalisation; series within it keep their scale."""

_PROMPT_START = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
_PROMPT_END = "<|im_end|>\n<|im_start|>assistant\n"
_ANSWER_END = "<|im_end|>\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesFigures:
    """What the prefix of a series tells, and its normalisation takes away."""

    points: int
    mean: float
    scale: float
    """1, or a third of the largest distance from the mean."""
    largest: float
    smallest: float
    first: float
    last: float


def series_figures(series: tuple[float, ...]) -> SeriesFigures:
    """Figures of a series that is not empty; the sum is exact, whatever the order.

    The largest distance from the mean is that of the largest or of the smallest value: rounding
    keeps the order of differences, so the other values need not be looked at.
    """
    mean = math.fsum(series) / len(series)
    largest, smallest = max(series), min(series)
    furthest = max(largest - mean, mean - smallest)
    return SeriesFigures(
        points=len(series),
        mean=mean,
        scale=furthest / NORMALISED_LIMIT if furthest >= NORMALISED_LIMIT else 1.0,
        largest=largest,
        smallest=smallest,
        first=series[0],
        last=series[-1],
    )


def normalised_series(series: tuple[float, ...]) -> tuple[float, ...]:
    """(value - mean) / scale: within 3 of zero, unless the series was so from the start."""
    figures = series_figures(series)
    return tuple((value - figures.mean) / figures.scale for value in series)


def series_prefix(series: tuple[float, ...]) -> str:
    """The text before a placeholder: what the normalisation takes away, in plain figures.

    ``offset`` is minus the mean.
    """
    found = series_figures(series)
    return (
        f"[offset={-found.mean:.4f}|scaling={found.scale:.4f}|length={found.points}"
        f"|max={found.largest:.4f}|min={found.smallest:.4f}"
        f"|left={found.first:.4f}|right={found.last:.4f}]"
    )


def input_text(sample: Sample) -> str:
    """The question with a prefix before every placeholder; the placeholders stay."""
    pieces = sample.input.split(PLACEHOLDER)
    text = pieces[0]
    for series, piece in zip(sample.timeseries, pieces[1:], strict=True):
        text += series_prefix(series) + PLACEHOLDER + piece
    return text


def chatts_prompt(sample: Sample) -> str:
    """Everything the model reads before it answers: system text, question, turn marks."""
    return _PROMPT_START + input_text(sample) + _PROMPT_END


def chatts_answer(sample: Sample) -> str:
    """What the model is trained to write."""
    return sample.output + _ANSWER_END


def series_positions(sample: Sample, encoder: TimeSeriesEncoder) -> int:
    """Decoder positions that the series add to the text: sum of (patches - 2).

    Each pair ``<ts><ts/>``, two tokens of text, is replaced by the patches of its series.
    """
    return sum(encoder.patches(len(series)) - 2 for series in sample.timeseries)
