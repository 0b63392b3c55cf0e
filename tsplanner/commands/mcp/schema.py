"""The flags of a verb as the JSON Schema of a tool's arguments: the parser is the only table."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from tsplanner.commands.doctor import Purpose
from tsplanner.commands.inputs import values
from tsplanner.commands.inputs.keywords import REPEATED
from tsplanner.datasets.records import LossOn

TEXT = {"type": "string"}
INTEGER = {"type": "integer"}
NUMBER = {"type": "number"}
COUNT = {"type": "integer", "minimum": 0}
NAMES = {"anyOf": [TEXT, {"type": "array", "items": TEXT}]}
TYPES: dict[object, dict[str, Any]] = {
    None: TEXT,
    int: INTEGER,
    float: NUMBER,
    values.positive: {"type": "integer", "minimum": 1},
    values.cutoff: {"type": "integer", "minimum": 16},
    values.count: COUNT,
    values.counts: {"anyOf": [COUNT, {"type": "array", "items": COUNT}]},
    values.seed: COUNT,
    values.positive_float: {"type": "number", "exclusiveMinimum": 0},
    values.not_negative: {"type": "number", "minimum": 0},
    values.number_of_epochs: {"type": "number", "exclusiveMinimum": 0},
    values.fraction: {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
    values.switch: {"type": "boolean"},
    values.path: TEXT,
    values.path_text: TEXT,
    values.layers: {"anyOf": [INTEGER, {"const": values.ALL}]},
    values.inputs: {"anyOf": [COUNT, {"const": values.ALL}]},
    values.budget: {"anyOf": [INTEGER, {"const": values.NONE}]},
    values.memory_size: TEXT,
    values.targets: NAMES,
    values.saved_modules: NAMES,
    values.ranks: {"type": "object", "additionalProperties": INTEGER},
    values.alphas: {"type": "object", "additionalProperties": NUMBER},
    values.method: TEXT,
    values.quantization: TEXT,
    LossOn: TEXT,
    Purpose: TEXT,
}
"""What JSON holds for a value that a parser's function reads."""


def tool_schema(known: Mapping[str, argparse.Action]) -> dict[str, Any]:
    """The schema of an object with these arguments, each with the words of its help."""
    return {
        "type": "object",
        "properties": {name: property_schema(action) for name, action in known.items()},
        "additionalProperties": False,
    }


def property_schema(action: argparse.Action) -> dict[str, Any]:
    """The schema of one argument. Raises KeyError for a reader that TYPES does not know."""
    found = {"type": "boolean"} if action.nargs == 0 else _one(action.type, action.choices)
    if isinstance(action, REPEATED):
        found = {"anyOf": [found, {"type": "array", "items": found}]}
    return {**found, "description": (action.help or "") % {"default": action.default}}


def _one(kind: Callable[[str], Any] | str | None, choices: Any) -> dict[str, Any]:
    """The schema of one value by its reader, and what it may be."""
    found = TYPES[kind]
    return found if choices is None else {**found, "enum": [*choices]}
