"""Parts of a decoder layer that the readers of several families share."""

from __future__ import annotations

import pytest

from memory_models.architecture import Activation, Architecture, Role
from tests.support.shrunk import SHRUNK
from tsplanner.errors import TsplannerError
from tsplanner.models.config import Config
from tsplanner.models.layer_parts import (
    ACTIVATIONS,
    activation_of,
    architecture_of,
    attention,
    gated_mlp,
)
from tsplanner.models.source import read_architecture


def read(kind: str, **values: object) -> Architecture:
    """A small model of a family, six layers deep."""
    config = {**SHRUNK[kind], "model_type": kind, "num_hidden_layers": 6, **values}
    if "layer_types" not in values:
        config.pop("layer_types", None)
    return read_architecture(config, name="small", source="config.json")


@pytest.mark.parametrize(
    ("values", "positions"),
    [
        ({}, None),
        ({"rope_scaling": None}, None),
        # As Qwen's model cards write it: 4 x 32,768.
        (
            {
                "rope_scaling": {
                    "type": "yarn",
                    "factor": 4.0,
                    "original_max_position_embeddings": 32_768,
                }
            },
            131_072,
        ),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 2}}, 2 * 512),
        ({"rope_scaling": {"rope_type": "linear", "factor": 8.0}}, None),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 0.5}}, None),
    ],
)
def test_yarns_factor_counts_as_published_length(
    values: dict[str, object], positions: int | None
) -> None:
    """Of its original length, which is max_position_embeddings where the section names none."""
    found = read("llama", max_position_embeddings=512, **values).positions
    assert found.extended_positions == positions
    assert found.published_positions == (positions or 512)


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


def test_attention_has_four_projections_with_grouped_keys() -> None:
    """64 wide, 4 query heads and 2 key heads of 16: q and o are 64 x 64, k and v 64 x 32."""
    config = Config(
        {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}, "config.json"
    )
    found = attention(config, bias=True)
    assert [(linear.name, linear.in_features, linear.out_features) for linear in found] == [
        ("q_proj", 64, 64),
        ("k_proj", 64, 32),
        ("v_proj", 64, 32),
        ("o_proj", 64, 64),
    ]
    assert [linear.bias for linear in found] == [True, True, True, False]
    assert attention(config, output_bias=True)[3].bias


def test_a_gated_mlp_has_two_ways_in_and_one_out() -> None:
    """Gate and up widen, down narrows; a mixture has ``count`` of each."""
    gate, up, down = gated_mlp(8, 16, count=4)
    assert (gate.in_features, gate.out_features) == (up.in_features, up.out_features) == (8, 16)
    assert (down.in_features, down.out_features) == (16, 8)
    assert {linear.count for linear in (gate, up, down)} == {4}
    assert [linear.role for linear in (gate, up, down)] == [Role.GATE, Role.UP, Role.DOWN]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_goes_by_the_names_of_transformers(name: str) -> None:
    """SiLU is also called swish, and is the default."""
    assert activation_of(Config({"act": name}, "c"), "act") is ACTIVATIONS[name]
    assert activation_of(Config({}, "c")) is Activation.SILU
    with pytest.raises(TsplannerError, match="c: act has the unknown activation 'mish'"):
        activation_of(Config({"act": "mish"}, "c"), "act")


def test_traits_of_a_family_override_the_keys_that_all_share() -> None:
    """Two norms of the hidden size, unless the family says otherwise."""
    config = Config({**SHRUNK["llama"], "model_type": "llama"}, "config.json")
    plain = architecture_of("a", config, ())
    assert (plain.name, plain.norms.norm_width_per_layer) == ("a", 2 * 64)
    four = architecture_of("a", config, (), norm_width_per_layer=4 * 64)
    assert four.norms.norm_width_per_layer == 256
