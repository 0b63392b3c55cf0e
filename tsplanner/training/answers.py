"""Answers of a trained ChatTS model to held-out rows, and whether the values in them are right.

A held-out loss says how likely the words of the reference answers are; it does not say whether a
maximum that the model states is the series' own. So the model answers some held-out rows, and what
it states is held against the raw series (`tsplanner.datasets.series.claims`). Only rows count whose
reference answers state something that can be checked.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from memory_models.frozen import frozen
from tsplanner import runs
from tsplanner.datasets.records import Conversation, Role
from tsplanner.datasets.series.claims import ClaimKind, Expected, expected_claims, right_claims
from tsplanner.training.batches import (
    IGNORED_LABEL,
    Array,
    EncodedSample,
    collate,
    pad_token_id,
)
from tsplanner.training.kernels.row_attention import usual_attention
from tsplanner.training.record import ClaimCount, ValuesChecked

MOST_ANSWERS = 24
"""Held-out rows that are answered; the draw of the held-out rows was a random one."""
LIMIT_SECONDS = 60.0
"""Time for all answers; what is not answered by then does not count."""
LONGEST_ANSWER = 256
"""Tokens of an answer at most."""
VALUES_FILE = "values.jsonl"
"""Every answer that was checked, in the run's folder."""


@frozen
class Question:
    """A held-out row whose reference answer states something of its series."""

    row: Conversation
    prompt: EncodedSample
    """The row up to its last answer."""
    reference: str
    expected: tuple[Expected, ...]
    answer_tokens: int
    """Tokens of the reference answer."""

    @property
    def text(self) -> str:
        """What is asked: the turn before the answer."""
        return self.row.turns[-2].content


def questions(rows: Iterable[tuple[Conversation, EncodedSample]]) -> Iterator[Question]:
    """The rows whose last answer states something that can be checked, and is right."""
    for row, encoded in rows:
        if len(row.turns) < 2 or row.turns[-1].role is not Role.ASSISTANT or not row.timeseries:
            continue
        before, last = row.turns[-2:]
        expected = expected_claims(last.content, row.timeseries, before.content)
        start = last_answer(encoded.labels)
        if expected and start is not None:
            prompt = EncodedSample(
                input_ids=encoded.input_ids[:start],
                labels=[IGNORED_LABEL] * start,
                series=encoded.series,
            )
            yield Question(
                row=row,
                prompt=prompt,
                reference=last.content,
                expected=expected,
                answer_tokens=len(encoded.input_ids) - start,
            )


def last_answer(labels: Sequence[int] | Array) -> int | None:
    """Where the last run of labels begins; None: the row ends without one, or has none."""
    place = len(labels)
    while place and labels[place - 1] == IGNORED_LABEL:
        place -= 1
    end = place
    while place and labels[place - 1] != IGNORED_LABEL:
        place -= 1
    return place if place < end else None


class Watch(StoppingCriteria):
    """Ends an answer when its time is over or the run is to stop; every token is a sign of life."""

    def __init__(self, until: float, stop: Callable[[], bool], beat: Callable[[], None]) -> None:
        self.until, self.stop, self.beat = until, stop, beat

    @property
    def over(self) -> bool:
        """Whether no further answer is to be begun."""
        return time.monotonic() > self.until or self.stop()

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        """Whether each row of the batch ends here, as `generate` asks after every token."""
        self.beat()
        return torch.full((input_ids.shape[0],), self.over, device=input_ids.device)


@contextmanager
def plainly(model: Any) -> Iterator[None]:
    """Let the likeliest token win: a model's own settings may punish tokens that came before."""
    before = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = before


class Answerer:
    """Asks a model in memory; greedy, one row at a time, and nothing of it is trained."""

    def __init__(self, model: Any, tokenizer: Any, autocast: Callable[[], Any]) -> None:
        """``autocast``: the precision of the run's own forward passes, as a context."""
        # An adapter lies in the layers of the base, whose own methods read series and generate.
        self.model = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.tokenizer, self.autocast = tokenizer, autocast

    def answer(self, question: Question, watch: Watch) -> str:
        """What the model says to a row."""
        most = min(LONGEST_ANSWER, 2 * question.answer_tokens + 8)
        ends = [self.tokenizer.eos_token_id]
        made = self.generated(question.prompt, most=most, ends=ends, watch=watch)
        return str(self.tokenizer.decode(made, skip_special_tokens=True))

    def generated(
        self, prompt: EncodedSample, *, most: int, ends: list[int], watch: Watch
    ) -> list[int]:
        """Tokens after a prompt, ``most`` of them at most; one of ``ends`` is the last one."""
        batch = collate([prompt], pad_token_id(self.tokenizer))
        width = len(prompt.input_ids)
        ids = batch["input_ids"][:, :width].to(self.model.device)
        with usual_attention(self.model), plainly(self.model), torch.no_grad(), self.autocast():
            given, before = self._read(ids, batch.get("timeseries"))
            made = self.model.generate(
                **given,
                max_new_tokens=most,
                do_sample=False,
                use_cache=True,
                pad_token_id=pad_token_id(self.tokenizer),
                eos_token_id=ends,
                stopping_criteria=StoppingCriteriaList([watch]),
            )
        found: list[int] = made[0, before:].tolist()
        return found

    def _read(self, ids: Any, series: Any) -> tuple[dict[str, Any], int]:
        """What ``generate`` reads of a prompt [1, T], and how many of its tokens it repeats."""
        mask = torch.ones_like(ids)
        if not hasattr(self.model, "merged_inputs") or series is None:
            return {"input_ids": ids, "attention_mask": mask}, ids.shape[1]
        merged = self.model.merged_inputs(ids, mask, series.to(self.model.device))
        given = {"inputs_embeds": merged.inputs_embeds, "attention_mask": merged.attention_mask}
        return given, 0


def values_checked(
    asked: Iterable[Question],
    answerer: Answerer,
    *,
    folder: Path,
    stop: Callable[[], bool],
    beat: Callable[[], None],
) -> ValuesChecked | None:
    """Answer some rows and check what is stated; None: there was nothing to check, or no time.

    Writes every answer to values.jsonl in ``folder``.
    """
    began = time.monotonic()
    watch = Watch(began + LIMIT_SECONDS, stop, beat)
    made: dict[ClaimKind, int] = dict.fromkeys(ClaimKind, 0)
    right = dict.fromkeys(ClaimKind, 0)
    lines: list[dict[str, Any]] = []
    answerer.model.eval()
    for question in asked:
        answer = answerer.answer(question, watch)
        if watch.over:
            break
        found = right_claims(answer, question.expected, question.row.timeseries, question.text)
        for each, holds in zip(question.expected, found, strict=True):
            made[each.kind] += 1
            right[each.kind] += holds
        lines.append(_line(question, answer, found))
        if len(lines) == MOST_ANSWERS:
            break
    if not lines:
        return None
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    runs.write_text(folder / VALUES_FILE, text)
    return ValuesChecked(
        answers=len(lines),
        right=sum(bool(line["right"]) for line in lines),
        claims=tuple(
            ClaimCount(kind=str(kind), stated=count, right=right[kind])
            for kind, count in made.items()
            if count
        ),
        seconds=time.monotonic() - began,
    )


def _line(question: Question, answer: str, found: tuple[bool, ...]) -> dict[str, Any]:
    """An answer for values.jsonl."""
    return {
        "line": question.row.line,
        "question": question.text,
        "reference": question.reference,
        "answer": answer,
        "claims": [
            {"claim": str(each.kind), "series": each.series + 1, "right": holds}
            for each, holds in zip(question.expected, found, strict=True)
        ],
        "right": all(found),
    }
