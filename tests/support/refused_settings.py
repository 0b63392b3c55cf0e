"""Settings that a rule refuses, each with the rule and what it says."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from memory_models.device import Device
from memory_models.settings import (
    Attention,
    DecoderKernels,
    Dtype,
    FinetuningType,
    Optimizer,
    Quantization,
)
from tests.support.rig import TURING
from tests.support.toy_request import EVERY_PACKAGE, HOPPER
from tsplanner.install import Extra, install_command
from tsplanner.planner.request import Pins

SLICE = replace(HOPPER, name="H200 MIG 3g.71gb", mig=True)
EXPERTS = ("q_proj", "gate_proj", "up_proj", "down_proj")
FLASH = Attention.FLASH_ATTENTION_2
FLEX = Attention.FLEX_ATTENTION
FP16 = {"model_dtype": Dtype.FP16, "autocast": Dtype.FP16}


@dataclass(frozen=True, kw_only=True)
class Row:
    """Settings on a machine, and what is said of them."""

    rule: str
    model: str = "qwen2.5-0.5b"
    hardware: dict[str, object] = field(default_factory=dict)
    devices: tuple[Device, ...] = (HOPPER,)
    packages: tuple[str, ...] = EVERY_PACKAGE
    detected: bool = False
    """The machine is this one, and not one that somebody described."""
    remote: bool = False
    """The model brings its own code."""
    eager_only: bool = False
    """transformers runs no fused attention for the model."""
    family: str | None = None
    """Another model type than the model's own."""
    method: FinetuningType = FinetuningType.LORA
    targets: tuple[str, ...] = ("q_proj",)
    pins: Pins = field(default_factory=Pins)
    says: str = ""


STREAMED = {"streamed_layers": 4}
SHARED = {"world_size": 2, "fsdp": True}
PARTITIONED = {"world_size": 2, "zero_stage": 3, "quantization": Quantization.NF4}
REFUSED = [
    Row(rule="fsdp-setting", hardware={"fsdp": True}, says="(--fsdp on) with --world-size 1"),
    Row(rule="streamed-method", hardware=STREAMED, method=FinetuningType.FULL, says="full does"),
    Row(rule="streamed-vocabulary", hardware=STREAMED, targets=("lm_head",), says="of one rank"),
    Row(rule="streamed-setting", hardware={**STREAMED, "zero_stage": 3}, says="--zero-stage 3"),
    Row(rule="streamed-family", hardware=STREAMED, family="gemma3n", says="more than their"),
    Row(rule="streamed-number", hardware={"streamed_layers": 25}, says="the model has 24"),
    Row(rule="streamed-processes", hardware={"streamed_layers": (4, 5)}, says="4,5 names 2 GPUs"),
    Row(
        rule="eight-bit-capability",
        hardware={"quantization": Quantization.FP8},
        devices=(replace(HOPPER, name="A100", compute_capability=(8, 0)),),
        says="fp8 needs a GPU of compute capability 8.9, this one has 8.0",
    ),
    Row(
        rule="eight-bit-dtype",
        hardware={"quantization": Quantization.FP8, **FP16},
        says="fp8 multiplies rows of fp16 on no GPU: take --model-dtype bf16",
    ),
    Row(
        rule="eight-bit-family",
        hardware={"quantization": Quantization.W8A8},
        remote=True,
        says="has no formula, by which w8a8 is sized",
    ),
    Row(
        rule="layer-checkpoints",
        says="all of its layers or none",
        hardware={"checkpointed_layers": 2},
        remote=True,
    ),
    Row(
        rule="flash-attention-family",
        model="gemma-3-4b-it",
        hardware={"attention": FLASH},
        says="flash_attention_2 is refused by this model's class",
    ),
    Row(
        rule="eager-only",
        eager_only=True,
        says="transformers runs no sdpa attention for this family: take eager",
    ),
    Row(
        rule="attention-soft-cap",
        model="gemma-2-2b",
        says="sdpa cannot soft-cap attention's scores",
    ),
    Row(
        rule="devices",
        hardware={"world_size": 2},
        says="asked for: 2 GPUs; the machine has 1",
    ),
    Row(
        rule="bf16",
        devices=(TURING,),
        says="bf16 needs compute capability 8.0, the GPU has 7.5",
    ),
    Row(
        rule="bf16",
        hardware={"model_dtype": Dtype.FP16, "world_size": 2},
        devices=(HOPPER, TURING),
    ),
    Row(rule="bf16", hardware={"autocast": Dtype.FP16}, devices=(TURING,)),
    Row(
        rule="flash-attention-capability",
        hardware={"attention": FLASH, **FP16},
        devices=(TURING,),
        says="flash_attention_2 needs compute capability 8.0, the GPU has 7.5",
    ),
    Row(
        rule="flash-attention-capability",
        hardware={"attention": FLASH, "accelerator": "cpu"},
        devices=(),
        says="needs a GPU",
    ),
    Row(
        rule="flex-attention-capability",
        hardware={"attention": FLEX, **FP16},
        devices=(TURING,),
        says="flex_attention needs compute capability 8.0, the GPU has 7.5: take eager",
    ),
    Row(
        rule="flex-attention-capability",
        hardware={"attention": FLEX, "accelerator": "cpu"},
        devices=(),
        says="flex_attention needs a GPU",
    ),
    Row(
        rule="flex-attention-package",
        hardware={"attention": FLEX},
        packages=(),
        detected=True,
        says="flex_attention needs torch 2.6, Triton and a C compiler",
    ),
    Row(
        rule="flex-attention-family",
        model="gemma-3-4b-it",
        hardware={"attention": FLEX},
        says="flex_attention is not run for this family here",
    ),
    Row(
        rule="flex-attention-family",
        eager_only=True,
        hardware={"attention": FLEX},
        says="flex_attention is not run for this family here",
    ),
    Row(
        rule="compiled-capability",
        hardware={"decoder_kernels": DecoderKernels.COMPILED, **FP16},
        devices=(TURING,),
        says="compiled kernels need compute capability 8.0, the GPU has 7.5: take fused",
    ),
    Row(
        rule="compiled-capability",
        hardware={"decoder_kernels": DecoderKernels.COMPILED, "accelerator": "cpu"},
        devices=(),
        says="compiled kernels need a GPU",
    ),
    Row(
        rule="compiled-package",
        hardware={"decoder_kernels": DecoderKernels.COMPILED},
        packages=(),
        detected=True,
        says="compiled kernels need Triton and a C compiler, and one of both is missing",
    ),
    Row(
        rule="flash-attention-package",
        hardware={"attention": FLASH},
        packages=(),
        detected=True,
        says="needs the package flash-attn, which is not installed",
    ),
    Row(
        rule="bitsandbytes",
        hardware={"quantization": Quantization.NF4},
        packages=(),
        says=f"nf4 needs bitsandbytes: {install_command(Extra.QUANT)}",
    ),
    Row(
        rule="bitsandbytes",
        hardware={"optimizer": Optimizer.ADAMW_BNB_8BIT},
        packages=(),
        says="adamw_bnb_8bit needs bitsandbytes",
    ),
    Row(rule="deepspeed", hardware={"zero_stage": 2}, packages=(), says="ZeRO-2 needs DeepSpeed"),
    Row(
        rule="quantized-base",
        hardware={"quantization": Quantization.NF4},
        method=FinetuningType.FULL,
        says="a quantised base cannot be trained by full",
    ),
    Row(
        rule="quantized-base",
        hardware={"quantization": Quantization.INT8},
        method=FinetuningType.FREEZE,
    ),
    Row(
        rule="quantized-sharding",
        hardware={"quantization": Quantization.INT8, "zero_stage": 3, "world_size": 2},
        devices=(HOPPER, HOPPER),
        says="int8 weights are not sharded by this worker: take ZeRO-2, nf4 or plain bf16",
    ),
    Row(
        rule="packed-zero-3",
        hardware={**PARTITIONED, "offload_param": True},
        devices=(HOPPER, HOPPER),
        says="ZeRO-3 does not shard 4-bit weights with --offload-param on",
    ),
    Row(
        rule="packed-zero-3",
        hardware=PARTITIONED,
        method=FinetuningType.DORA,
        devices=(HOPPER, HOPPER),
        says="with --finetuning-type dora: leave that out, or take --fsdp on",
    ),
    Row(
        rule="sharded-experts",
        model="qwen3-30b-a3b",
        targets=EXPERTS,
        hardware={"zero_stage": 3, "world_size": 2},
        devices=(HOPPER, HOPPER),
        says="adapters on experts need the whole matrices, which ZeRO-3 shards",
    ),
    Row(
        rule="mig-slices",
        hardware={"world_size": 2},
        devices=(SLICE, SLICE),
        says="a process sees one MIG slice",
    ),
    Row(rule="mig-slices", hardware={"world_size": 2}, devices=(HOPPER, SLICE)),
    Row(rule="useless-sharding", hardware={"zero_stage": 2}, says="shares with nobody"),
    Row(
        rule="useless-offload",
        hardware={"zero_stage": 2, "world_size": 2, "offload_optimizer": True},
        devices=(HOPPER, HOPPER),
        says="optimizer offload saves almost nothing for an adapter",
    ),
    Row(
        rule="adalora-sharding",
        hardware={"zero_stage": 3, "world_size": 2},
        devices=(HOPPER, HOPPER),
        method=FinetuningType.ADALORA,
    ),
    Row(
        rule="packed-sharding",
        says="ZeRO-0",
        hardware={"token_budget": 4096, "zero_stage": 2, "world_size": 2},
        devices=(HOPPER, HOPPER),
    ),
    Row(
        rule="packed-attention",
        says="flash_attention_2",
        hardware={"token_budget": 4096, "attention": Attention.FLASH_ATTENTION_2},
    ),
    Row(rule="packed-family", says="qwen2", hardware={"token_budget": 4096}, remote=True),
    Row(
        rule="packed-capability",
        says="7.5",
        hardware={**FP16, "token_budget": 4096},
        devices=(TURING,),
    ),
]
