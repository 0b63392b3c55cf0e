"""Synthetic series whose features are known, and questions with their answers about them.

The answers are short sentences that count points from 1. The sample dataset in configs/datasets
asks about the same features in other words and with other labels, so that fine-tuning on it has
something to learn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from vocabulary import COMMON_WORDS

from tsplanner.datasets.records import Conversation
from tsplanner.datasets.rows.turns import asked_and_answered

SHORTEST, LONGEST = 48, 128
TS = "<ts><ts/>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """A series and what it was made of. Positions count from 1; None: the feature is absent."""

    values: tuple[float, ...]
    slope: int
    """1 up, -1 down, 0 level."""
    period: int | None
    shift: tuple[int, int] | None
    """Position and direction."""
    spike: tuple[int, int] | None
    """Position and direction."""
    noisy: bool


def signal(random: np.random.Generator) -> Signal:
    """One series of 48-128 points with random features at a random scale."""
    points = int(random.integers(SHORTEST, LONGEST + 1))
    time = np.arange(points)
    slope = int(random.integers(-1, 2))
    curve = slope * random.uniform(1.5, 5.0) * time / points
    period = shift = spike = None
    if random.random() < 0.4:
        period = int(random.choice([4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24]))
        phase = random.uniform(0, 2 * np.pi)
        curve = curve + random.uniform(0.7, 2.0) * np.sin(2 * np.pi * time / period + phase)
    noisy = bool(random.random() < 0.4)
    curve = curve + random.normal(0, 0.5 if noisy else 0.08, points)
    if random.random() < 0.3:
        place, direction = int(random.integers(points // 5, points - points // 5)), _sign(random)
        curve[place:] += direction * random.uniform(2.5, 5.0)
        shift = (place + 1, direction)
    if random.random() < 0.3:
        place, direction = int(random.integers(2, points - 2)), _sign(random)
        curve[place] += direction * random.uniform(5.0, 9.0)
        spike = (place + 1, direction)
    scale = 10.0 ** random.uniform(-1, 2.5)
    curve = curve * scale + random.normal(0, 10) * scale
    values = tuple(np.round(curve, 3).tolist())
    return Signal(values=values, slope=slope, period=period, shift=shift, spike=spike, noisy=noisy)


def _sign(random: np.random.Generator) -> int:
    return 1 if random.random() < 0.5 else -1


def _trend(signal: Signal) -> str:
    return {1: "The series rises.", -1: "The series falls.", 0: "It stays level."}[signal.slope]


def _season(signal: Signal) -> str:
    if signal.period is None:
        return "No cycle is visible."
    return f"It repeats every {signal.period} points."


def _shift(signal: Signal) -> str:
    if signal.shift is None:
        return "The level does not jump."
    place, direction = signal.shift
    return f"The level jumps {'up' if direction > 0 else 'down'} at point {place}."


def _spike(signal: Signal) -> str:
    if signal.spike is None:
        return "There is no spike."
    place, direction = signal.spike
    return f"A spike points {'up' if direction > 0 else 'down'} at point {place}."


def _highest(signal: Signal) -> str:
    return f"The highest value is at point {int(np.argmax(signal.values)) + 1}."


def _lowest(signal: Signal) -> str:
    return f"The lowest value is at point {int(np.argmin(signal.values)) + 1}."


def _noise(signal: Signal) -> str:
    return "The noise is high." if signal.noisy else "The noise is low."


def _half(signal: Signal) -> str:
    middle = len(signal.values) // 2
    first, second = np.mean(signal.values[:middle]), np.mean(signal.values[middle:])
    return f"The {'second' if second > first else 'first'} half is higher on average."


def _describe(signal: Signal) -> str:
    return " ".join((_trend(signal), _season(signal), _shift(signal), _spike(signal)))


QUESTIONS: tuple[tuple[Callable[[Signal], str], tuple[str, ...]], ...] = (
    (_trend, (f"{TS} Does the series rise or fall?", f"What is the trend of {TS}?")),
    (_season, (f"Is there a cycle in {TS}?", f"{TS} How often does the pattern repeat?")),
    (_shift, (f"Does the level of {TS} jump?", f"{TS} Where does the level change?")),
    (_spike, (f"Is there a spike in {TS}?", f"{TS} Where is the spike, if any?")),
    (_highest, (f"{TS} Where is the maximum?", f"At which point is {TS} highest?")),
    (_lowest, (f"{TS} Where is the minimum?", f"At which point is {TS} lowest?")),
    (_noise, (f"How noisy is {TS}?", f"{TS} Is the noise high or low?")),
    (_half, (f"Which half of {TS} is higher?", f"{TS} Compare the two halves.")),
    (_describe, (f"Describe {TS}.", f"{TS} What do you see?")),
)

PAIR_QUESTION = f"Compare {TS} with {TS}: which one rises more?"


WORDS = tuple(COMMON_WORDS.split())


def _echo(random: np.random.Generator) -> Conversation:
    """A request to repeat a few words: no series, only language."""
    words = [str(word) for word in random.choice(WORDS, int(random.integers(3, 9)))]
    words = [word.capitalize() if random.random() < 0.3 else word for word in words]
    text = words[0]
    for word in words[1:]:
        text += str(random.choice([" ", ", ", ": ", " ", "? ", ". "])) + word
    return Conversation(turns=asked_and_answered(f"Repeat this. {text}.", f"{text}."), line=0)


def sample(random: np.random.Generator) -> Conversation:
    """One question with its answer; one row in five repeats words, one in ten has two series."""
    if random.random() < 0.2:
        return _echo(random)
    first = signal(random)
    if random.random() < 0.1:
        second = signal(random)
        order = {1: "The first one.", -1: "The second one.", 0: "Neither of them."}
        difference = int(np.sign(first.slope - second.slope))
        series = (first.values, second.values)
        return Conversation(
            turns=asked_and_answered(PAIR_QUESTION, order[difference]), timeseries=series, line=0
        )
    answer, wordings = QUESTIONS[int(random.integers(len(QUESTIONS)))]
    wording = wordings[int(random.integers(len(wordings)))]
    return Conversation(
        turns=asked_and_answered(wording, answer(first)), timeseries=(first.values,), line=0
    )
