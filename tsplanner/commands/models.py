"""``tsplanner models``: which models are known by name, how they are sized, what was measured."""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from memory_models.settings import FinetuningType
from tsplanner.commands.views.screen import Screen
from tsplanner.errors import EXIT_OK, UsageError, did_you_mean, named
from tsplanner.models.known.listing import Family, Preset, Sizing, families, presets
from tsplanner.models.known.model_types import model_types
from tsplanner.models.known.refusals import what_it_is
from tsplanner.report.text import parameters, table

EPILOG = """examples:
  tsplanner models            every preset and family
  tsplanner models qwen       those with qwen in their name
  tsplanner models bert       why a family is not trained
"""
NONE = "-"
WIDTH = 100
"""Columns of the list of traced families."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb."""
    parser.add_argument(
        "filter", nargs="?", metavar="FILTER", help="part of a name: of a preset or a model_type"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def from_arguments(namespace: argparse.Namespace) -> int:
    """Run the verb from parsed flags."""
    return run(filter=namespace.filter, as_json=namespace.json)


def run(*, filter: str | None = None, as_json: bool = False) -> int:
    """List presets and families whose name or family has ``filter`` in it; 0.

    Raises:
        UsageError: nothing has that name; says why, where the family is one of another kind.
    """
    if as_json:
        print(json.dumps(document(filter)))
        return EXIT_OK
    _print(*_found(filter or ""))
    refused = what_it_is((filter or "").lower())
    if refused is not None:
        Screen().line(f"Not trained: {refused}.")
    return EXIT_OK


def document(filter: str | None) -> dict[str, Any]:
    """Presets and families as plain values. Raises UsageError: nothing has that name."""
    found, known = _found(filter or "")
    refused = what_it_is((filter or "").lower())
    lists = {"presets": _plain(found), "families": _plain(known), "methods": METHODS}
    return lists | ({} if refused is None else {"refused": refused})


def _found(text: str) -> tuple[list[Preset], list[Family]]:
    """Presets and families by a part of their name. Raises UsageError: there is neither."""
    part = text.lower()
    found = [one for one in presets() if part in one.name or part in one.family.lower()]
    known = [one for one in families() if part in one.name.lower() or _has(one, found)]
    if not found and not known:
        raise _nothing(part)
    return found, known


METHODS = [str(method) for method in FinetuningType]


def _has(family: Family, found: Sequence[Preset]) -> bool:
    """Whether one of the presets is of this family: then its row says how they are sized."""
    return any(preset.family == family.name for preset in found)


def _nothing(part: str) -> UsageError:
    """Why nothing is listed."""
    why = what_it_is(part)
    if why is not None:
        return UsageError(f"{why}.")
    names = [*model_types().kind_of, *(preset.name for preset in presets())]
    return UsageError(
        f"No preset and no model_type has {named(part)} in its name.{did_you_mean(part, names)} "
        "A folder or a config.json of a model that transformers has is planned all the same."
    )


def _plain(rows: Sequence[Preset | Family]) -> list[dict[str, object]]:
    """Rows as plain values."""
    return [
        {
            "name": row.name,
            "family": row.family,
            "parameters": row.parameters,
            "measured_runs": dict(row.runs),
        }
        if isinstance(row, Preset)
        else {
            "name": row.name,
            "sized_by": str(row.sizing),
            "presets": list(row.presets),
            "measured_runs": dict(row.runs),
        }
        for row in rows
    ]


def _print(found: Sequence[Preset], known: Sequence[Family]) -> None:
    screen = Screen()
    if found:
        rows = [
            [one.name, one.family, parameters(one.parameters), _runs(one.runs)] for one in found
        ]
        _table(screen, ["preset", "family", "parameters", "measured runs"], rows)
    formulas = [one for one in known if one.sizing is Sizing.FORMULA]
    if formulas:
        rows = [[one.name, str(len(one.presets)), _runs(one.runs)] for one in formulas]
        _table(screen, ["family with a formula", "presets", "measured runs"], rows)
    traced = [one.name for one in known if one.sizing is Sizing.TRACE]
    if traced:
        screen.line(f"{len(traced)} more by a trace of the real model (needs transformers)", "bold")
        for line in textwrap.wrap(", ".join(traced), WIDTH, break_on_hyphens=False):
            screen.line(f"  {line}")
        screen.line()
    screen.line(f"Methods: {', '.join(METHODS)}.", "dim")
    screen.line(
        "A folder, a config.json or a hub id of these families is planned as well: --model NAME.",
        "dim",
    )


def _table(screen: Screen, heading: list[str], rows: list[list[str]]) -> None:
    for number, line in enumerate(table([heading, *rows], left=len(heading) - 2)):
        screen.line(line, "" if number else "bold")
    screen.line()


def _runs(runs: Mapping[str, int]) -> str:
    return ", ".join(f"{count} on {gpu}" for gpu, count in runs.items()) or NONE
