"""JSON Schemas of flags: types, limits and words are the parser's."""

from __future__ import annotations

import argparse

import pytest

from tsplanner.commands.inputs import values
from tsplanner.commands.inputs.options import Added
from tsplanner.commands.mcp.schema import property_schema, tool_schema


def schema(*flags: str, **shape: object) -> dict[str, object]:
    """The schema of one flag."""
    parser = argparse.ArgumentParser()
    return property_schema(parser.add_argument(*flags, **shape))  # type: ignore[arg-type]


def test_limits_of_the_parser_are_limits_of_the_schema() -> None:
    """So a client refuses what the verb would refuse."""
    assert schema("--lora-rank", type=values.positive, help="rank [8]") == {
        "type": "integer",
        "minimum": 1,
        "description": "rank [8]",
    }
    share = schema("--validation-fraction", type=values.fraction)
    assert (share["minimum"], share["exclusiveMaximum"]) == (0, 1)


def test_choices_and_defaults_are_named() -> None:
    """A default that argparse fills in is filled in."""
    found = schema("--format", choices=["html", "md"], default="md", help="kind [%(default)s]")
    assert found == {"type": "string", "enum": ["html", "md"], "description": "kind [md]"}


def test_a_flag_without_a_value_is_true_or_false_and_one_that_adds_up_may_be_a_list() -> None:
    """As keywords of the Python API are."""
    assert schema("--cpu", action="store_true")["type"] == "boolean"
    text = {"type": "string"}
    assert schema("--gpus", action=Added)["anyOf"] == [text, {"type": "array", "items": text}]


def test_a_reader_that_the_table_lacks_is_no_silent_text() -> None:
    """A new kind of value gets its row."""
    with pytest.raises(KeyError):
        schema("--budget", type=values.port)


def test_no_other_argument_is_let_through() -> None:
    """A misspelt one would count for nothing."""
    assert tool_schema({}) == {"type": "object", "properties": {}, "additionalProperties": False}
