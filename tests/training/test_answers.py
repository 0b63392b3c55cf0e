"""Answers of a model to held-out rows, and the values in them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests.support.rows import conversation  # noqa: E402
from tsplanner.datasets.rendering.fixed import ChatTSRenderer  # noqa: E402
from tsplanner.models.source import read_model  # noqa: E402
from tsplanner.training import answers, chatts  # noqa: E402
from tsplanner.training.batches import EncodedSample, encode_row, encoder_of  # noqa: E402
from tsplanner.training.kernels.row_attention import NAME, use_row_attention  # noqa: E402
from tsplanner.training.record import ClaimCount, ValuesChecked  # noqa: E402

HILL = tuple(40.0 - abs(40 - place) for place in range(1, 65))
"""64 points up to the 40th and down again."""
ROW = conversation("Where is <ts><ts/> highest?", "The highest value is at point 40.", (HILL,))
NO_CLAIM = conversation("What is <ts><ts/>?", "A hill.", (HILL,), line=2)
WRONG = conversation("Peak of <ts><ts/>?", "The highest value is at point 8.", (HILL,), line=3)
NO_SERIES = conversation("Is 4 the highest point?", "The highest value is at point 4.", line=4)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """The tokenizer of tiny-chatts."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(read_model("tiny-chatts").folder)


@pytest.fixture(scope="module")
def model() -> Any:
    """tiny-chatts as it is shipped, which was trained on such questions."""
    from transformers import AutoModelForCausalLM

    chatts.register()
    folder = read_model("tiny-chatts").folder
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def encoded(row: Any, tokenizer: Any) -> EncodedSample:
    """A row as training has it."""
    found = encode_row(row, ChatTSRenderer(), encoder_of(tokenizer), cutoff_len=512)
    assert found is not None
    return found


def asked(tokenizer: Any, *rows: Any) -> list[answers.Question]:
    """Questions of rows."""
    return list(answers.questions((row, encoded(row, tokenizer)) for row in rows))


def checked(
    questions: list[answers.Question],
    answerer: Any,
    folder: Path,
    stop: Callable[[], bool] = lambda: False,
) -> ValuesChecked | None:
    """Check answers without anybody who waits for signs of life."""
    return answers.values_checked(questions, answerer, folder=folder, stop=stop, beat=lambda: None)


class Says:
    """Answers what it was told to."""

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)
        self.model = torch.nn.Identity()

    def answer(self, question: answers.Question, watch: Any) -> str:
        """The next text."""
        return self.texts.pop(0)


def test_only_rows_whose_answers_can_be_checked_are_asked(tokenizer: Any) -> None:
    """A reference that claims nothing, something wrong, or has no series, is none."""
    (found,) = asked(tokenizer, NO_CLAIM, ROW, WRONG, NO_SERIES)
    assert found.row is ROW
    text = tokenizer.decode(found.prompt.input_ids)
    assert text.endswith("highest?<|im_end|>\n<|im_start|>assistant\n")
    assert found.prompt.series == encoded(ROW, tokenizer).series


def test_answers_are_counted_by_what_they_claim(tokenizer: Any, tmp_path: Path) -> None:
    """One is right within a point, one is wrong, one says nothing of it."""
    questions = asked(tokenizer, ROW, ROW, ROW)
    says: Any = Says("It is highest at point 41.", "The highest value is at point 37.", "Hm.")
    found = checked(questions, says, tmp_path)
    assert found is not None
    assert (found.answers, found.right) == (3, 1)
    assert found.claims == (ClaimCount(kind="place of the maximum", stated=3, right=1),)
    lines = [json.loads(line) for line in (tmp_path / "values.jsonl").read_text().splitlines()]
    assert [line["right"] for line in lines] == [True, False, False]
    assert lines[1] == {
        "line": 1,
        "question": "Where is <ts><ts/> highest?",
        "reference": "The highest value is at point 40.",
        "answer": "The highest value is at point 37.",
        "claims": [{"claim": "place of the maximum", "series": 1, "right": False}],
        "right": False,
    }


def test_no_more_than_24_rows_are_asked(tokenizer: Any, tmp_path: Path) -> None:
    """However many are held out."""
    says: Any = Says(*["Point 4."] * 30)
    found = checked(asked(tokenizer, ROW) * 30, says, tmp_path)
    assert found is not None
    assert found.answers == 24


def test_a_run_that_is_to_stop_counts_no_answer(tokenizer: Any, tmp_path: Path) -> None:
    """Nor does one leave a file behind."""
    assert checked(asked(tokenizer, ROW), Says("x"), tmp_path, stop=lambda: True) is None
    assert checked([], Says(), tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_model_answers_by_its_weights(tokenizer: Any, model: Any, tmp_path: Path) -> None:
    """tiny-chatts says where the maximum is, in its own words; twice it says the same."""
    beats: list[None] = []
    answerer = answers.Answerer(model, tokenizer, contextlib.nullcontext)
    questions = asked(tokenizer, ROW)
    watch = answers.Watch(float("inf"), lambda: False, lambda: beats.append(None))
    first = answerer.answer(questions[0], watch)
    assert first.startswith("The highest value is at point ")
    assert answerer.answer(questions[0], watch) == first
    assert len(beats) > 10


def test_an_answer_ends_when_its_time_is_over(tokenizer: Any, model: Any) -> None:
    """After the token at hand."""
    answerer = answers.Answerer(model, tokenizer, contextlib.nullcontext)
    watch = answers.Watch(float("-inf"), lambda: False, lambda: None)
    assert len(tokenizer(answerer.answer(asked(tokenizer, ROW)[0], watch))["input_ids"]) <= 2


def test_a_model_that_was_trained_on_packed_rows_answers_as_before(tokenizer: Any) -> None:
    """Attention within rows knows no cache of earlier tokens, so a generation has the usual one."""
    from transformers import AutoModelForCausalLM

    chatts.register()
    folder = read_model("tiny-chatts").folder
    own = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    (question,) = asked(tokenizer, ROW)
    watch = answers.Watch(float("inf"), lambda: False, lambda: None)
    answerer = answers.Answerer(own, tokenizer, contextlib.nullcontext)
    before = answerer.answer(question, watch)
    use_row_attention(own)
    assert answerer.answer(question, watch) == before
    assert own.config._attn_implementation == NAME
