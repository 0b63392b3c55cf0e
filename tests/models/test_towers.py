"""Parameters of vision towers, counted from their configs."""

from __future__ import annotations

from typing import Any

import pytest

from memory_models.architecture import OutsideShape
from tests.support import tiny_vision
from tsplanner.errors import TsplannerError
from tsplanner.models.config import Config
from tsplanner.models.towers import TOWER_DEFAULTS, TOWERS, tower_shape


def counts(shape: OutsideShape) -> tuple[int, int]:
    """Elements of the linears' matrices, and of everything else."""
    matrices = sum(each.weight_count for each in shape.frozen_linears)
    biases = sum(each.bias_count for each in shape.frozen_linears)
    return matrices, biases + sum(t.copies * t.elements for t in shape.frozen_tensors)


def shape_of(kind: str, **changes: Any) -> OutsideShape:
    """The tower of a config that names only what differs from the defaults."""
    found = tower_shape(kind, Config(changes, "config.json: vision_config"))
    assert found is not None
    return found


def test_siglip_of_gemma_3_has_417_million_parameters() -> None:
    """27 layers of width 1,152 and MLP size 4,304 over 64 x 64 patches of 14 x 14 pixels."""
    shape = shape_of(
        "siglip_vision_model",
        hidden_size=1152,
        intermediate_size=4304,
        num_hidden_layers=27,
        image_size=896,
        patch_size=14,
        vision_use_head=False,
    )
    matrices = 27 * (4 * 1152**2 + 2 * 1152 * 4304)
    biases = 27 * (5 * 1152 + 4304)
    norms = 2 * 1152 * (2 * 27 + 1)
    patches, positions = 1152 * 3 * 14 * 14 + 1152, 4096 * 1152
    assert counts(shape) == (matrices, biases + norms + patches + positions)
    assert sum(counts(shape)) == 416_866_032


def test_pixtral_has_no_biases_and_no_learned_positions() -> None:
    """24 layers of width 1,024 and MLP size 4,096: three matrices of the MLP, four projections."""
    matrices, others = counts(shape_of("pixtral", patch_size=14))
    assert matrices == 24 * (4 * 1024**2 + 3 * 1024 * 4096)
    assert others == 1024 * 3 * 14 * 14 + (2 * 24 + 1) * 1024


def test_qwen3_vl_has_a_merger_more_for_every_inner_layer_that_is_read() -> None:
    """Four patches of 1,152 are merged: a norm of 4,608 and two linears each."""
    with_three, with_none = shape_of("qwen3_vl"), shape_of("qwen3_vl", deepstack_visual_indexes=[])
    more = [a - b for a, b in zip(counts(with_three), counts(with_none), strict=True)]
    assert more == [3 * (4608 * 4608 + 4608 * 3584), 3 * (4608 + 3584 + 2 * 4608)]


def test_a_pooling_head_is_refused_by_name() -> None:
    """No published wrapper runs one, and its parameters are not counted here."""
    with pytest.raises(TsplannerError, match="vision_use_head is true"):
        shape_of("siglip_vision_model")


def test_a_tower_without_a_reader_is_left_to_the_trace() -> None:
    """None is no error: the real model says how large it is."""
    assert tower_shape("mllama_vision_model", Config({}, "config.json")) is None


@pytest.mark.parametrize("kind", sorted(TOWERS))
def test_defaults_are_those_of_transformers(kind: str) -> None:
    """Every key that a config may leave out."""
    transformers = pytest.importorskip("transformers")
    whole = kind in tiny_vision.CONFIGS
    config = transformers.AutoConfig.for_model(kind)
    section = config.vision_config if whole else config
    found = {key: getattr(section, key) for key in TOWER_DEFAULTS[kind]}
    found = {key: list(each) if isinstance(each, tuple) else each for key, each in found.items()}
    assert found == TOWER_DEFAULTS[kind]
