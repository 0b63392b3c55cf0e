"""Layers whose attention and MLP read one norm, and their relatives."""

from __future__ import annotations

import pytest

from memory_models.architecture import Activation, Norm
from tests.support.shrunk import config_of
from tsplanner.errors import TsplannerError
from tsplanner.models.source import read_architecture, read_model


def test_phi_2_is_read_as_published() -> None:
    """One LayerNorm per layer, 0.4 of each head of 80 rotated, a biased head, a slow GELU."""
    found = read_model("phi-2").architecture
    assert found.norms.norms_per_layer == 1
    assert found.attention.rotary_dim == 32
    assert found.vocabulary.head_bias
    assert found.mlp.activation is Activation.GELU_NEW
    assert found.target_names == ("q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2")


def test_command_r7b_windows_three_of_four_layers() -> None:
    """24 of 32; the old key names every fourth."""
    found = read_model("command-r7b").architecture
    assert found.attention.sliding_layers == 24
    assert found.norms.kind is Norm.LAYER_FP32
    assert found.vocabulary.scales_logits


def test_stablelm_has_one_norm_where_its_branches_are_parallel() -> None:
    """And two where they are not."""
    for parallel, norms in ((True, 1), (False, 2)):
        config = config_of("stablelm", use_parallel_residual=parallel)
        found = read_architecture(config, name="s", source="c")
        assert found.norms.norms_per_layer == norms
        assert found.layer.parallel_residual is parallel
        assert found.layer.holds_branch is not parallel


def test_a_part_of_a_head_lies_between_nothing_and_all() -> None:
    """A share of two rotates more than there is."""
    with pytest.raises(TsplannerError, match="must lie above 0 and be at most 1, not 2"):
        read_architecture(config_of("stablelm", partial_rotary_factor=2.0), name="s", source="c")


def test_starcoder2s_dropouts_are_active_as_published() -> None:
    """0.1 on both branches; its window holds in every layer."""
    found = read_model("starcoder2-3b").architecture
    assert found.layer.dropouts_per_layer == 2
    assert found.attention.sliding_layers == 30
