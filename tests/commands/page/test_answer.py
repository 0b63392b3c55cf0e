"""What the page is told: the bytes of the command line, or one sentence."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

import tsplanner
from tsplanner.commands.estimate import estimated
from tsplanner.commands.inputs.keywords import options
from tsplanner.commands.page.answer import FIRST, answer, answered, cards, facts, read_pasted, warm
from tsplanner.errors import UsageError
from tsplanner.settings import configs_folder

QWEN = (configs_folder() / "models" / "qwen2.5-7b" / "config.json").read_text(encoding="utf-8")


def of_its_line(found: dict[str, Any]) -> dict[str, object]:
    """The estimate by the command line that an answer names."""
    line = shlex.split(found["command"])
    assert line[:2] == ["tsplanner", "estimate"]
    return estimated(options("estimate", line[2:])).document


def test_an_answer_has_the_bytes_of_the_line_that_it_names() -> None:
    """And the verdict on the card's free memory: 24 GiB less 0.75 % and 256 MiB."""
    found: Any = answer({"given": FIRST})
    assert found["estimate"] == of_its_line(found)
    assert found["total_bytes"] == 24 * 2**30
    assert found["free_bytes"] == 25_308_094_792
    assert found["verdict"] == "fits"
    assert found["model"] == "qwen2.5-7b"


def test_what_is_free_may_be_known_better() -> None:
    """17.3 GB are needed: 16 GB are too few, and 18 hold the expected peak alone."""
    verdicts = [
        answer({"given": FIRST, "free_bytes": 10**9 * free})["verdict"] for free in (16, 18)
    ]
    assert verdicts == ["does not fit", "tight"]


def test_without_a_card_there_are_bytes_and_no_verdict() -> None:
    """Bytes are those of an H200 then, as on the command line."""
    found: Any = answer({"given": {"model": "qwen2.5-7b"}})
    assert found["verdict"] is None
    assert found["free_bytes"] is None
    assert found["estimate"] == of_its_line(found)


def test_a_pasted_config_stands_for_the_model(tmp_path: Path, monkeypatch: Any) -> None:
    """Its line finds the text where a person saves it."""
    found: Any = answer({"given": FIRST, "config": QWEN})
    assert "--model config.json" in found["command"]
    assert found["estimate"] == answer({"given": FIRST})["estimate"]
    monkeypatch.chdir(tmp_path)
    Path("config.json").write_text(QWEN, encoding="utf-8")
    assert found["estimate"] == of_its_line(found)


@pytest.mark.parametrize(
    ("asked", "kind", "says"),
    [
        ({}, "wrong", "given must be an object"),
        ({"given": {**FIRST, "lora_rank": 0}}, "wrong", "must be at least 1"),
        ({"given": {**FIRST, "lora_rank": 10**9}}, "wrong", "lora_rank must be at most"),
        ({"given": {**FIRST, "sequence_length": 1.5}}, "wrong", "'1.5' is not an integer"),
        ({"given": {**FIRST, "gpus": "RTX 9999"}}, "wrong", 'unknown GPU "RTX 9999"'),
        ({"given": {**FIRST, "gpus": "V100 SXM2 32GiB"}}, "wrong", "use fp16"),
        ({"given": {**FIRST, "model": "qwen9"}}, "wrong", 'No model "qwen9"'),
        ({"given": {**FIRST, "deepspeed": "/etc/passwd"}}, "wrong", 'takes no "deepspeed"'),
        ({"given": {**FIRST, "trust_remote_code": True}}, "wrong", "takes no"),
        ({"given": FIRST, "free_bytes": "24GiB"}, "wrong", "a whole number of bytes"),
        ({"given": FIRST, "free_bytes": -1}, "wrong", "a whole number of bytes"),
        ({"given": FIRST, "config": "{"}, "wrong", "This is not the JSON of a config.json"),
        ({"given": FIRST, "config": "[]"}, "wrong", "is a JSON object"),
        ({"given": FIRST, "config": 7}, "wrong", "must be the text"),
        ({"given": FIRST, "config": '{"model_type": "qwen2"}'}, "wrong", "is missing"),
        ({"given": FIRST, "config": '{"model_type": "mamba"}'}, "no formula", "estimate --trace"),
        ({"given": FIRST, "config": '{"model_type": "mystery"}'}, "wrong", "no trace can stand in"),
    ],
)
def test_what_is_wrong_is_one_sentence(asked: dict[str, Any], kind: str, says: str) -> None:
    """A model without a formula is told where it can be sized."""
    found = answer(asked)
    assert set(found) == {"error", "kind"}
    assert found["kind"] == kind
    assert says in str(found["error"])
    assert "\n" not in str(found["error"])


def test_the_page_offers_only_what_can_be_asked() -> None:
    """Every preset and every card has an answer."""
    found: Any = facts()
    json.dumps(found)
    for name in found["presets"]:
        assert "estimate" in answer({"given": {"model": name}}), name
    for card in cards():
        fp16 = {"model_dtype": "fp16", "autocast": "fp16"}
        assert "estimate" in answer({"given": {**FIRST, **fp16, "gpus": card["name"]}}), card
    assert {"name": "RTX 2080 Ti 22GiB", "gib": 22} in cards()
    assert found["first_answer"] == answer({"given": FIRST})
    assert {"int8", "nf4", "nf4-dq"} <= set(found["choices"]["quantization"])
    assert found["version"] == tsplanner.__version__


def test_questions_and_answers_travel_as_json() -> None:
    """Into the interpreter inside the page and back."""
    warm()
    assert json.loads(answered(json.dumps({"given": FIRST}))) == answer({"given": FIRST})
    with pytest.raises(UsageError):
        read_pasted(None)
