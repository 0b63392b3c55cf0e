"""The encoder's kept bytes against what autograd really keeps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from memory_models.activations.encoder import encoder_bytes
from memory_models.rounding import block_bytes
from memory_models.settings import (
    DecoderKernels,
    Dtype,
    FinetuningType,
    TrainingSettings,
    from_flat,
)
from tsplanner.models.config import Config
from tsplanner.models.decoders import READERS
from tsplanner.training.chatts import ChatTSConfig, Qwen2TSForCausalLM
from tsplanner.training.kernels.fused_kernels import use_fused_kernels

PATCHES, HIDDEN = 512, 64
CONFIG: dict[str, Any] = {
    "model_type": "chatts",
    "hidden_size": HIDDEN,
    "intermediate_size": 96,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 40,
    "ts_token_start_index": 3,
    "ts_token_end_index": 4,
    "ts": {
        "patch_size": 8,
        "num_layers": 5,
        "hidden_size": HIDDEN,
        "embedding_dim": 16,
        "max_sequence_length": 4096,
        "use_position_embedding": True,
    },
}


def kept_by_autograd(model: nn.Module, *, autocast: bool) -> int:
    """Bytes of the distinct storages saved while the encoder runs; parameters left out."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    found: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own and tensor.is_floating_point():
            found[storage.data_ptr()] = storage
        return tensor

    series = torch.ones(1, PATCHES * 8 * 2, 1)
    context = torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast)
    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    encoder: Any = next(m for n, m in model.named_modules() if n.endswith("ts_encoder"))
    with context, hooks:
        encoder(series, next(model.parameters()).dtype)
    return sum(block_bytes(storage.nbytes()) for storage in found.values())


@pytest.mark.parametrize(
    ("method", "kernels", "dtype"),
    [
        (FinetuningType.LORA, DecoderKernels.REFERENCE, Dtype.BF16),
        (FinetuningType.LORA, DecoderKernels.FUSED, Dtype.BF16),
        (FinetuningType.FULL, DecoderKernels.REFERENCE, Dtype.BF16),
        (FinetuningType.FULL, DecoderKernels.REFERENCE, Dtype.FP32),
    ],
)
def test_what_the_encoder_keeps_is_what_the_formula_says(
    method: FinetuningType, kernels: DecoderKernels, dtype: Dtype
) -> None:
    """LoRA by both kernels, and full fine-tuning with half and whole weights, within 2 %."""
    torch.manual_seed(0)
    model: Any = Qwen2TSForCausalLM(ChatTSConfig(**CONFIG))
    model = model.to({Dtype.BF16: torch.bfloat16, Dtype.FP32: torch.float32}[dtype])
    if method is FinetuningType.LORA:
        names = [n for n, m in model.named_modules() if "ts_encoder.mlp" in n]
        linears = [n for n in names if isinstance(model.get_submodule(n), nn.Linear)]
        model = get_peft_model(model, LoraConfig(r=4, target_modules=linears))
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.data = parameter.data.float()
    if kernels is DecoderKernels.FUSED:
        use_fused_kernels(model)
    settings = from_flat(
        TrainingSettings,
        finetuning_type=method,
        lora_rank=4,
        model_dtype=dtype,
        autocast=Dtype.BF16,
        decoder_kernels=kernels,
        sequence_length=PATCHES + 8,
        series_patches=PATCHES,
    )
    architecture = READERS["chatts"]("x", Config(CONFIG, "config.json"))
    assert encoder_bytes(architecture, settings) == pytest.approx(
        kept_by_autograd(model, autocast=True), rel=0.02
    )
