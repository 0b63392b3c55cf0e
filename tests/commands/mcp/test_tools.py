"""The tools without the protocol: the flags of the verbs in, the documents of the verbs out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tsplanner.commands.gpus import run as run_gpus
from tsplanner.commands.mcp.tools import TOOLS

BY_NAME = {tool.name: tool for tool in TOOLS}


def test_no_tool_takes_a_flag_that_runs_a_models_code_or_says_where_to_write() -> None:
    """Whoever may call a tool may not do that by it."""
    for tool in TOOLS:
        taken = tool.arguments().keys()
        assert taken.isdisjoint({"trust_remote_code", "output", "json", "quiet", "help"}), tool.name


def test_a_flag_of_two_names_is_one_argument() -> None:
    """The first of the parser's names."""
    assert {"gpus", "device"} & BY_NAME["plan"].arguments().keys() == {"gpus"}


def test_every_argument_is_described() -> None:
    """Whoever calls a tool has not read the manual."""
    for tool in TOOLS:
        for name, schema in tool.schema()["properties"].items():
            assert len(schema["description"]) > 14, f"{tool.name} {name}"


def test_a_word_without_a_flag_is_an_argument_by_its_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And it is never read as a flag."""
    run_gpus(filter="L40S", as_json=True)
    expected = json.loads(capsys.readouterr().out)
    assert BY_NAME["gpus"].call({"filter": "L40S"}) == (expected, 0)
    document, status = BY_NAME["gpus"].call({"filter": "--json"})
    assert document["error"].startswith('unknown GPU "--json"')
    assert status == 2


def test_values_are_what_json_has_for_them() -> None:
    """A list for names, a whole number, true for on."""
    given = {
        "model": "qwen2.5-7b",
        "lora_target": ["q_proj", "v_proj"],
        "lora_rank": 4,
        "gradient_checkpointing": True,
    }
    document, status = BY_NAME["estimate"].call(given)
    assert status == 0
    # Rank 4 on q (3,584 to 3,584) and v (3,584 to 512) in 28 layers: 4 x (7,168 + 4,096) x 28.
    assert document["parameters"]["trainable"] == 1_261_568


def test_models_and_doctor_answer_as_their_verbs() -> None:
    """A list of presets; what is ready for planning here."""
    document, status = BY_NAME["models"].call({"filter": "qwen2.5-7b"})
    assert status == 0
    assert [row["name"] for row in document["presets"]] == ["qwen2.5-7b"]
    document, status = BY_NAME["doctor"].call({"for": "plan"})
    assert (document["for"], status) == ("plan", 0)


def test_a_folder_without_runs_is_a_sentence(tmp_path: Path) -> None:
    """With the status that the command line would end with."""
    document, status = BY_NAME["report"].call({"saves": str(tmp_path / "none")})
    assert "is not a directory" in document["error"]
    assert status == document["exit_status"] == 1
