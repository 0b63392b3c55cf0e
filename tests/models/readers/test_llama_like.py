"""Layers that are Llama's but for a few things, which config.json turns on."""

from __future__ import annotations

from memory_models.architecture import Norm
from tests.support.shrunk import config_of
from tsplanner.models.source import read_architecture, read_model


def test_granite_multiplies_embeddings_branches_and_logits() -> None:
    """By the numbers in its config; each makes a tensor more."""
    found = read_architecture(config_of("granite"), name="g", source="c")
    assert found.layer.scales_branches
    assert found.vocabulary.scales_logits
    assert found.vocabulary.scales_embedding


def test_olmo_norms_stand_after_the_branches_and_span_all_heads() -> None:
    """Four query heads and two key heads of 16, and two norms of 64."""
    found = read_architecture(config_of("olmo2"), name="o", source="c")
    assert (found.norms.kind, found.norms.norms_after) == (Norm.RMS_FP32, True)
    assert found.norms.norm_width_per_layer == 2 * 64 + (4 + 2) * 16


def test_three_of_four_layers_of_olmo_3_see_a_window() -> None:
    """24 of 32, of 4,096 positions."""
    attention = read_model("olmo-3-7b").architecture.attention
    assert (attention.sliding_layers, attention.sliding_window) == (24, 4096)


def test_glm_rotates_half_of_each_head_by_either_key() -> None:
    """Transformers 5 writes the share into rope_parameters."""
    for share in (
        {},
        {"partial_rotary_factor": 0.5},
        {"rope_parameters": {"partial_rotary_factor": 0.5, "rope_type": "default"}},
    ):
        found = read_architecture(config_of("glm4", **share), name="g", source="c")
        assert found.attention.rotary_dim == 16
    assert found.norms.norms_per_layer == 4


def test_smollm3_ties_its_head_unless_told() -> None:
    """As its configuration class."""
    assert read_model("smollm3-3b").architecture.vocabulary.tie_word_embeddings
