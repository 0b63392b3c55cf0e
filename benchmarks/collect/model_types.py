"""Writes what kind of model each ``model_type`` of transformers is, for refusals by name.

    python benchmarks/collect/model_types.py > tsplanner/models/known/model_types.json

``plan`` and ``estimate`` import no transformers, so they read this table. It sorts the types of the
installed transformers by the auto classes that take them. tests/models/known/test_model_types.py compares
the table with the version that is installed.
"""

from __future__ import annotations

import json
import warnings
from typing import Any

AUDIO = (
    "MODEL_FOR_SPEECH_SEQ_2_SEQ",
    "MODEL_FOR_CTC",
    "MODEL_FOR_RNNT",
    "MODEL_FOR_TDT",
    "MODEL_FOR_AUDIO_CLASSIFICATION",
    "MODEL_FOR_AUDIO_XVECTOR",
    "MODEL_FOR_TEXT_TO_SPECTROGRAM",
    "MODEL_FOR_TEXT_TO_WAVEFORM",
)
VISION = (
    "MODEL_FOR_IMAGE",
    "MODEL_FOR_IMAGE_CLASSIFICATION",
    "MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION",
    "MODEL_FOR_CAUSAL_IMAGE_MODELING",
    "MODEL_FOR_BACKBONE",
    "MODEL_FOR_OBJECT_DETECTION",
    "MODEL_FOR_ZERO_SHOT_OBJECT_DETECTION",
    "MODEL_FOR_DEPTH_ESTIMATION",
    "MODEL_FOR_VIDEO_CLASSIFICATION",
    "MODEL_FOR_MASK_GENERATION",
    "MODEL_FOR_UNIVERSAL_SEGMENTATION",
    "MODEL_FOR_INSTANCE_SEGMENTATION",
    "MODEL_FOR_KEYPOINT_MATCHING",
    "MODEL_FOR_TEXT_RECOGNITION",
    "MODEL_FOR_VISUAL_QUESTION_ANSWERING",
    "MODEL_FOR_RETRIEVAL",
)
SERIES = (
    "MODEL_FOR_TIME_SERIES_PREDICTION",
    "MODEL_FOR_TIME_SERIES_CLASSIFICATION",
    "MODEL_FOR_TIME_SERIES_REGRESSION",
)
ENCODER = (
    "MODEL_FOR_MASKED_LM",
    "MODEL_FOR_TEXT_ENCODING",
    "MODEL_FOR_QUESTION_ANSWERING",
    "MODEL_FOR_SEQUENCE_CLASSIFICATION",
    "MODEL_FOR_TOKEN_CLASSIFICATION",
)


def _types(*mappings: str) -> set[str]:
    """The model types that the auto classes of these mappings take."""
    from transformers.models.auto import modeling_auto

    return {
        name
        for mapping in mappings
        for name in getattr(modeling_auto, f"{mapping}_MAPPING_NAMES", {})
    }


def _defaults(name: str) -> Any:
    """The default configuration of a type; None if the type has none."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    try:
        return CONFIG_MAPPING[name]()
    except Exception:  # a few classes refuse their own defaults, each by an error of its own
        return None


def kinds() -> dict[str, list[str]]:
    """Every type of the installed transformers under one kind, sorted."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    causal = _types("MODEL_FOR_CAUSAL_LM")
    masked = _types("MODEL_FOR_MASKED_LM")
    rooms = [
        ("audio", _types(*AUDIO)),
        ("image_text", _types("MODEL_FOR_IMAGE_TEXT_TO_TEXT") - causal),
        ("encoder_decoder", _types("MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM")),
        ("series", _types(*SERIES)),
        # GPT-2 and others serve as text encoders too; only masked prediction makes an encoder.
        ("encoder", masked & causal),
        ("causal", causal),
        ("vision", _types(*VISION)),
        ("encoder", _types(*ENCODER)),
    ]
    found: dict[str, list[str]] = {name: [] for name, _ in rooms} | {"part": []}
    for name in sorted(CONFIG_MAPPING_NAMES):
        kind = next((kind for kind, names in rooms if name in names), "part")
        defaults = _defaults(name)
        if kind in ("causal", "image_text") and getattr(defaults, "is_encoder_decoder", False):
            kind = "encoder_decoder"
        elif kind == "encoder_decoder" and hasattr(defaults, "audio_config"):
            kind = "audio"
        found[kind].append(name)
    return found


def untied(names: list[str]) -> list[str]:
    """The types among ``names`` whose configuration unties embedding and head by default."""
    return [
        name for name in names if getattr(_defaults(name), "tie_word_embeddings", None) is False
    ]


def table() -> dict[str, object]:
    """The whole table."""
    import transformers
    from transformers import logging

    logging.set_verbosity_error()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = kinds()
        return {
            "transformers": transformers.__version__,
            "kinds": {kind: " ".join(names) for kind, names in found.items()},
            "untied_by_default": " ".join(untied(found["causal"])),
        }


if __name__ == "__main__":
    print(json.dumps(table(), indent=1))
