"""Settings that look like refused ones, and that every rule lets pass."""

from __future__ import annotations

from memory_models.settings import (
    Attention,
    DecoderKernels,
    FinetuningType,
    Quantization,
)
from tests.support.refused_settings import (
    EXPERTS,
    FLASH,
    FLEX,
    FP16,
    PARTITIONED,
    SHARED,
    SLICE,
    STREAMED,
    Row,
)
from tests.support.rig import TURING
from tests.support.toy_request import HOPPER
from tsplanner.planner.request import Pins

PASSED = [
    Row(rule="fsdp-setting", hardware=SHARED, devices=(HOPPER, HOPPER)),
    *[
        Row(rule=f"streamed-{what}", hardware=STREAMED)
        for what in ("method", "vocabulary", "setting", "family", "number")
    ],
    Row(
        rule="streamed-processes",
        hardware={"streamed_layers": (4, 5), "world_size": 2},
        devices=(HOPPER, HOPPER),
    ),
    Row(rule="eight-bit-capability", hardware={"quantization": Quantization.FP8}),
    Row(
        rule="eight-bit-capability",
        hardware={"quantization": Quantization.W8A8, **FP16},
        devices=(TURING,),
    ),
    Row(
        rule="eight-bit-capability",
        hardware={"quantization": Quantization.FP8, "accelerator": "cpu"},
        devices=(),
    ),
    Row(rule="eight-bit-dtype", hardware={"quantization": Quantization.W8A8, **FP16}),
    Row(rule="eight-bit-family", hardware={"quantization": Quantization.W8A8}),
    Row(rule="eight-bit-family", remote=True),
    Row(rule="layer-checkpoints", hardware={"checkpointed_layers": 2}),
    Row(rule="layer-checkpoints", remote=True),
    Row(
        rule="attention-soft-cap",
        model="gemma-2-2b",
        hardware={"attention": Attention.EAGER},
    ),
    Row(rule="attention-soft-cap"),
    Row(rule="flash-attention-family", model="gemma-3-4b-it"),
    Row(rule="flash-attention-family", model="gemma-3-4b", hardware={"attention": FLASH}),
    Row(rule="devices", hardware={"world_size": 2}, devices=(HOPPER, HOPPER)),
    Row(rule="devices", hardware={"accelerator": "cpu"}, devices=()),
    Row(rule="bf16"),
    Row(rule="bf16", hardware=FP16, devices=(TURING,)),
    Row(rule="bf16", hardware={"accelerator": "cpu"}, devices=()),
    Row(rule="flash-attention-capability", hardware={"attention": FLASH}),
    Row(rule="flash-attention-package", hardware={"attention": Attention.SDPA}, packages=()),
    Row(rule="flex-attention-capability", hardware={"attention": FLEX}),
    Row(rule="flex-attention-family", model="gemma-2-2b", hardware={"attention": FLEX}),
    Row(rule="flex-attention-package", packages=()),
    Row(rule="bitsandbytes", hardware={"quantization": Quantization.NF4}),
    Row(rule="bitsandbytes", packages=()),
    Row(rule="deepspeed", hardware={"world_size": 2}, devices=(HOPPER, HOPPER), packages=()),
    Row(rule="quantized-base", method=FinetuningType.FULL),
    Row(rule="quantized-base", hardware={"quantization": Quantization.INT8}),
    Row(
        rule="quantized-sharding",
        hardware={"quantization": Quantization.INT8, "zero_stage": 2, "world_size": 2},
        devices=(HOPPER, HOPPER),
    ),
    Row(rule="packed-zero-3", hardware=PARTITIONED, devices=(HOPPER, HOPPER)),
    Row(
        rule="useless-sharding",
        hardware={"zero_stage": 2, "offload_optimizer": True},
        method=FinetuningType.FULL,
    ),
    Row(
        rule="useless-offload",
        hardware={"zero_stage": 2, "world_size": 2, "offload_optimizer": True},
        devices=(HOPPER, HOPPER),
        method=FinetuningType.FULL,
    ),
    Row(
        rule="useless-offload",
        hardware={"zero_stage": 2, "offload_optimizer": True},
        pins=Pins(zero_stage=2, offload_optimizer=True),
    ),
    Row(
        rule="sharded-experts",
        model="qwen3-30b-a3b",
        targets=EXPERTS,
        hardware={"zero_stage": 2, "world_size": 2},
        devices=(HOPPER, HOPPER),
    ),
    Row(
        rule="sharded-experts",
        model="qwen3-30b-a3b",
        hardware={"zero_stage": 3, "world_size": 2},
        devices=(HOPPER, HOPPER),
    ),
    Row(rule="eager-only", hardware={"attention": Attention.EAGER}, eager_only=True),
    Row(rule="mig-slices", devices=(SLICE, SLICE)),
    Row(rule="useless-sharding", hardware={"zero_stage": 2}, pins=Pins(zero_stage=2)),
    Row(
        rule="adalora-sharding",
        hardware={"zero_stage": 2, "world_size": 2},
        devices=(HOPPER, HOPPER),
        method=FinetuningType.ADALORA,
    ),
    Row(
        rule="packed-sharding",
        hardware={"token_budget": 4096, "world_size": 2},
        devices=(HOPPER, HOPPER),
    ),
    Row(rule="packed-attention", hardware={"token_budget": 4096, "attention": Attention.SDPA}),
    Row(
        rule="compiled-capability",
        hardware={"decoder_kernels": DecoderKernels.FUSED, **FP16},
        devices=(TURING,),
    ),
    Row(
        rule="compiled-package", hardware={"decoder_kernels": DecoderKernels.COMPILED}, packages=()
    ),
    Row(rule="packed-family", hardware={"token_budget": 4096}),
    Row(rule="packed-capability", hardware={"token_budget": 4096}),
    Row(rule="packed-capability", hardware=FP16, devices=(TURING,)),
]
