"""Forms that are known and not trained."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from tsplanner.datasets.files.records import RawRow
from tsplanner.datasets.records import DroppedRow, Fault
from tsplanner.datasets.rows.fields import Fields, RowError
from tsplanner.datasets.rows.parsing import RowParser
from tsplanner.datasets.rows.refused import (
    ALWAYS,
    PREFERENCE,
    WITHOUT_ANSWER,
    WITHOUT_TEXT,
    refusal,
    refuse,
    refuse_media,
    refuse_ratings,
)

TURNS = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, Fault.PREFERENCE),
        ({"chosen": TURNS, "rejected": TURNS}, Fault.PREFERENCE),
        ({"messages": TURNS, "rejected_response": "c"}, Fault.PREFERENCE),
        ({"question": "a", "response_j": "b", "response_k": "c"}, Fault.PREFERENCE),
        ({"instruction": "a", "output": ["b", "c"]}, Fault.PREFERENCE),
        ({"prompt": "a", "completion": "b", "label": True}, Fault.RATING),
        ({"input": {"messages": TURNS}, "preferred_output": TURNS}, Fault.PREFERENCE),
        ({"messages": TURNS, "label": False}, Fault.RATING),
        ({"instruction": "a", "output": "b", "kto_tag": True}, Fault.RATING),
        ({"prompt": "a", "completion": "b", "label": "True"}, Fault.RATING),
        ({"prompt": "a", "completion": "b", "reward": 0.3}, Fault.REWARD),
        ({"prompt": "a", "responses": ["b", "c"], "scores": [1, 2]}, Fault.REWARD),
        ({"instruction": "a", "completions": ["b"]}, Fault.REWARD),
        ({"prompt": "a", "ground_truth": "b"}, Fault.REWARD),
        ({"text": "a", "label": 3}, Fault.CLASSES),
        ({"tokens": ["a"], "ner_tags": [0]}, Fault.CLASSES),
        ({"anchor": "a", "positive": "b"}, Fault.PAIRS),
        ({"message_id": "1", "text": "a", "role": "prompter"}, Fault.NO_FORM),
        ({"premise": "a", "hypothesis": "b", "label": 1}, Fault.PAIRS),
        ({"input_ids": [1, 2], "labels": [1, 2]}, Fault.TOKEN_IDS),
        ({"messages": TURNS, "images": ["a.png"]}, Fault.MEDIA),
        ({"instruction": "a", "output": "b", "image": {"bytes": "x"}}, Fault.MEDIA),
        ({"instruction": "a", "output": "b", "Audio": "a.wav"}, Fault.MEDIA),
    ],
)
def test_a_form_that_is_not_trained_is_refused_by_its_name(
    row: dict[str, Any], fault: Fault
) -> None:
    """The reason names the fields by which it is known."""
    found = RowParser(None).parsed(RawRow(7, json.dumps(row).encode()))
    assert isinstance(found, DroppedRow)
    assert (found.line, found.fault) == (7, fault)
    assert any(name in found.reason for name in row)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "a", "completion": "b", "label": "geography"},
        {"messages": TURNS, "score": 3.5, "rating": 4},
        {"messages": TURNS, "generations": ["b", "c"]},
        {"instruction": "a", "output": "b", "input_ids": [1]},
        {"text": "a", "input_ids": [1, 2], "attention_mask": [1, 1]},
        {"messages": TURNS, "images": [], "videos": None, "audio": ""},
        {"messages": TURNS, "chosen": None},
    ],
)
def test_fields_that_only_describe_a_row_do_not_refuse_it(row: dict[str, Any]) -> None:
    """They are counted as not read where they hold something."""
    parser = RowParser(None)
    assert not isinstance(parser.parsed(RawRow(1, json.dumps(row).encode())), DroppedRow)


def test_signs_do_not_hide_each_other() -> None:
    """Every form is found by each of its own signs among its table's."""
    for table in (ALWAYS, WITHOUT_ANSWER, WITHOUT_TEXT):
        for each in table:
            for sign in each.signs:
                with pytest.raises(RowError) as caught:
                    refuse(table, sign)
                assert caught.value.fault is each.fault
    refuse(ALWAYS, ["question", "answer"])


def test_a_refusal_says_how_the_rows_can_be_used() -> None:
    """The advice follows the name."""
    assert str(refusal(PREFERENCE, ["chosen"])) == (
        "is a preference pair (DPO, ORPO, reward models) by chosen, which is not trained: keep "
        "the better answer alone, as a question with an answer"
    )


def test_media_and_ratings_count_by_their_values() -> None:
    """An empty list holds no image, and a number rates nothing."""
    row = Fields(
        msgspec.json.decode(b'{"a":[],"b":["x"],"c":true,"d":3}', type=dict[str, msgspec.Raw])
    )
    refuse_media(row, ["a", "none"])
    refuse_ratings(row, ["a", "d"])
    with pytest.raises(RowError, match="b is not empty, and only text and series are trained"):
        refuse_media(row, ["a", "b"])
    with pytest.raises(RowError, match=r"an unpaired rating \(KTO\) by c"):
        refuse_ratings(row, ["c"])
