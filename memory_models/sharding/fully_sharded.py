"""A frozen base that FSDP2 shares out: slices that stay, and layers that are gathered in turn.

Every frozen weight of a decoder layer is cut along its first dimension, one slice per process; so
are embedding and lm_head where they are frozen and share no weight. These two are not gathered:
hidden states travel to the slices. The plain loss alone, which makes all logits, gathers the head.
The constants of 4-bit matrices, the last norm and all adapters stay whole. The processes that share
one copy are those of the run, or with ``fsdp_per_host`` those of one machine.

A model that is trained whole is in slices whole: embedding and lm_head belong to the root, which
is gathered in forward and in backward, and gradients and states are in slices. So does accelerate
wrap a model with adapters (``fsdp_whole_model``); its version 1.15 gives the tables units of their
own, which holds less; what is counted is what 1.11 and 1.13 hold.
Source: torch distributed/fsdp/_fully_shard (_fsdp_param.py, _fsdp_collectives.py,
_fsdp_param_group.py); tsplanner/training/fully_sharded; accelerate utils/fsdp_utils.py
(``fsdp2_prepare_model``).
Ignores: the padding of a first dimension that the number of processes does not divide.
"""

from __future__ import annotations

from collections.abc import Iterator

from memory_models.architecture import Architecture
from memory_models.rounding import block_bytes
from memory_models.settings import EMBEDDING, HEAD, LossKernel, StateSettings
from memory_models.sharding.all_gather import GatheredPeaks
from memory_models.states.storage import BYTES
from memory_models.states.weights import embedding_parameters, layer_tensors, packed_bytes
from memory_models.units import ceil_div

COPIES = 2
"""Of a gathered layer: its weights, and the buffer of the all-gather. While a layer works, the
buffer is that of the layer that comes next."""


def sliced_tensors(
    architecture: Architecture, settings: StateSettings
) -> Iterator[tuple[int, int]]:
    """Whole bytes of every frozen parameter of the decoder layers, and how many layers have it."""
    yield from layer_tensors(
        architecture, settings, lambda linear, form: (packed_bytes(linear, form),)
    )


def wraps_all(settings: StateSettings) -> bool:
    """Whether everything is in slices, what is trained as well, and a root is gathered."""
    whole = settings.sharding.fsdp_whole_model or settings.method.trains_everything
    return settings.sharding.shards_base and whole


def head_bytes(architecture: Architecture, settings: StateSettings) -> int:
    """Whole bytes of the head, if it is sliced."""
    return _table_bytes(architecture, settings, HEAD)


def gathered_head_bytes(architecture: Architecture, settings: StateSettings) -> int:
    """Whole bytes of the head, if it is gathered around the loss."""
    if settings.loss_kernel is LossKernel.FUSED or wraps_all(settings):
        return 0
    return head_bytes(architecture, settings)


def root_bytes(architecture: Architecture, settings: StateSettings) -> int:
    """Whole bytes of embedding and lm_head, if they are gathered for the whole step."""
    if not wraps_all(settings):
        return 0
    tables = 1 if architecture.vocabulary.tie_word_embeddings else 2
    return tables * embedding_parameters(architecture) * BYTES[settings.base.model_dtype]


def own_part(settings: StateSettings, size: int) -> int:
    """Bytes of what is trained, of its gradients or states that one process holds."""
    return ceil_div(size, settings.sharding.slices) if wraps_all(settings) else size


def _table_bytes(architecture: Architecture, settings: StateSettings, name: str) -> int:
    trained = name in settings.method.modules_to_save or settings.method.adapts(name)
    if architecture.vocabulary.tie_word_embeddings or trained:
        return 0
    return embedding_parameters(architecture) * BYTES[settings.base.model_dtype]


def other_slices_bytes(architecture: Architecture, settings: StateSettings) -> int:
    """Bytes of the frozen base that are on the other processes of the run; 0 without FSDP2."""
    if not settings.sharding.shards_base:
        return 0
    tables = [(_table_bytes(architecture, settings, name), 1) for name in (EMBEDDING, HEAD)]
    if wraps_all(settings):
        tables = [(root_bytes(architecture, settings), 1)]
    processes = settings.sharding.slices
    return sum(
        copies * (block_bytes(size) - block_bytes(ceil_div(size, processes)))
        for size, copies in (*sliced_tensors(architecture, settings), *tables)
    )


def layers_bytes(architecture: Architecture, settings: StateSettings) -> int:
    """Bytes of the frozen weights of all layers."""
    return sum(copies * size for size, copies in sliced_tensors(architecture, settings))


def gathered_bytes(architecture: Architecture, settings: StateSettings) -> int:
    """Bytes of all weights that a pass gathers, once forward and once backward."""
    tables = gathered_head_bytes(architecture, settings) + root_bytes(architecture, settings)
    return layers_bytes(architecture, settings) + tables


def gathered_layers(architecture: Architecture, settings: StateSettings) -> GatheredPeaks:
    """Bytes of gathered weights in each phase of a step; zero without FSDP2.

    While a layer works its weights are whole, and the next layer is on its way. Just before, in
    forward, a layer's weights, its buffer and the buffer of the layer before it are there. A head
    that is gathered is whole around its product, and neither in the loss nor while a layer works.
    The root of a whole model is there all the time, and its buffer until the first layer works.
    """
    if not settings.sharding.shards_base:
        return GatheredPeaks()
    one = ceil_div(layers_bytes(architecture, settings), architecture.num_hidden_layers)
    root = root_bytes(architecture, settings)
    return GatheredPeaks(
        forward=COPIES * one + root,
        loss=root,
        last=COPIES * one + root,
        first=COPIES * one + root,
        end=root,
        entering=one,
        starting=COPIES * (one + root) if root else 0,
        head=COPIES * gathered_head_bytes(architecture, settings),
    )
