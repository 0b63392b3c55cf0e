"""Rules: each refuses what cannot run, by name, and lets the rest pass."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from memory_models.device import Device
from memory_models.settings import (
    Attention,
    DecoderKernels,
    Dtype,
    FinetuningType,
    Optimizer,
    Quantization,
    changed,
    from_flat,
)
from tests.support.rig import TURING
from tests.support.toy_request import EVERY_PACKAGE, HOPPER, request
from tsplanner.install import Extra, install_command
from tsplanner.planner.explain.sentences import refusal_sentence
from tsplanner.planner.request import Pins, PlanRequest
from tsplanner.planner.settings import HardwareSettings
from tsplanner.planner.space.candidates import candidates
from tsplanner.planner.space.rules import (
    RULES,
    asked_for,
    deciding,
    refusal,
    without_rows,
)

SLICE = replace(HOPPER, name="H200 MIG 3g.71gb", mig=True)
EXPERTS = ("q_proj", "gate_proj", "up_proj", "down_proj")
FLASH = Attention.FLASH_ATTENTION_2
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
        says="needs the package flash-attn, which a described machine has only if its machine file",
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


def asked(row: Row) -> tuple[PlanRequest, HardwareSettings]:
    """The request and the candidate of a row."""
    made = request(
        row.model,
        *row.devices,
        packages=row.packages,
        pins=row.pins,
        finetuning_type=row.method,
        lora_target=row.targets,
    )
    if row.eager_only:
        attention = replace(made.architecture.attention, eager_only=True)
        made = replace(made, architecture=replace(made.architecture, attention=attention))
    made = replace(made, model=replace(made.model, trust_remote_code=row.remote))
    if row.family is not None:
        made = replace(made, model=replace(made.model, model_type=row.family))
    made = replace(made, machine=replace(made.machine, detected=row.detected))
    return made, from_flat(HardwareSettings, **row.hardware)  # type: ignore[arg-type]


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row.rule)
def test_a_rule_refuses_by_its_name_with_a_reason(row: Row) -> None:
    """The first rule that says no is named, and says what is needed."""
    found = refusal(*asked(row))
    assert found is not None
    assert found.rule == row.rule
    assert row.says in refusal_sentence(found)


@pytest.mark.parametrize("row", PASSED, ids=lambda row: row.rule)
def test_a_rule_lets_pass_what_can_run(row: Row) -> None:
    """What the rule is not about, no rule refuses."""
    assert refusal(*asked(row)) is None


@pytest.mark.parametrize("row", [*REFUSED, *PASSED], ids=lambda row: row.rule)
def test_the_rows_of_a_pass_change_no_refusal(row: Row) -> None:
    """So the planner asks the rules once for all candidates that differ in them alone."""
    made, hardware = asked(row)
    other = changed(hardware, gradient_accumulation_steps=2 * 7)
    assert without_rows(other) == without_rows(hardware)
    one, two = refusal(made, hardware), refusal(made, other)
    assert (one and (one.rule, one.data)) == (two and (two.rule, two.data))


def test_every_rule_is_tested_both_ways() -> None:
    """A new rule comes with a row that it refuses and one that passes."""
    assert {row.rule for row in REFUSED} == {rule.name for rule in RULES}
    assert {row.rule for row in PASSED} == {rule.name for rule in RULES}


def test_what_closes_every_branch_is_decisive() -> None:
    """Half of the candidates are of no use by another rule, and all of them shard int8 weights."""
    made = request(
        "qwen2.5-0.5b",
        *[HOPPER] * 4,
        pins=Pins(quantization=Quantization.INT8, zero_stage=3),
    )
    assert [found.rule for found in deciding(made, candidates(made))] == ["quantized-sharding"]


def test_where_nothing_closes_every_branch_each_refusal_is_kept() -> None:
    """One half lacks one package, the other half another one."""
    made = request("qwen2.5-0.5b", HOPPER, packages=())
    branches = [
        from_flat(HardwareSettings, attention=FLASH),
        from_flat(HardwareSettings, quantization=Quantization.NF4),
    ]
    rules = [found.rule for found in deciding(made, branches)]
    assert rules == ["flash-attention-package", "bitsandbytes"]
    assert deciding(made, []) == ()


def test_a_person_reads_the_refusals_of_what_was_asked_for() -> None:
    """Nobody asked for 4 bits or FlashAttention; where nothing fits a missing package matters."""
    open_request = request("qwen2.5-0.5b", HOPPER, packages=())
    branches = [
        from_flat(HardwareSettings, attention=FLASH),
        from_flat(HardwareSettings, quantization=Quantization.NF4),
    ]
    refusals = deciding(open_request, branches)
    assert asked_for(open_request, refusals) == []
    packages = asked_for(open_request, refusals, packages=True)
    assert [found.rule for found in packages] == ["bitsandbytes"]
    pinned = replace(open_request, pins=Pins(attention=FLASH))
    assert [found.rule for found in asked_for(pinned, refusals)] == ["flash-attention-package"]
