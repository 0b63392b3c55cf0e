"""The table of model types against the readers and against transformers."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from tsplanner.models.decoders import READERS
from tsplanner.models.known.model_types import TYPES, Kind, model_types

COLLECTOR = Path(__file__).parents[3] / "benchmarks" / "collect" / "model_types.py"


def test_no_type_that_has_a_formula_is_refused() -> None:
    """The table and the readers agree."""
    kinds = model_types().kind_of
    assert {kinds[name] for name in READERS if name in kinds} == {Kind.CAUSAL}


def test_the_table_is_that_of_the_installed_transformers() -> None:
    """Equal for the version that it names; for another one no causal type may be refused."""
    transformers = pytest.importorskip("transformers")
    if transformers.__version__ == model_types().transformers:
        spec = importlib.util.spec_from_file_location("model_types_collector", COLLECTOR)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        written = json.loads(json.dumps(module.table()))
        assert written == json.loads(TYPES.read_text("utf-8"))
        return
    from transformers.models.auto import modeling_auto

    masked = set(modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES)
    kinds = model_types().kind_of
    for name in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        if name in kinds and name not in masked:
            assert kinds[name] in (Kind.CAUSAL, Kind.ENCODER_DECODER, Kind.AUDIO)
