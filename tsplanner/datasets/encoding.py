"""How ChatTS turns series into numbers for its encoder and into text for its decoder. Pure Python.

Source: the value-preserving ("sp") encoding and the chat template published with ChatTS
(August 2025 and later, patch size 8); older releases print a shorter prefix.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from memory_models.architecture import TimeSeriesEncoder
from tsplanner.datasets.checks import PLACEHOLDER
from tsplanner.datasets.records import Sample

NORMALISED_LIMIT = 3.0
"""Largest distance from the mean after normalisation; series within it keep their scale."""

_PROMPT_START = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
_PROMPT_END = "<|im_end|>\n<|im_start|>assistant\n"
_ANSWER_END = "<|im_end|>\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class NormalisedSeries:
    """A series about its mean, and the two numbers that give the raw values back."""

    values: tuple[float, ...]
    """(raw - mean) / scale."""
    offset: float
    """Minus the mean, as the prefix prints it."""
    scale: float


def normalised_series(series: tuple[float, ...]) -> NormalisedSeries:
    """Mean-centred values, scaled to within 3 of the mean if any lies 3 or further off."""
    mean = math.fsum(series) / len(series)
    centred = [value - mean for value in series]
    furthest = max(*centred, -min(centred))
    scale = furthest / NORMALISED_LIMIT if furthest >= NORMALISED_LIMIT else 1.0
    values = tuple(centred) if scale == 1.0 else tuple(value / scale for value in centred)
    return NormalisedSeries(values=values, offset=-mean, scale=scale)


def series_prefix(series: tuple[float, ...]) -> str:
    """The text before a placeholder: what the normalisation takes away, in plain figures."""
    normalised = normalised_series(series)
    return (
        f"[offset={normalised.offset:.4f}|scaling={normalised.scale:.4f}|length={len(series)}"
        f"|max={max(series):.4f}|min={min(series):.4f}"
        f"|left={series[0]:.4f}|right={series[-1]:.4f}]"
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
