"""Calls of the rivals that size by parameter count and a few factors."""

from __future__ import annotations

from benchmarks.rivals.calls.case import GIB, MIB, Case, Figures

FTUNEAI_OPTIMIZERS = {"adamw_bnb_8bit": "adam_8bit", "adafactor": "adafactor"}
ALLOC_OPTIMIZERS = {"adamw_bnb_8bit": "AdamW8bit", "adafactor": "Adafactor"}


def ftuneai(case: Case) -> Figures:
    """Shapes given as its own record, with the exact parameter count."""
    from ftuneai.core import models
    from ftuneai.core.memory import MemoryEstimator

    shape = case["shape"]
    spec = models.ModelSpec(
        name=case["name"],
        parameters=case["parameters"],
        hidden_size=shape["hidden_size"],
        num_layers=shape["num_hidden_layers"],
        num_attention_heads=shape["num_attention_heads"],
        num_kv_heads=shape["num_key_value_heads"],
        intermediate_size=shape["intermediate_size"],
        vocab_size=shape["vocab_size"],
        max_seq_length=max(case["positions"], case["sequence"]),
        default_dtype="float32" if case["precision"] in ("mixed", "fp32") else "bfloat16",
    )
    quantization = {"qlora": "4bit", "int8": "8bit"}.get(case["kind"], "none")
    target = {"query-value": "attention", "attention": "attention_all"}
    settings = models.TrainingConfig(
        method=models.FineTuneMethod({"int8": "lora"}.get(case["kind"], case["kind"])),
        quantization=models.Quantization(quantization),
        batch_size=case["batch"],
        seq_length=case["sequence"],
        gradient_checkpointing=case["checkpointing"],
        optimizer=models.OptimizerType(FTUNEAI_OPTIMIZERS.get(case["optimizer"], "adamw")),
        lora_rank=case["rank"],
        lora_target=models.LoRATarget(target.get(case["scope"], "all_linear")),
        flash_attention=case["attention"] != "eager",
        sharding=models.ShardingStrategy(case["sharding"]),
        num_gpus=case["ranks"],
    )
    found = MemoryEstimator(spec, settings).estimate()
    return (found.total_gb - found.overhead_gb) * GIB, found.total_gb * GIB


def llmcalculator(case: Case) -> Figures:
    """Its workloads are lora, qlora and full; the base's storage is a format of its own."""
    from llmcalculator import workloads
    from llmcalculator.estimate import estimate
    from llmcalculator.hardware.base import CPU, Accelerator, HardwareProfile
    from llmcalculator.models.spec import ModelSpec

    shape = case["shape"]
    card = Accelerator(name=case["gpu"], vendor="nvidia", memory_bytes=int(case["card_gib"] * GIB))
    cpu = CPU(name="cpu", cores=16, threads=16)
    found = estimate(
        ModelSpec(
            name=case["name"],
            params=case["parameters"],
            n_layers=shape["num_hidden_layers"],
            hidden_size=shape["hidden_size"],
            n_heads=shape["num_attention_heads"],
            n_kv_heads=shape["num_key_value_heads"],
            max_context=max(case["positions"], case["sequence"]),
            vocab_size=shape["vocab_size"],
            head_dim=shape["head_dim"],
        ),
        HardwareProfile(cpu=cpu, ram_bytes=128 * GIB, accelerators=[card]),
        workloads.get({"int8": "lora"}.get(case["kind"], case["kind"])),
        {"qlora": "nf4", "int8": "int8"}.get(case["kind"], "bf16"),
        case["sequence"],
        case["batch"],
        gradient_checkpointing=case["checkpointing"],
    ).breakdown
    return found.total - found.overhead, found.total


def memguard(case: Case) -> Figures:
    """LoRA on every layer; the number of targets a layer is all it knows of them."""
    from memory_guard.estimator import (
        FinetuneMethod,
        ModelSpec,
        TrainSpec,
        estimate_training_memory,
    )

    shape, kind = case["shape"], case["kind"]
    method = {"int8": "lora", "freeze": "full_frozen"}.get(kind, kind)
    wide = 32 if case["precision"] in ("mixed", "fp32") else 16
    found = estimate_training_memory(
        ModelSpec(
            params=case["parameters"],
            hidden_dim=shape["hidden_size"],
            num_heads=shape["num_attention_heads"],
            num_kv_heads=shape["num_key_value_heads"],
            num_layers=shape["num_hidden_layers"],
            intermediate_dim=shape["intermediate_size"],
            bits={"qlora": 4, "int8": 8}.get(kind, wide),
        ),
        TrainSpec(
            method=FinetuneMethod(method),
            batch_size=case["batch"],
            seq_length=case["sequence"],
            lora_rank=case["rank"],
            lora_layers=case["frozen"] if kind == "freeze" else shape["num_hidden_layers"],
            lora_targets=len(case["targets"]) or 1,
            optimizer="adafactor" if case["optimizer"] == "adafactor" else "adamw",
            grad_checkpoint=case["checkpointing"],
            mixed_precision=case["precision"] != "fp32",
            qlora_double_quant=case["double_quant"],
            flash_attention=case["attention"] != "eager",
        ),
    )
    return (found.total_mb - found.overhead_mb) * MIB, found.total_mb * MIB


def peft_doctor(case: Case) -> Figures:
    """Parameters, width and depth supplied; its parts are rounded to 0.01 GiB."""
    from peft_doctor.estimator import estimate_vram_gb

    report = estimate_vram_gb(
        case["name"],
        seq_len=case["sequence"],
        batch_size=case["batch"],
        qlora=case["kind"] == "qlora",
        lora=case["kind"] != "full",
        gradient_checkpointing=case["checkpointing"],
        params_billion=case["parameters"] / 1e9,
        hidden_size=case["shape"]["hidden_size"],
        num_layers=case["shape"]["num_hidden_layers"],
    )
    total = report.metadata["estimated_total_gb"]
    parts = next(item.details for item in report.issues if item.code == "estimate.total_vram")
    return (total - parts["overhead_gb"]) * GIB, total * GIB


def soup(case: Case) -> Figures:
    """The static predictor that its ``train`` command refuses a launch by."""
    from soup_cli.utils.hardware_fit import HardwareFitInput, estimate_peak_vram_gb

    found = estimate_peak_vram_gb(
        HardwareFitInput(
            params_b=case["parameters"] / 1e9,
            seq_len=case["sequence"],
            batch_size=case["batch"],
            optimizer=case["optimizer"],
            quant={"qlora": "4bit", "int8": "8bit"}.get(case["kind"], "none"),
            peft={"int8": "lora"}.get(case["kind"], case["kind"]),
            gradient_checkpointing=case["checkpointing"],
        )
    )
    return (found.total_gb - found.overhead_gb) * 1e9, found.total_gb * 1e9


def train_in_silence(case: Case) -> Figures:
    """Its total holds a fixed 2 GiB for the system."""
    from tis.planner.estimator import ResourceEstimator
    from tis.planner.models import ModelSpec, TrainingSpec, Workload

    shape = case["shape"]
    model = ModelSpec(
        name=case["name"],
        params=case["parameters"],
        num_layers=shape["num_hidden_layers"],
        num_heads=shape["num_attention_heads"],
        num_kv_heads=shape["num_key_value_heads"],
        hidden_dim=shape["hidden_size"],
        vocab_size=shape["vocab_size"],
    )
    training = TrainingSpec(
        method=case["kind"],
        precision="fp32" if case["precision"] == "fp32" else case["half"],
        batch_size=case["batch"],
        grad_accum=case["accumulation"],
        seq_len=case["sequence"],
    )
    found = ResourceEstimator().estimate(Workload(model=model, training=training))
    return (found.required_vram_gb - 2) * GIB, found.required_vram_gb * GIB


def alloc(case: Case) -> Figures:
    """Its scan without torch: parameters, width, batch and sequence."""
    from alloc.ghost import ghost

    found = ghost(
        param_count=case["parameters"],
        dtype="fp32" if case["precision"] == "fp32" else case["half"],
        batch_size=case["batch"],
        seq_length=case["sequence"],
        hidden_dim=case["shape"]["hidden_size"],
        optimizer_type=ALLOC_OPTIMIZERS.get(case["optimizer"], "AdamW"),
    )
    return (found.total_gb - found.buffer_gb) * GIB, found.total_gb * GIB
