"""Parameters of vision towers and of the projectors behind them, counted from their configs.

Rows of text do not run through them, so only their parameters count: the linears, which
bitsandbytes quantises, and all other tensors. Notation: D width of the tower, F its MLP size, L its
layers, P side of a patch, H width of the language model. Source: transformers' modeling code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from memory_models.architecture import Linear, OutsideShape, Role, Tensors
from tsplanner.models.config import Config
from tsplanner.models.defaults import with_defaults

Tower = Callable[[Config], OutsideShape]

TOWER_DEFAULTS: Mapping[str, Mapping[str, object]] = {
    "siglip_vision_model": {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_channels": 3,
        "image_size": 224,
        "patch_size": 16,
        "vision_use_head": True,
    },
    "clip_vision_model": {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_channels": 3,
        "image_size": 224,
        "patch_size": 32,
    },
    "pixtral": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_channels": 3,
        "patch_size": 16,
    },
    "qwen2_vl": {
        "depth": 32,
        "embed_dim": 1280,
        "hidden_size": 3584,
        "mlp_ratio": 4,
        "in_channels": 3,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    },
    "qwen2_5_vl": {
        "depth": 32,
        "hidden_size": 3584,
        "intermediate_size": 3420,
        "in_channels": 3,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "out_hidden_size": 3584,
    },
    "qwen3_vl": {
        "depth": 27,
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "in_channels": 3,
        "patch_size": 16,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "out_hidden_size": 3584,
        "num_position_embeddings": 2304,
        "deepstack_visual_indexes": [8, 16, 24],
    },
}
"""By type of the tower, what a config leaves out. Source: transformers' configuration classes."""


def linear(columns: int, rows: int, count: int = 1, *, bias: bool = True) -> Linear:
    """``count`` linears [rows, columns] of the whole model."""
    return Linear(
        name="",
        role=Role.OTHER,
        in_features=columns,
        out_features=rows,
        bias=bias,
        count=count,
    )


def tensor(elements: int, copies: int = 1) -> Tensors:
    """``copies`` tensors of so many elements."""
    return Tensors(columns=elements, copies=copies)


def joined(*parts: OutsideShape) -> OutsideShape:
    """All parts together, which no method trains."""
    return OutsideShape(
        frozen_linears=tuple(each for part in parts for each in part.frozen_linears),
        frozen_tensors=tuple(each for part in parts for each in part.frozen_tensors),
    )


def _transformer(width: int, middle: int, layers: int) -> OutsideShape:
    """Layers with four projections, an MLP of two linears and two LayerNorms, all with biases."""
    return OutsideShape(
        frozen_linears=(
            linear(width, width, 4 * layers),
            linear(width, middle, layers),
            linear(middle, width, layers),
        ),
        frozen_tensors=(tensor(width, 4 * layers),),
    )


def _of_square_images(config: Config, *, kept: int, bias: bool, norms: int) -> OutsideShape:
    """A tower over the patches of a square image, with a position embedding of each.

    ``kept``: positions that are no patches, each with an embedding; ``bias``: of the patches'
    convolution; ``norms``: LayerNorms around the layers.
    """
    width, patch = config.positive("hidden_size"), config.positive("patch_size")
    positions = (config.positive("image_size") // patch) ** 2 + kept
    layers = _transformer(
        width, config.positive("intermediate_size"), config.positive("num_hidden_layers")
    )
    around = (
        tensor(width * config.positive("num_channels") * patch**2),
        tensor(width * positions),
        tensor(width, 2 * norms + kept + bias),
    )
    return joined(layers, OutsideShape(frozen_tensors=around))


def siglip(config: Config) -> OutsideShape:
    """SigLIP (Gemma 3): no class token. With a head, none of its parameters are counted here.

    Raises:
        TsplannerError: the tower has a pooling head, which no published wrapper runs.
    """
    if config.flag("vision_use_head", default=True):
        raise config.unread("vision_use_head", "is true: it adds a pooling head")
    return _of_square_images(config, kept=0, bias=True, norms=1)


def clip(config: Config) -> OutsideShape:
    """CLIP (LLaVA): a class token, and norms before and after the layers."""
    return _of_square_images(config, kept=1, bias=False, norms=2)


def pixtral(config: Config) -> OutsideShape:
    """Pixtral (Mistral 3): gated MLPs, RMSNorms, rotary positions, no biases."""
    width, middle = config.positive("hidden_size"), config.positive("intermediate_size")
    layers, patch = config.positive("num_hidden_layers"), config.positive("patch_size")
    return OutsideShape(
        frozen_linears=(
            linear(width, width, 4 * layers, bias=False),
            linear(width, middle, 2 * layers, bias=False),
            linear(middle, width, layers, bias=False),
        ),
        frozen_tensors=(
            tensor(width * config.positive("num_channels") * patch**2),
            tensor(width, 2 * layers + 1),
        ),
    )


def _cube(config: Config, width: int) -> int:
    """Elements of the convolution over a patch of some frames."""
    pixels = config.positive("patch_size") ** 2 * config.positive("temporal_patch_size")
    return width * config.positive("in_channels") * pixels


def _merged(config: Config, width: int) -> int:
    """Width of the patches that are merged to one position of the language model."""
    return int(width * config.positive("spatial_merge_size") ** 2)


def qwen2_vl(config: Config) -> OutsideShape:
    """Qwen2-VL: fused q, k, v, LayerNorms, and a merger of two linears."""
    width, layers = config.positive("embed_dim"), config.positive("depth")
    middle, wide = width * config.positive("mlp_ratio"), _merged(config, width)
    return OutsideShape(
        frozen_linears=(
            linear(width, 3 * width, layers),
            linear(width, width, layers),
            linear(width, middle, layers),
            linear(middle, width, layers),
            linear(wide, wide),
            linear(wide, config.positive("hidden_size")),
        ),
        frozen_tensors=(tensor(_cube(config, width)), tensor(width, 4 * layers + 2)),
    )


def qwen2_5_vl(config: Config) -> OutsideShape:
    """Qwen2.5-VL: as Qwen2-VL with gated MLPs and RMSNorms."""
    width, layers = config.positive("hidden_size"), config.positive("depth")
    middle, wide = config.positive("intermediate_size"), _merged(config, width)
    return OutsideShape(
        frozen_linears=(
            linear(width, 3 * width, layers),
            linear(width, width, layers),
            linear(width, middle, 2 * layers),
            linear(middle, width, layers),
            linear(wide, wide),
            linear(wide, config.positive("out_hidden_size")),
        ),
        frozen_tensors=(tensor(_cube(config, width)), tensor(width, 2 * layers + 1)),
    )


def qwen3_vl(config: Config) -> OutsideShape:
    """Qwen3-VL: learned positions, and further mergers for layers inside the tower."""
    width, layers = config.positive("hidden_size"), config.positive("depth")
    middle, wide = config.positive("intermediate_size"), _merged(config, width)
    deep = config.optional("deepstack_visual_indexes")
    inner = len(deep) if isinstance(deep, list) else 0
    return OutsideShape(
        frozen_linears=(
            linear(width, 3 * width, layers),
            linear(width, width, layers),
            linear(width, middle, layers),
            linear(middle, width, layers),
            linear(wide, wide, 1 + inner),
            linear(wide, config.positive("out_hidden_size"), 1 + inner),
        ),
        frozen_tensors=(
            tensor(_cube(config, width)),
            tensor(width * config.positive("num_position_embeddings")),
            # The convolution has a bias; the inner mergers' norms have the merged width.
            tensor(width, 4 * layers + 3),
            *((tensor(wide, 2 * inner),) if inner else ()),
        ),
    )


TOWERS: Mapping[str, Tower] = {
    "siglip_vision_model": siglip,
    "clip_vision_model": clip,
    "pixtral": pixtral,
    "qwen2_vl": qwen2_vl,
    "qwen2_5_vl": qwen2_5_vl,
    "qwen3_vl": qwen3_vl,
}


def tower_shape(kind: str, config: Config) -> OutsideShape | None:
    """Parameters of the tower of a ``vision_config``; None: no reader knows its type.

    Raises:
        TsplannerError: the shapes are impossible.
    """
    reader = TOWERS.get(kind)
    if reader is None:
        return None
    return reader(Config(with_defaults(TOWER_DEFAULTS[kind], config.values), config.source))
