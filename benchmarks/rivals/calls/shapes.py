"""Calls of the rivals that build an estimate from a model's shapes or its config.json."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

from benchmarks.rivals.calls.case import GIB, MIB, Case, Figures, RefusedError

FITCHECK_OPTIMIZERS = {"adamw_bnb_8bit": "adam8bit", "sgd": "sgd"}


FITCHECK_GPUS = {
    "H200": "h200",
    "T4": "t4",
    "V100 SXM2 16GB": "v100-16",
    "L4": "l4",
    "A10": "a10",
    "RTX 3090": "3090",
    "RTX 4090": "4090",
    "RTX A6000": "a6000",
    "L40": "l40",
    "L40S": "l40s",
    "A100 40GB": "a100-40",
    "A100 80GB": "a100-80",
    "A100 SXM4 40GB": "a100-40",
    "A100 SXM4 80GB": "a100-80",
    "H100 PCIe": "h100-80",
    "H100 SXM5": "h100-80",
}
"""Its names for cards of the catalogue; it takes any other card by its memory."""


def fitcheck(case: Case) -> Figures:
    """Configuration through its offline hub cache; parameters as the hub's index would say."""
    from fitcheck import TrainingConfig, estimate, fetch_model_config, get_gpu

    derived = fetch_model_config(hub_cached(case))
    count = case["parameters"]
    if abs(derived.num_params / count - 1) > 0.02:
        raise RefusedError("its parameter count is more than 2 % off the hub's")
    report = estimate(
        dataclasses.replace(derived, num_params=count),
        TrainingConfig(
            precision="fp32" if case["precision"] == "fp32" else case["half"],
            quantization={"qlora": "nf4", "int8": "int8"}.get(case["kind"], "none"),
            double_quant=case["double_quant"],
            optimizer=FITCHECK_OPTIMIZERS.get(case["optimizer"], "adamw"),
            batch_size=case["batch"],
            seq_len=case["sequence"],
            lora_rank=None if case["kind"] == "full" else case["rank"],
            lora_targets=case["targets"],
            grad_checkpoint=case["checkpointing"],
            flash_attn=case["attention"] != "eager",
            grad_accum_steps=case["accumulation"],
        ),
        get_gpu(FITCHECK_GPUS[case["gpu"]])
        if case["gpu"] in FITCHECK_GPUS
        else get_gpu(case["gpu"], round(case["card_gib"] * 1024)),
    )
    return (report.total_mib - report.overhead_mib) * MIB, report.total_mib * MIB


def hub_cached(case: Case) -> str:
    """The id of a model whose config.json lies in the hub cache of this process."""
    name = f"measured/{case['name']}"
    folder = Path(os.environ["HF_HOME"]) / "hub" / f"models--{name.replace('/', '--')}"
    config = folder / "snapshots" / "0" / "config.json"
    if not config.exists():
        config.parent.mkdir(parents=True)
        config.write_text(json.dumps(case["config"]))
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text("0")
    return name


def vramcalc(case: Case) -> Figures:
    """``pure``: weights trained in the dtype they are loaded in; ``amp``: fp32 and autocast."""
    from vramcalc import estimate

    found = estimate(
        dict(case["config"]),
        mode="train",
        dtype="fp32" if case["precision"] == "fp32" else case["half"],
        batch=case["batch"],
        seq_len=case["sequence"],
        lora_rank=None if case["kind"] == "full" else case["rank"],
        grad_checkpoint=case["checkpointing"],
        precision="amp" if case["precision"] == "mixed" else "pure",
        attn_impl={"flash_attention_2": "flash"}.get(case["attention"], case["attention"]),
    )
    return found.total, found.total + found.overhead


def canifinetune(case: Case) -> Figures:
    """Shapes by its documented override; the margin that it reports apart is left out."""
    from canifinetune.estimator import EstimateRequest, estimate

    shape = case["shape"]
    override = {**shape, "family": case["model_type"], "total_params": case["parameters"]}
    scope = {"query-value": "conservative", "attention": "attention"}
    request = EstimateRequest(
        model_id=f"measured/{case['name']}",
        method={"int8": "qlora"}.get(case["kind"], case["kind"]),
        gpu_vram_gb=case["card_gib"],
        override=override,
        use_network=False,
        seq_len=case["sequence"],
        micro_batch_size=case["batch"],
        gradient_accumulation_steps=case["accumulation"],
        base_dtype="fp32" if case["precision"] == "fp32" else case["half"],
        quantization={"int8": "int8"}.get(
            case["kind"], "nf4_double_quant" if case["double_quant"] else "nf4"
        ),
        lora_rank=case["rank"],
        lora_dropout=case["dropout"],
        lora_target_scope=scope.get(case["scope"], "all_linear"),
        optimizer={"adamw_bnb_8bit": "adamw_8bit"}.get(case["optimizer"], case["optimizer"]),
        gradient_checkpointing=case["checkpointing"],
        attention_implementation=case["attention"],
    )
    memory = estimate(request).memory
    reserved = memory.total_estimated_gb - memory.safety_margin_gb
    return (reserved - memory.cuda_overhead_gb) * GIB, reserved * GIB


def fitscout(case: Case) -> Figures:
    """Its profile is what a meta-device build would count."""
    from fitscout.memory.estimator import estimate_memory
    from fitscout.model.profile import ModelProfile

    shape = case["shape"]
    found = estimate_memory(
        ModelProfile(
            params=case["parameters"],
            num_layers=shape["num_hidden_layers"],
            hidden_size=shape["hidden_size"],
            num_attention_heads=shape["num_attention_heads"],
            num_kv_heads=shape["num_key_value_heads"],
            intermediate_size=shape["intermediate_size"],
            vocab_size=shape["vocab_size"],
            tie_word_embeddings=shape["tie_word_embeddings"],
        ),
        method=case["kind"],
        micro_batch=case["batch"],
        seq_len=case["sequence"],
        grad_ckpt=case["checkpointing"],
        opt_8bit="8bit" in case["optimizer"],
        lora_rank=case["rank"],
    )
    return (found.total_gb - found.overhead_gb) * GIB, found.total_gb * GIB


def llm_analysis(case: Case) -> Figures:
    """Weights, gradients, optimizer states and activations: a lower bound, as it says."""
    import logging

    from llm_analysis import analysis, config

    logging.disable(logging.CRITICAL)
    shape = case["shape"]
    model = config.ModelConfig(
        name=case["name"],
        num_layers=shape["num_hidden_layers"],
        n_head=shape["num_attention_heads"],
        hidden_dim=shape["hidden_size"],
        vocab_size=shape["vocab_size"],
        max_seq_len=max(case["positions"], case["sequence"]),
        num_key_value_heads=shape["num_key_value_heads"],
        ffn_embed_dim=shape["intermediate_size"],
        expansion_ratio=shape["intermediate_size"] / shape["hidden_size"],
        model_type=case["model_type"],
    )
    card = config.GPUConfig("card", case["card_gib"], 4800, 900, 8e-6, 989)
    pure = (
        {"master_weights_dtype_bytes": 2, "other_op_bytes": 2}
        if case["precision"] == "half"
        else {}
    )
    found = analysis.LLMAnalysis(
        model, card, config.DtypeConfig(), config.ParallelismConfig()
    ).training(
        batch_size_per_gpu=case["batch"],
        gradient_accumulation_steps=case["accumulation"],
        seq_len=case["sequence"],
        activation_recomputation=analysis.ActivationRecomputation(2 * case["checkpointing"]),
        flash_attn=case["attention"] != "eager",
        mlp_gated_linear_units=case["gated"],
        **pure,
    )
    return found["(weight+op_state+grad+act)_memory_per_gpu"], None


def accelerate(case: Case) -> Figures:
    """What ``accelerate estimate-memory`` prints under "Training using Adam"."""
    import torch
    from accelerate import init_empty_weights
    from accelerate.commands.estimate import estimate_training_usage
    from accelerate.utils import calculate_maximum_sizes
    from transformers import AutoConfig, AutoModel

    values = dict(case["config"])
    configuration = AutoConfig.for_model(values.pop("model_type"), **values)
    with init_empty_weights():
        model = AutoModel.from_config(configuration, torch_dtype=torch.float32)
    size, _ = calculate_maximum_sizes(model)
    dtype = "float32" if case["precision"] == "fp32" else "float16"
    return max(estimate_training_usage(size, dtype).values()), None
