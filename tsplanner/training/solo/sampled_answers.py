"""Answers to a few held-out rows after each evaluation, for people to read.

The same rows each time, greedy, and nothing that is trained depends on it: no random number is
drawn, no gradient exists, and the layers are in the mode in which the evaluation left them.
"""

from __future__ import annotations

import json
import random
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState

from memory_models.frozen import frozen
from tsplanner import runs
from tsplanner.console import one_line, sentence
from tsplanner.training import distributed
from tsplanner.training.answers import Answerer, Watch, last_answer
from tsplanner.training.batches import IGNORED_LABEL, EncodedSample
from tsplanner.training.job import ANSWERS_FILE, SAMPLE_SECONDS, Job, JobKind, SampledAnswers
from tsplanner.training.packing.setup import PositionsOf, positions_of
from tsplanner.training.pulse import Phase
from tsplanner.training.solo.recorder import Recorder

SHOWN = 60
"""Characters of an answer in the log."""


@frozen
class Sample:
    """A held-out row, cut before its last answer."""

    row: int
    """Its number among the held-out rows, in the order of the dataset, from 1."""
    prompt: EncodedSample
    expected: tuple[int, ...]
    """Tokens of the row's own last answer."""


def samples(
    rows: Sequence[EncodedSample], asked: SampledAnswers, seed: int, positions_of: PositionsOf
) -> list[Sample]:
    """The rows to answer, in their order: the first ones of a draw whose prompts have the room."""
    places = list(range(len(rows)))
    random.Random(seed).shuffle(places)
    found: list[Sample] = []
    for place in places:
        sample = _sample(place + 1, rows[place])
        if sample and positions_of(sample.prompt) + asked.new_tokens <= asked.room:
            found.append(sample)
        if len(found) == asked.rows:
            break
    return sorted(found, key=lambda sample: sample.row)


def _sample(number: int, row: EncodedSample) -> Sample | None:
    """None: the row has no answer, or nothing before it."""
    start = last_answer(row.labels)
    if not start:
        return None
    labels = [IGNORED_LABEL] * start
    prompt = EncodedSample(input_ids=row.input_ids[:start], labels=labels, series=row.series)
    return Sample(row=number, prompt=prompt, expected=tuple(map(int, row.input_ids[start:])))


def sample_answers(built: Any, job: Job, tokenizer: Any, stop: Callable[[], bool]) -> None:
    """Let a Trainer of a full run answer some held-out rows, where it was asked to and has any."""
    asked, recorder = job.extras.samples, built.recorder
    if asked is None or job.kind is not JobKind.TRAIN or not built.eval_dataset:
        return
    seed, of_row = job.plan.learning.data.split_seed, positions_of(built.model.config)
    # The other processes wait at a barrier meanwhile, so that they cannot be asked.
    own_stop = getattr(stop, "asked", stop)
    found = samples(built.eval_dataset, asked, seed, of_row)
    told = AnswersSampled(found, asked, recorder, own_stop)
    if distributed.is_main():
        told.answerer = Answerer(built.model, tokenizer, built.accelerator.autocast)
    built.add_callback(told)


class AnswersSampled(TrainerCallback):
    """Writes answers.jsonl after every evaluation; the first of several processes answers."""

    def __init__(
        self,
        found: Sequence[Sample],
        asked: SampledAnswers,
        recorder: Recorder,
        stop: Callable[[], bool],
    ) -> None:
        """``stop``: whether this process is to stop, asked without the others."""
        self.samples, self.asked, self.recorder, self.stop = found, asked, recorder, stop
        self.answerer: Answerer | None = None
        """None: another process answers."""
        self.path = Path(recorder.folder) / ANSWERS_FILE
        self._answered: set[tuple[int, int]] = set()

    def on_train_begin(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        """Note what an earlier process has answered, and say which rows will be."""
        for line in runs.read_json_lines(self.path):
            step, row = line.get("step"), line.get("row")
            if isinstance(step, int) and isinstance(row, int):
                self._answered.add((step, row))
        if self.answerer is None:
            return
        if not self.samples:
            _say(f"No held-out row is answered: none fits {self.asked.room} positions.")
            return
        rows = ", ".join(str(sample.row) for sample in self.samples)
        _say(
            f"Answers to held-out rows {rows} after each evaluation, up to "
            f"{self.asked.new_tokens} tokens each, into {ANSWERS_FILE}."
        )

    def on_evaluate(
        self, args: Any, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Answer the rows that have no answer of this step yet."""
        if self.answerer is not None and self.samples:
            # A look at the model must not cost the run: what fails here is said, and is not tried
            # again.
            try:
                with self.recorder.pulse.during(Phase.EVALUATE):
                    self._answer(self.answerer, state.global_step)
            except Exception as error:
                _say(f"No answers from here on: {sentence(str(error) or type(error).__name__)}")
                self.samples = ()
        # Nobody goes on while another process may still be waited for.
        distributed.barrier()

    def _answer(self, answerer: Answerer, step: int) -> None:
        watch = Watch(time.monotonic() + SAMPLE_SECONDS, self.stop, self.recorder.pulse.beat)
        devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
        due = [sample for sample in self.samples if (step, sample.row) not in self._answered]
        with torch.random.fork_rng(devices):
            for done, sample in enumerate(due):
                last, most = ends(answerer, sample), self.asked.new_tokens
                made = answerer.generated(sample.prompt, most=most, ends=last, watch=watch)
                if watch.over:
                    _say(f"step {step}: time for {done} of {len(due)} answers")
                    return
                cut = not made or made[-1] not in last
                self._write(answerer.tokenizer, step, sample, made, cut=cut)

    def _write(
        self, tokenizer: Any, step: int, sample: Sample, made: list[int], *, cut: bool
    ) -> None:
        expected, answer = (
            str(tokenizer.decode(ids, skip_special_tokens=True)) for ids in (sample.expected, made)
        )
        line = {
            "step": step,
            "row": sample.row,
            "prompt": str(tokenizer.decode(sample.prompt.input_ids)),
            "expected": expected,
            "answer": answer,
            "tokens": len(made),
            "cut": cut,
        }
        runs.append_line(self.path, json.dumps(line, ensure_ascii=False))
        self._answered.add((step, sample.row))
        _say(f"step {step}, row {sample.row}: {_short(answer)}   (expected: {_short(expected)})")


def ends(answerer: Answerer, sample: Sample) -> list[int]:
    """Tokens that end an answer: those of tokenizer and model, and what ends the row's own."""
    tokenizer, special = answerer.tokenizer, set(answerer.tokenizer.all_special_ids)
    own = getattr(answerer.model.generation_config, "eos_token_id", None)
    found = {tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])}
    found |= {each for each in sample.expected[-2:] if each in special}
    return sorted(each for each in found if each is not None)


def _short(text: str) -> str:
    return textwrap.shorten(one_line(text), SHOWN, placeholder="...") or "(nothing)"


def _say(words: str) -> None:
    sys.stderr.write(words + "\n")
