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
from pathlib import Path
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList

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
        start = _last_answer(encoded.labels)
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


def _last_answer(labels: Sequence[int] | Array) -> int | None:
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


class Answerer:
    """Asks a model in memory; greedy, one row at a time, and nothing of it is trained."""

    def __init__(self, model: Any, tokenizer: Any, autocast: Callable[[], Any]) -> None:
        """``autocast``: the precision of the run's own forward passes, as a context."""
        # An adapter lies in the layers of the base, whose own methods read series and generate.
        self.model = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.tokenizer, self.autocast = tokenizer, autocast

    def answer(self, question: Question, watch: Watch) -> str:
        """What the model says to a row."""
        batch = collate([question.prompt], pad_token_id(self.tokenizer))
        width = len(question.prompt.input_ids)
        device = self.model.device
        ids = batch["input_ids"][:, :width].to(device)
        series = batch["timeseries"].to(device)
        with usual_attention(self.model), torch.no_grad(), self.autocast():
            merged = self.model.merged_inputs(ids, torch.ones_like(ids), series)
            made = self.model.generate(
                inputs_embeds=merged.inputs_embeds,
                attention_mask=merged.attention_mask,
                max_new_tokens=min(LONGEST_ANSWER, 2 * question.answer_tokens + 8),
                do_sample=False,
                use_cache=True,
                pad_token_id=pad_token_id(self.tokenizer),
                eos_token_id=self.tokenizer.eos_token_id,
                stopping_criteria=StoppingCriteriaList([watch]),
            )
        return str(self.tokenizer.decode(made[0], skip_special_tokens=True))


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
