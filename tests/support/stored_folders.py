"""Tiny models whose weights are stored quantised, as published folders are.

bitsandbytes folders are written by transformers itself. FP8 and MXFP4 folders are written tensor by
tensor in the published layout, for transformers makes them on a GPU alone. Of GPTQ, AWQ and
compressed-tensors only the layout is there: our worker refuses them before it reads a tensor.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

QWEN: dict[str, Any] = {
    "model_type": "qwen2",
    "architectures": ["Qwen2ForCausalLM"],
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 128,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
GPT_OSS: dict[str, Any] = {
    "model_type": "gpt_oss",
    "architectures": ["GptOssForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "vocab_size": 128,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
MXFP4: dict[str, Any] = {
    "quant_method": "mxfp4",
    "modules_to_not_convert": [
        "model.layers.*.self_attn",
        "model.layers.*.mlp.router",
        "model.embed_tokens",
        "lm_head",
    ],
}
FP8: dict[str, Any] = {
    "quant_method": "fp8",
    "activation_scheme": "dynamic",
    "fmt": "e4m3",
    "weight_block_size": [64, 64],
}
REFUSED: dict[str, dict[str, Any]] = {
    "gptq": {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True},
    "awq": {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm"},
    "compressed-tensors": {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": {"num_bits": 4, "type": "int", "group_size": 128},
            }
        },
        "ignore": ["lm_head"],
    },
    "hqq": {"quant_method": "hqq", "quant_config": {"weight_quant_params": {"nbits": 4}}},
    "torchao": {"quant_method": "torchao", "quant_type": {"default": {}}},
}
"""``quantization_config`` as published, of methods that our worker does not train on."""


def plain_folder(folder: Path, config: dict[str, Any] | None = None) -> Path:
    """A model of random weights in bf16, as ``save_pretrained`` writes it."""
    from transformers import AutoConfig, AutoModelForCausalLM

    values = QWEN if config is None else config
    keys = {key: value for key, value in values.items() if key != "model_type"}
    torch.manual_seed(0)
    found = AutoConfig.for_model(values["model_type"], **keys)
    model = AutoModelForCausalLM.from_config(found, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    return folder


def bitsandbytes_folder(folder: Path, **settings: Any) -> Path:
    """A model that transformers quantised while loading, and saved as it then was."""
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    plain = plain_folder(folder.with_name(f"{folder.name}-plain"))
    model = AutoModelForCausalLM.from_pretrained(
        plain,
        quantization_config=BitsAndBytesConfig(**settings),
        dtype=torch.bfloat16,
        device_map={"": "cpu"},
    )
    model.save_pretrained(folder)
    return folder


def fp8_folder(folder: Path) -> Path:
    """DeepSeek's and Qwen's layout: matrices in e4m3, and an fp32 scale per block of 64 x 64."""
    plain_folder(folder)
    found: dict[str, Tensor] = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        if not name.endswith("_proj.weight"):
            found[name] = tensor
            continue
        rows, columns = tensor.shape
        blocks = tensor.float().reshape(rows // 64, 64, columns // 64, 64)
        scales = blocks.abs().amax(dim=(1, 3)) / 448
        packed = (blocks / scales[:, None, :, None]).reshape(rows, columns)
        found[name] = packed.to(torch.float8_e4m3fn)
        found[f"{name}_scale_inv"] = scales
    return _stored(folder, found, FP8)


def mxfp4_folder(folder: Path) -> Path:
    """gpt-oss's layout: experts as blocks of 16 bytes (32 values) and a byte of scale each."""
    plain_folder(folder, GPT_OSS)
    found: dict[str, Tensor] = {}
    dice = torch.Generator().manual_seed(0)
    for name, tensor in load_file(folder / "model.safetensors").items():
        if not name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            found[name] = tensor
            continue
        # The file holds [experts, out, in / 32, 16]; transformers' parameter is [experts, in, out].
        experts, inner, outer = tensor.shape
        shape = (experts, outer, inner // 32)
        found[f"{name}_blocks"] = torch.randint(
            0, 256, (*shape, 16), dtype=torch.uint8, generator=dice
        )
        found[f"{name}_scales"] = torch.full(shape, 121, dtype=torch.uint8)  # 2 ** -6
    return _stored(folder, found, MXFP4)


def _stored(folder: Path, tensors: dict[str, Tensor], quantization: dict[str, Any]) -> Path:
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return with_quantization(folder, quantization)


def with_quantization(folder: Path, quantization: dict[str, Any]) -> Path:
    """The folder with such a section in its config.json."""
    path = folder / "config.json"
    values = json.loads(path.read_text()) | {"quantization_config": quantization}
    path.write_text(json.dumps(values))
    return folder
