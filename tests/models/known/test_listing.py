"""Presets and families as lists."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

from tsplanner.models.decoders import READERS
from tsplanner.models.known.listing import MEASURED, Sizing, families, presets
from tsplanner.models.source import preset_names

COLLECTOR = Path(__file__).parents[3] / "benchmarks" / "collect" / "measured_models.py"


def test_every_preset_is_listed_with_its_parameters() -> None:
    """Qwen2.5-7B has 7,615,616,512, and was measured."""
    found = {preset.name: preset for preset in presets()}
    assert tuple(found) == preset_names()
    qwen = found["qwen2.5-7b"]
    assert (qwen.family, qwen.parameters) == ("qwen2", 7_615_616_512)
    assert qwen.runs["H200"] > 0


def test_a_family_has_a_formula_or_is_traced() -> None:
    """Every reader is listed; a causal type of transformers without one is traced."""
    found = {family.name: family for family in families()}
    formulas = {name for name, one in found.items() if one.sizing is Sizing.FORMULA}
    assert formulas >= {*READERS, "gemma3", "qwen2_5_vl"}
    assert found["llama4"].sizing is Sizing.TRACE
    assert found["seed_oss"].sizing is Sizing.TRACE
    assert "bert" not in found
    assert "qwen2.5-7b" in found["qwen2"].presets
    assert found["seed_oss"].runs == {}


def test_the_counts_are_those_of_the_committed_measurements() -> None:
    """To write them anew: python benchmarks/collect/measured_models.py."""
    spec = importlib.util.spec_from_file_location("measured_models", COLLECTOR)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.table() == json.loads(MEASURED.read_text(encoding="utf-8"))
