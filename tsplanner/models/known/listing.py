"""Presets and families as lists: how each is sized, and how often it was measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path

from memory_models.frozen import frozen
from memory_models.states.weights import total_parameters
from tsplanner.models.decoders import READERS
from tsplanner.models.known.model_types import Kind, model_types
from tsplanner.models.source import preset_names, read_model
from tsplanner.models.wrappers import WRAPPERS

MEASURED = Path(__file__).with_name("measured.json")
"""Runs by GPU, as benchmarks/collect/measured_models.py counts them."""


class Sizing(StrEnum):
    """Where a family's bytes come from."""

    FORMULA = "formula"
    """From config.json alone."""
    TRACE = "trace"
    """From a run of the real model on fake tensors, which needs transformers."""


@frozen
class Preset:
    """A model that ships as a config.json, by name."""

    name: str
    family: str
    """Its ``model_type``."""
    parameters: int
    runs: Mapping[str, int]
    """Measured runs of this very shape, by GPU."""


@frozen
class Family:
    """A ``model_type``."""

    name: str
    sizing: Sizing
    presets: tuple[str, ...] = ()
    runs: Mapping[str, int]
    """Measured runs of all its shapes, by GPU."""


def presets() -> tuple[Preset, ...]:
    """All presets, sorted by name."""
    return tuple(_preset(name) for name in preset_names())


def _preset(name: str) -> Preset:
    source = read_model(name)
    return Preset(
        name=name,
        family=str(source.config["model_type"]),
        parameters=total_parameters(source.architecture),
        runs=_runs("presets", name),
    )


def families() -> tuple[Family, ...]:
    """All families that can be planned: those with a formula first, then the traced ones."""
    by_name: dict[str, list[str]] = {}
    for preset in presets():
        by_name.setdefault(preset.family, []).append(preset.name)
    # Vision-language models whose tower no formula counts are traced like strangers.
    counted = {name for name, wrapper in WRAPPERS.items() if wrapper.tower_type is not None}
    formulas = {*READERS, *counted}
    causal = {name for name, kind in model_types().kind_of.items() if kind is Kind.CAUSAL}
    traced = {*causal, *WRAPPERS} - formulas
    return tuple(
        Family(
            name=name,
            sizing=sizing,
            presets=tuple(by_name.get(name, ())),
            runs=_runs("families", name),
        )
        for sizing, names in ((Sizing.FORMULA, formulas), (Sizing.TRACE, traced))
        for name in sorted(names)
    )


@cache
def _measured() -> dict[str, dict[str, dict[str, int]]]:
    table: dict[str, dict[str, dict[str, int]]] = json.loads(MEASURED.read_text(encoding="utf-8"))
    return table


def _runs(part: str, name: str) -> dict[str, int]:
    """Runs by GPU; empty if there were none."""
    return {gpu: counts[name] for gpu, counts in _measured()[part].items() if name in counts}
