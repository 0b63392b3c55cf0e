"""What kind of model each ``model_type`` of transformers is.

The table stands in model_types.json, for ``plan`` imports no transformers.
benchmarks/collect/model_types.py writes that file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path

from memory_models.frozen import frozen

TYPES = Path(__file__).with_name("model_types.json")


class Kind(StrEnum):
    """What kind of model a ``model_type`` is, by the auto classes of transformers that take it."""

    CAUSAL = "causal"
    IMAGE_TEXT = "image_text"
    ENCODER = "encoder"
    ENCODER_DECODER = "encoder_decoder"
    AUDIO = "audio"
    VISION = "vision"
    SERIES = "series"
    PART = "part"
    """A part of a larger model, or a model that no auto class for language takes."""


@frozen
class ModelTypes:
    """The model types of one version of transformers."""

    transformers: str
    """The version."""
    kind_of: Mapping[str, Kind]
    untied_by_default: frozenset[str]
    """Causal types whose head is a matrix of its own unless a config says otherwise."""


@cache
def model_types() -> ModelTypes:
    """The table of model_types.json."""
    table = json.loads(TYPES.read_text(encoding="utf-8"))
    return ModelTypes(
        transformers=table["transformers"],
        kind_of={
            name: Kind(kind) for kind, names in table["kinds"].items() for name in names.split()
        },
        untied_by_default=frozenset(table["untied_by_default"].split()),
    )
