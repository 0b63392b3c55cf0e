"""Texts of exported files."""

from __future__ import annotations

from typing import Any

import yaml

from tests.support.golden import CASES, Case
from tsplanner.exporters.launch import ExportOptions
from tsplanner.exporters.registry import render
from tsplanner.planner.plan import Plan

YAML_OF = {"llamafactory": "train.yaml", "axolotl": "axolotl.yaml", "trl": "trl.yaml"}


def only(name: str, plan: Plan, file: str, **options: object) -> str:
    """The text of one file of an export."""
    found = render(name, plan, ExportOptions(**options))  # type: ignore[arg-type]
    return next(each.text for each in found if each.name == file)


def written(case: Case, exporter: str = "llamafactory") -> dict[str, str]:
    """Texts by file name."""
    return {file.name: file.text for file in render(exporter, case.plan, case.options)}


def said(case: Case, exporter: str = "llamafactory") -> dict[str, Any]:
    """The content of the trainer's YAML."""
    found = yaml.safe_load(written(case, exporter)[YAML_OF[exporter]])
    assert isinstance(found, dict)
    return found


def golden(name: str) -> dict[str, Any]:
    """The YAML of a golden case of LLaMA-Factory."""
    return said(CASES["llamafactory"][name])
