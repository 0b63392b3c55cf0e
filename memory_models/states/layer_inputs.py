"""Activations outside the programs of layers and lm_head, in bytes of one process.

Notation: B micro batch, S tokens, n = B x S, D hidden, F MLP, H query heads, A head size.
"""

from __future__ import annotations

from memory_models.architecture import Activation, Architecture, Linear, Role
from memory_models.settings import Dtype, Quantization, StateSettings, TrainingSettings
from memory_models.states.precision import precision

READS_STREAM = frozenset({Role.QUERY, Role.KEY, Role.VALUE, Role.QKV})
READS_MLP_INPUT = frozenset({Role.GATE, Role.UP, Role.GATE_UP})


def boundary_bytes(architecture: Architecture, settings: TrainingSettings) -> int:
    """Bytes of one layer's input [B, S, D] in the stream's dtype: one checkpoint."""
    return settings.tokens * architecture.hidden_size * precision(settings.arithmetic).residual


def int8_input_bytes(architecture: Architecture, settings: TrainingSettings) -> int:
    """Bytes of the inputs that the int8 linears of one layer hold, checkpointed or not.

    bitsandbytes keeps the inputs as attributes of the product, so checkpointing does not free them:
    the outputs of the norms [n, D] in the stream's dtype, the output of attention [n, HA], and the
    product in the MLP [n, F].
    Source: bitsandbytes autograd/_functions.py (MatMul8bitLt, ``ctx.tensors``).
    """
    # A recorded layer's tape holds these tensors already.
    if settings.base.quantization is not Quantization.INT8 or architecture.layer.recorded:
        return 0
    flow = precision(settings.arithmetic)
    widths = {"attention": flow.residual, "mlp": flow.residual, Role.OUTPUT.value: flow.operand}
    # Linears that read one tensor hold it together, so it counts once per group.
    groups = {_input_group(linear): linear.in_features for linear in architecture.layer.linears}
    held = sum(width * widths.get(group, flow.projected) for group, width in groups.items())
    return settings.tokens * held


def int8_kept_bytes(architecture: Architecture, settings: TrainingSettings) -> int:
    """Bytes of those inputs beside what a layer without a checkpoint keeps.

    ReLU keeps its own result, which is the input of the product after it.
    """
    held = int8_input_bytes(architecture, settings)
    if not held or architecture.mlp.activation is not Activation.RELU:
        return held
    after = sum([one.in_features for one in architecture.layer.linears if one.role is Role.DOWN])
    return held - settings.tokens * after * precision(settings.arithmetic).projected


def int8_streamed_bytes(architecture: Architecture, settings: TrainingSettings) -> int:
    """Bytes of those inputs that a streamed layer's own kernels would not keep in its backward.

    A streamed layer runs again right before its backward, so adapters hold most of the inputs as
    well. Fused kernels make the outputs of the norms anew and hold none.
    """
    if not settings.kernels.decoder_kernels.is_ours:
        return 0
    held = int8_input_bytes(architecture, settings)
    groups = {_input_group(linear) for linear in architecture.layer.linears}
    norms = len(groups & {"attention", "mlp"}) * architecture.hidden_size
    return min(held, settings.tokens * norms * precision(settings.arithmetic).residual)


def _input_group(linear: Linear) -> str:
    """The name of the tensor that the linear reads; linears of one group share it."""
    if linear.role in READS_STREAM:
        return "attention"
    if linear.role in READS_MLP_INPUT:
        return "mlp"
    return linear.role.value


def autocast_cache_bytes(trained_elements: int, settings: StateSettings) -> int:
    """Bytes of the half-precision casts of trained fp32 weights, which forward caches.

    Source: torch autocast caches casts of leaf weights that require a gradient.
    """
    if settings.method.adapter_ranks:
        return 0  # multi-LoRA adapters cast their matrices themselves, linear by linear
    fp32 = settings.method.uses_adapter or settings.base.model_dtype is Dtype.FP32
    return 2 * trained_elements if settings.base.autocast is not None and fp32 else 0
