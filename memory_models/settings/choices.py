"""The closed choices that training settings are made of."""

from __future__ import annotations

from enum import StrEnum

ALL_LINEAR = "all-linear"
"""Value of ``lora_target``: every linear of the decoder takes an adapter."""


EMBEDDING = "embed_tokens"
HEAD = "lm_head"
"""Names of embedding and output head in settings, whatever a family calls its modules."""


class FinetuningType(StrEnum):
    """Which weights are trained; QLoRA is ``lora`` on a base with ``quantization``."""

    LORA = "lora"
    DORA = "dora"
    RSLORA = "rslora"
    ADALORA = "adalora"
    FULL = "full"
    FREEZE = "freeze"

    @property
    def uses_adapter(self) -> bool:
        """Whether the base is frozen and an adapter is trained."""
        return self not in (FinetuningType.FULL, FinetuningType.FREEZE)


class Dtype(StrEnum):
    """The dtype of a tensor."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


class Quantization(StrEnum):
    """The storage of the matrices of a frozen base: of bitsandbytes, or our own 8 bits."""

    INT8 = "int8"
    """LLM.int8 of bitsandbytes, which multiplies backward in half precision."""
    NF4 = "nf4"
    NF4_DQ = "nf4-dq"
    """NF4 with quantised scales (double quantisation)."""
    FP8 = "fp8"
    """e4m3 with a scale per output row; both products of the decoder's linears are in 8 bits."""
    W8A8 = "w8a8"
    """The same in int8: weights and activations of 8 bits."""

    @property
    def multiplies(self) -> bool:
        """Whether the decoder's linears multiply in 8 bits, forward and backward."""
        return self in (Quantization.FP8, Quantization.W8A8)


class Attention(StrEnum):
    """The attention kernel, by transformers' names."""

    EAGER = "eager"
    SDPA = "sdpa"
    FLEX_ATTENTION = "flex_attention"
    FLASH_ATTENTION_2 = "flash_attention_2"


class LossKernel(StrEnum):
    """``plain`` keeps all logits; the others compute lm_head and loss in chunks of rows."""

    PLAIN = "plain"
    FUSED = "fused"
    """Our worker's own."""
    LIGER = "liger"
    """Liger's, which other trainers run; our worker has none."""

    @property
    def in_chunks(self) -> bool:
        """Whether the logits never exist whole."""
        return self is not LossKernel.PLAIN


class Optimizer(StrEnum):
    """The optimizer, by Hugging Face's ``optim`` names."""

    ADAMW_TORCH = "adamw_torch"
    ADAMW_TORCH_FUSED = "adamw_torch_fused"
    ADAMW_BNB_8BIT = "adamw_bnb_8bit"
    PAGED_ADAMW_8BIT = "paged_adamw_8bit"
    PAGED_ADAMW_32BIT = "paged_adamw_32bit"
    ADAFACTOR = "adafactor"
    SGD = "sgd"


class DecoderKernels(StrEnum):
    """The kernels of the norms, gated products and adapters of a decoder layer."""

    REFERENCE = "reference"
    """The kernels of transformers and PEFT."""
    FUSED = "fused"
    """Our worker's kernels in plain PyTorch: fewer launches and fewer kept tensors."""
    COMPILED = "compiled"
    """Our worker's kernels, those that Triton compiles among them."""
    LIGER = "liger"
    """Liger's patch as Trainer's ``use_liger_kernel`` applies it; our worker has none."""

    @property
    def is_ours(self) -> bool:
        """Whether they are kernels of our worker."""
        return self in (DecoderKernels.FUSED, DecoderKernels.COMPILED)

    @classmethod
    def _missing_(cls, value: object) -> DecoderKernels | None:
        """Version 0.1 wrote ``lean`` for the fused kernels."""
        return cls.FUSED if value == "lean" else None
