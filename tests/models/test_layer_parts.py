"""Which blocks see a window only, and which run attention and MLP side by side."""

from __future__ import annotations

import pytest

from memory_models.architecture import Architecture
from tests.support.shrunk import SHRUNK
from tsplanner.models.source import read_architecture


def read(kind: str, **values: object) -> Architecture:
    """A small model of a family, six layers deep."""
    config = {**SHRUNK[kind], "model_type": kind, "num_hidden_layers": 6, **values}
    if "layer_types" not in values:
        config.pop("layer_types", None)
    return read_architecture(config, name="small", source="config.json")


@pytest.mark.parametrize(
    ("kind", "values", "layers"),
    [
        ("llama", {}, 0),
        # every block, if there is a window at all
        ("mistral", {"sliding_window": 32}, 6),
        ("mistral", {"sliding_window": None}, 0),
        ("mixtral", {"sliding_window": 32}, 6),
        ("phi3", {"sliding_window": 32}, 6),
        # every second block is whole in Gemma 2, every sixth in Gemma 3, or every p-th
        ("gemma2", {"sliding_window": 32}, 3),
        ("gemma3_text", {"sliding_window": 32}, 5),
        ("gemma3_text", {"sliding_window": 32, "sliding_window_pattern": 3}, 4),
        # Qwen only if it is switched on, from a block on
        ("qwen2", {"sliding_window": 32}, 0),
        ("qwen2", {"sliding_window": 32, "use_sliding_window": True, "max_window_layers": 4}, 2),
        ("qwen2", {"sliding_window": 32, "use_sliding_window": True, "max_window_layers": 9}, 0),
        # a list says it all
        (
            "qwen3",
            {
                "sliding_window": 32,
                "layer_types": ["sliding_attention", "full_attention", "sliding_attention"] * 2,
            },
            4,
        ),
    ],
)
def test_windowed_blocks_are_counted_as_the_family_has_them(
    kind: str, values: dict[str, object], layers: int
) -> None:
    """A list of layer types, a pattern, or all blocks."""
    assert read(kind, **values).attention.sliding_layers == layers


def test_a_window_that_the_config_leaves_out_is_the_familys() -> None:
    """Mistral's and Gemma's configurations have 4096."""
    for kind in ("mistral", "gemma2", "gemma3_text"):
        config = {key: value for key, value in SHRUNK[kind].items() if key != "sliding_window"}
        config.pop("layer_types", None)
        found = read_architecture(
            {**config, "model_type": kind}, name="small", source="config.json"
        )
        assert found.attention.sliding_window == 4096, kind


@pytest.mark.parametrize(
    ("flag", "parallel"), [({}, True), ({"use_parallel_residual": False}, False)]
)
def test_gpt_neox_runs_attention_and_mlp_side_by_side_unless_told(
    flag: dict[str, object], parallel: bool
) -> None:
    """Pythia's blocks are parallel."""
    assert read("gpt_neox", **flag).layer.parallel_residual is parallel
    assert read("llama").layer.parallel_residual is False
