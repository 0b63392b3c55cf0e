"""Answers to a few held-out rows while a full run trains: the flags, and when they are refused."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from memory_models.generation import generation_room
from memory_models.units import counted
from tsplanner.commands.inputs.values import positive
from tsplanner.console import command
from tsplanner.datasets.split import held_out_count
from tsplanner.errors import TsplannerError
from tsplanner.planner.evaluate import step_settings
from tsplanner.planner.plan import Plan
from tsplanner.probe.runner import JOB_FILE
from tsplanner.reading import decoded, read_text
from tsplanner.training.job import ANSWERS_FILE, SAMPLE_SECONDS, SampledAnswers

FLAG, TOKENS_FLAG = "--sample-answers", "--sample-tokens"
NEW_TOKENS = 64
MOST_ROWS, MOST_NEW_TOKENS = 32, 2048


def add_samples_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verbs that end in a full run."""
    parser.add_argument(
        FLAG,
        type=lambda text: _up_to(text, MOST_ROWS, least=0),
        metavar="N",
        help="held-out rows that the full run answers after each evaluation [0, or as begun]",
    )
    parser.add_argument(
        TOKENS_FLAG,
        type=lambda text: _up_to(text, MOST_NEW_TOKENS),
        metavar="N",
        help=f"most tokens of such an answer [{NEW_TOKENS}]",
    )


def _up_to(text: str, most: int, least: int = 1) -> int:
    value = positive(text, least)
    if value > most:
        raise argparse.ArgumentTypeError(f"must be at most {most}, not {value}")
    return value


def asked_samples(namespace: argparse.Namespace) -> SampledAnswers | None:
    """What was asked for; None: nothing was said.

    Raises TsplannerError for a length of answers without any answers.
    """
    rows, tokens = namespace.sample_answers, namespace.sample_tokens
    if not rows and tokens is not None:
        raise TsplannerError(
            f"{TOKENS_FLAG} needs {FLAG} N, which says how many rows are answered."
        )
    return None if rows is None else SampledAnswers(rows=rows, new_tokens=tokens or NEW_TOKENS)


def begun_with(folder: Path) -> SampledAnswers | None:
    """What a run in a folder was started with, which goes on with it; None: nothing."""
    try:
        begun: Any = decoded(read_text(folder / JOB_FILE))["extras"]["samples"]
        return SampledAnswers(rows=int(begun["rows"]), new_tokens=int(begun["new_tokens"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def sized(plan: Plan, asked: SampledAnswers | None) -> SampledAnswers | None:
    """The request with the positions for which the plan's step has room; None: no rows at all.

    Raises TsplannerError for a plan whose run cannot answer rows on the way, and says why.
    """
    if asked is None or not asked.rows:
        return None
    why = next(_obstacles(plan), None)
    if why is not None:
        raise TsplannerError(f"{FLAG} {why}")
    architecture, new = plan.architecture, asked.new_tokens
    settings = step_settings(
        plan.learning,
        plan.hardware,
        plan.dataset,
        reads_series=architecture.encoder is not None,
    )
    most, positions = plan.dataset.lengths.longest + new, architecture.positions
    if positions.learned_position_count:
        most = min(most, positions.max_position_embeddings)
    room = generation_room(architecture, settings, most)
    if room <= new:
        raise TsplannerError(
            f"{FLAG} has no room: prompt and answer of {counted(room, 'position')} take the memory "
            f"of a step of this plan, and the answer may have {counted(new, 'token')}; lower "
            f"{TOKENS_FLAG}, or leave {FLAG} out."
        )
    return replace(asked, room=room)


def _obstacles(plan: Plan) -> Iterator[str]:
    """Clauses on what keeps a run of the plan from answering rows on the way."""
    hardware, rows = plan.hardware, plan.dataset.lengths.rows_kept
    if not held_out_count(rows, plan.learning.data.validation_fraction):
        yield (
            "needs held-out rows, and the plan has none: plan again with "
            f"{command('plan', '--validation-fraction', 0.1)}, or leave the flag out."
        )
    if hardware.sharding.zero_stage == 3 or hardware.sharding.shards_base:
        yield (
            "needs the whole model in one process, and ZeRO-3 or FSDP2 share it out: leave the "
            "flag out."
        )
    if hardware.streaming.streams:
        yield (
            "would move every streamed layer to the device again for each token of an answer: "
            "leave the flag out."
        )
    if plan.architecture.layer.recorded:
        yield (
            f"needs layers with a formula to stay inside the plan's memory, which "
            f"{plan.model.model_type} has not: leave the flag out."
        )


def sampling_line(asked: SampledAnswers) -> str:
    """What will be answered, and the time that no forecast counts."""
    return (
        f"answers  up to {counted(asked.rows, 'held-out row')} after each evaluation, "
        f"{counted(asked.new_tokens, 'token')} at most, into {ANSWERS_FILE}; "
        f"at most {SAMPLE_SECONDS:g} s each time, beside the time below"
    )
