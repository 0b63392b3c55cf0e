"""Names of fields that a user gives."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from tsplanner.datasets.files.records import RawRow
from tsplanner.datasets.records import Conversation, DroppedRow, Role, Turn
from tsplanner.datasets.rows.columns import form_by_columns, names_texts, parsed_columns
from tsplanner.datasets.rows.fields import Fields, RowError
from tsplanner.datasets.rows.parsing import RowParser
from tsplanner.errors import UsageError


def parsed(words: str, row: dict[str, Any]) -> Conversation | DroppedRow:
    """A row read with these names."""
    columns = dict(parsed_columns(words))
    return RowParser(None, columns).parsed(RawRow(1, json.dumps(row).encode()))


def turns(words: str, row: dict[str, Any]) -> list[tuple[str, str]]:
    """Roles and texts of a row read with these names."""
    found = parsed(words, row)
    assert isinstance(found, Conversation)
    return [(str(turn.role), turn.content) for turn in found.turns]


def test_names_say_which_field_is_the_question_and_which_the_answer() -> None:
    """Also against what the names would mean by themselves, and with blanks around them."""
    row = {"Frage": "a", "output": "b", "instruction": "c"}
    assert turns(" prompt = output , answer=Frage", row) == [("user", "b"), ("assistant", "a")]
    assert turns("prompt=Frage,input=instruction,answer=output,system=none", row) == [
        ("user", "a\nc"),
        ("assistant", "b"),
    ]


def test_a_form_that_would_be_refused_can_be_named() -> None:
    """A class as an answer, the better one of two answers, a text beside its summary."""
    row = {"text": "a", "label": "b", "chosen": "c", "rejected": "d"}
    assert turns("prompt=text,answer=label", row) == [("user", "a"), ("assistant", "b")]
    assert turns("prompt=text,answer=chosen", row) == [("user", "a"), ("assistant", "c")]
    found = parsed("text=text", row)
    assert isinstance(found, Conversation)
    assert found.text == "a"


def test_turns_and_what_stands_beside_them_can_be_named() -> None:
    """Names of fields in the turns and of the speakers, too."""
    row = {"log": [{"who": "patient", "said": "a"}, {"who": "doctor", "said": "b"}], "rule": "s"}
    words = "messages=log,system=rule,role=who,content=said,user=patient,assistant=doctor"
    assert turns(words, row) == [("system", "s"), ("user", "a"), ("assistant", "b")]
    plain = {"messages": [{"who": "user", "said": "a"}, {"who": "assistant", "said": "b"}]}
    assert turns("role=who,content=said", plain) == [("user", "a"), ("assistant", "b")]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("promt=a,answer=b", 'knows no name "promt". Did you mean "prompt"?'),
        ("prompt", 'takes pairs such as prompt=instruction,answer=reply, not "prompt"'),
        ("prompt=,answer=b", "takes pairs such as"),
        ("", "takes pairs such as"),
        ("prompt=a,prompt=b", "has prompt twice"),
        ("prompt=a", "needs prompt and answer, or messages, or text; it has prompt"),
        ("prompt=a,answer=b,text=c", "it has answer, prompt, text"),
    ],
)
def test_names_that_make_no_row_are_refused_at_once(words: str, sentence: str) -> None:
    """Before any row is read."""
    with pytest.raises(UsageError) as caught:
        parsed_columns(words)
    assert sentence in str(caught.value)


def test_a_row_without_a_named_field_is_bad_and_says_what_it_has() -> None:
    """Fields that may be missing, such as a system text, are no fault."""
    found = parsed("prompt=a,answer=b,system=s", {"a": "x", "c": "y"})
    assert isinstance(found, DroppedRow)
    assert found.reason == 'field "b", named by --columns, is missing: the row has a, c'


def test_an_image_is_not_lost_because_nobody_named_it() -> None:
    """Names of texts say nothing about images."""
    found = parsed("prompt=a,answer=b", {"a": "x", "b": "y", "image": "x.png"})
    assert isinstance(found, DroppedRow)


def test_the_form_by_names_knows_what_is_not_read() -> None:
    """Names of roles alone leave the form to the row."""
    row = Fields(msgspec.json.decode(b'{"a":"x","b":"y","c":1}', type=dict[str, msgspec.Raw]))
    found = form_by_columns({"prompt": "a", "answer": "b"}, row)
    assert (found.question, found.answer, found.unread) == ("a", "b", ("c",))
    with pytest.raises(RowError, match='field "z", named by'):
        form_by_columns({"text": "z"}, row)
    assert names_texts({"prompt": "a"})
    assert not names_texts({"assistant": "bot"})
    assert Turn(role=Role.USER, content="x").content == "x"
