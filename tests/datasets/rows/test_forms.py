"""The form of a row is found from the names of its fields."""

from __future__ import annotations

import json

import msgspec
import pytest

from tsplanner.datasets.records import Fault
from tsplanner.datasets.rows.fields import Fields, RowError
from tsplanner.datasets.rows.forms import ANSWERS, CONTEXTS, PARTNERS, QUESTIONS, Form, form_of


def form(*names: str, nulls: tuple[str, ...] = ()) -> Form:
    """The form of a row whose fields have these names; turns are lists, and the rest is text."""
    turns = ("messages", "conversations", "conversation", "dialog", "chat")
    values = {name: [] if name in turns else "x" for name in names}
    row = Fields(msgspec.json.decode(json.dumps(values), type=dict[str, msgspec.Raw]))
    return form_of(names, nulls, row)


@pytest.mark.parametrize(
    ("names", "name"),
    [
        ("messages", "OpenAI messages"),
        ("messages prompt prompt_id", "OpenAI messages"),
        ("conversations system", "ShareGPT"),
        ("conversation", "ShareGPT"),
        ("dialog", "dialogue"),
        ("instruction output", "alpaca"),
        ("instruction input output text", "alpaca"),
        ("input output timeseries", "ChatTS"),
        ("messages timeseries", "ChatTS"),
        ("prompt completion", "prompt and completion, a user turn and an assistant turn"),
        ("question answer", "question and answer, a user turn and an assistant turn"),
        ("问题 回答", "问题 and 回答, a user turn and an assistant turn"),
        ("query response", "query and response, a user turn and an assistant turn"),
        ("input output", "input and output, a user turn and an assistant turn"),
        ("text url", "plain text in text, learned whole"),
        ("content", "plain text in content, learned whole"),
    ],
)
def test_a_form_is_recognised_by_its_fields(names: str, name: str) -> None:
    """Whatever else the row has."""
    assert form(*names.split()).name == name


def test_a_pair_has_its_question_its_context_and_its_answer() -> None:
    """What stands beside is known by kind, and all the rest is not read."""
    found = form("instruction", "input", "output", "system", "history", "id", "image", "label")
    assert (found.question, found.context, found.answer) == ("instruction", "input", "output")
    assert found.beside == {"system": "system", "history": "history"}
    assert (found.media, found.ratings) == (("image",), ("label",))
    assert found.unread == ("id", "label")


def test_of_several_answers_one_is_read_and_the_others_are_said() -> None:
    """The same holds for questions."""
    found = form("question", "answer", "output", "prompt")
    assert (found.question, found.answer) == ("prompt", "output")
    assert found.guesses == (
        "the question is prompt, not question",
        "the answer is output, not answer",
    )


def test_names_of_spreadsheets_are_read_and_said() -> None:
    """Capitals and blanks stand for nothing."""
    found = form("Question", "ANSWER ", "System Prompt")
    assert (found.question, found.answer) == ("Question", "ANSWER ")
    assert found.beside == {"system": "System Prompt"}
    assert found.guesses == ('column "Question": question', 'column "ANSWER ": answer')


def test_a_dialogue_in_words_is_no_list_of_turns() -> None:
    """A dialogue that is to be summarised is text."""
    row = Fields(msgspec.json.decode(b'{"dialogue": "A: hi", "x": 1}', type=dict[str, msgspec.Raw]))
    with pytest.raises(RowError, match="no known form has the fields dialogue, x"):
        form_of(("dialogue", "x"), (), row)


@pytest.mark.parametrize(
    ("names", "nulls", "fault", "reason"),
    [
        ("instruction", "", Fault.MISSING_FIELD, 'field "output" is missing'),
        ("prompt", "", Fault.MISSING_FIELD, 'field "completion" is missing'),
        ("output", "", Fault.MISSING_FIELD, 'field "instruction" is missing'),
        ("output timeseries", "", Fault.MISSING_FIELD, 'field "input" is missing'),
        ("timeseries", "", Fault.MISSING_FIELD, 'field "input" is missing'),
        ("instruction", "output", Fault.MISSING_FIELD, 'field "output" is null'),
        ("id", "messages", Fault.MISSING_FIELD, 'field "messages" is null'),
        (
            "Frage answer", "", Fault.MISSING_FIELD,
            'field "question" is missing: the row has Frage, answer, and --columns names the',
        ),
        ("reply q", "", Fault.NO_FORM, "no known form has the fields q, reply: give messages"),
        ("a b", "", Fault.NO_FORM, "no known form has the fields a, b: give messages"),
        ("", "", Fault.MISSING_FIELD, "has no field that is not null"),
        (
            "text summary", "", Fault.NO_FORM,
            "has the fields text, summary, and either may be meant: say --columns "
            "prompt=text,answer=summary, or --columns text=text for the text alone",
        ),
    ],
)  # fmt: skip
def test_a_row_without_a_form_says_what_it_lacks(
    names: str, nulls: str, fault: Fault, reason: str
) -> None:
    """Or what the fields may be called."""
    with pytest.raises(RowError) as caught:
        form(*names.split(), nulls=tuple(nulls.split()))
    assert str(caught.value).startswith(reason)
    assert caught.value.fault is fault


def test_every_question_has_an_answer_that_is_known() -> None:
    """The message for a missing answer names one that is read."""
    assert set(PARTNERS) == set(QUESTIONS)
    assert set(PARTNERS.values()) <= set(ANSWERS)
    assert not set(QUESTIONS) & set(ANSWERS)
    assert set(CONTEXTS) - set(QUESTIONS) == {"context"}


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("text answer", "prompt=text,answer=answer, or --columns text=text"),
        ("input content", "prompt=input,answer=content, or --columns text=content"),
    ],
)
def test_a_text_beside_a_question_or_an_answer_may_be_either(names: str, words: str) -> None:
    """A row is not learned as plain text while its question stands beside."""
    with pytest.raises(RowError, match=f"either may be meant: say --columns {words}"):
        form(*names.split())


def test_a_plain_text_has_no_series() -> None:
    """They would be left out, and their marks learned as words."""
    with pytest.raises(RowError, match="has timeseries beside a plain text: give input and output"):
        form("text", "timeseries")


def test_turns_by_columns_are_read_where_no_other_text_stands() -> None:
    """An object beside a question and its answer only describes them."""
    data = b'{"turns": {"role": []}, "data": {"x": 1}, "prompt": "a", "completion": "b"}'
    row = Fields(msgspec.json.decode(data, type=dict[str, msgspec.Raw]))
    assert form_of(("turns", "x"), (), row).turns == "turns"
    assert form_of(("data", "prompt", "completion"), (), row).question == "prompt"
