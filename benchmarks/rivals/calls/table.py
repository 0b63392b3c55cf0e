"""The rivals: pinned versions, the cases each can express, what each number means."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.rivals.calls import counts, shapes
from benchmarks.rivals.calls.case import Rival

ALONE = ("none",)
PLAIN = ("plain",)
ADAMW = ("adamw_torch", "adamw_torch_fused")
SCOPES = ("all-linear", "attention", "query-value", "")


def recipes(kinds: str, precisions: str) -> tuple[object, ...]:
    """Every ``kind/precision`` of the words given."""
    return tuple(
        f"{kind}/{precision}" for kind in kinds.split() for precision in precisions.split()
    )


RIVALS = {
    "fitcheck-llm": Rival(
        package="fitcheck-llm",
        version="0.3.1",
        takes={
            "recipe": (
                *recipes("lora qlora int8", "half"),
                *recipes("lora full", "fp32"),
                "full/mixed",
            ),
            "gated_targets": (True,),
            "loss_kernel": PLAIN,
            "optimizer": (*ADAMW, "adamw_bnb_8bit", "sgd"),
            "sharding": ALONE,
        },
        untold="dropout; full training always keeps an fp32 master copy",
        meaning="total less overhead against allocated, total against the process "
        "(no profile of an H200: its default 500 MiB + 5 %)",
        estimate=shapes.fitcheck,
    ),
    "vramcalc": Rival(
        package="vramcalc",
        version="0.1.2",
        takes={
            "recipe": recipes("lora full", "half mixed fp32"),
            "scope": ("attention", ""),
            "loss_kernel": PLAIN,
            "optimizer": ADAMW,
            "sharding": ALONE,
        },
        untold="accumulation, dropout, fused AdamW; LoRA only on q, k, v, o",
        meaning="total against allocated, total + 0.75 GB (its fits()) against the process",
        estimate=shapes.vramcalc,
    ),
    "canifinetune": Rival(
        package="canifinetune",
        version="0.4.1",
        takes={
            "recipe": recipes("lora qlora int8 full", "half") + recipes("lora full", "fp32"),
            "scope": SCOPES,
            "loss_kernel": PLAIN,
            "optimizer": (*ADAMW, "adamw_bnb_8bit", "paged_adamw_8bit", "sgd"),
            "sharding": ALONE,
        },
        untold="autocast; custom target lists refused",
        meaning="it targets the reserved peak: total less safety margin against the process, less "
        "also its 8 %-of-the-card overhead against allocated",
        estimate=shapes.canifinetune,
    ),
    "fitscout": Rival(
        package="fitscout",
        version="0.1.1",
        takes={
            "recipe": (*recipes("lora qlora", "half"), "full/mixed"),
            "loss_kernel": PLAIN,
            "optimizer": (*ADAMW, "adamw_bnb_8bit", "paged_adamw_8bit"),
            "sharding": ALONE,
        },
        untold="targets (always q and v), attention kernel, double quantisation",
        meaning="total less 1.5 GiB overhead against allocated, total against the process",
        estimate=shapes.fitscout,
    ),
    "ftuneai": Rival(
        package="ftuneai",
        version="0.4.1",
        takes={
            "recipe": recipes("lora qlora int8", "half") + recipes("full", "mixed fp32"),
            "scope": SCOPES,
            "optimizer": (*ADAMW, "adamw_bnb_8bit", "adafactor"),
            "sharding": ("none", "zero_1", "zero_2", "zero_3"),
        },
        untold="loss, vocabulary, double quantisation, offload",
        meaning="total less its 20 % overhead against allocated, total against the process",
        estimate=counts.ftuneai,
    ),
    "llmcalculator": Rival(
        package="llmcalculator",
        version="0.2.3",
        takes={
            "recipe": (*recipes("lora qlora int8", "half"), "full/mixed"),
            "loss_kernel": PLAIN,
            "optimizer": ADAMW,
            "sharding": ALONE,
        },
        untold="rank and targets (always 0.5 % of the weights), attention kernel",
        meaning="total less 1.5-2 GB overhead against allocated, total against the process",
        estimate=counts.llmcalculator,
    ),
    "ml-memguard": Rival(
        package="ml-memguard",
        version="0.5.0",
        takes={
            "recipe": recipes("lora qlora int8 dora", "half")
            + recipes("full freeze", "half mixed fp32"),
            "optimizer": (*ADAMW, "adafactor"),
            "sharding": ALONE,
        },
        untold="loss, vocabulary; of the targets only their number",
        meaning="total less its 25 % + 400 MiB overhead against allocated, total against "
        "the process",
        estimate=counts.memguard,
    ),
    "peft-doctor": Rival(
        package="peft-doctor",
        version="0.9.2",
        takes={"recipe": recipes("lora qlora full", "half"), "sharding": ALONE},
        untold="rank, targets, optimizer, loss, vocabulary, attention kernel",
        meaning="total less its 12 % fragmentation against allocated, total against the process",
        estimate=counts.peft_doctor,
    ),
    "soup-cli": Rival(
        package="soup-cli",
        version="0.77.0",
        takes={
            "recipe": recipes("lora qlora int8 dora", "half") + recipes("full", "mixed fp32"),
            "optimizer": (*ADAMW, "adafactor", "sgd", "adamw_bnb_8bit", "paged_adamw_8bit"),
            "sharding": ALONE,
        },
        untold="every shape but the parameter count; rank, targets, loss, attention kernel",
        meaning="hardware_fit: peak less overhead against allocated, peak against the process "
        "(its exact pre-flight is for layer streaming, which no case does)",
        estimate=counts.soup,
    ),
    "train-in-silence": Rival(
        package="train-in-silence",
        version="0.1.6",
        takes={
            "recipe": recipes("lora qlora full", "half") + recipes("lora full", "fp32"),
            "sharding": ALONE,
        },
        untold="checkpointing, rank, targets, optimizer, loss, vocabulary, attention kernel",
        meaning="total less a fixed 2 GiB against allocated, total against the process",
        estimate=counts.train_in_silence,
        without_dependencies=True,
    ),
    "alloc": Rival(
        package="alloc",
        version="0.0.16",
        takes={
            "recipe": recipes("full", "mixed fp32"),
            "optimizer": (*ADAMW, "adamw_bnb_8bit", "adafactor"),
            "sharding": ALONE,
        },
        untold="checkpointing, loss, vocabulary, attention kernel; no adapters",
        meaning="ghost scan: total less its 10 % buffer against allocated, total against "
        "the process",
        estimate=counts.alloc,
    ),
    "llm-analysis": Rival(
        package="llm-analysis",
        version="0.2.2",
        takes={
            "recipe": recipes("full", "half mixed"),
            "loss_kernel": PLAIN,
            "optimizer": ADAMW,
            "sharding": ALONE,
        },
        untold="biases; no adapters",
        meaning="weights, optimizer states, gradients and activations against allocated: "
        "a lower bound by its own word; no process total",
        estimate=shapes.llm_analysis,
        without_dependencies=True,
    ),
    "accelerate": Rival(
        package="accelerate",
        version=None,
        takes={"recipe": recipes("full", "mixed fp32"), "optimizer": ADAMW, "sharding": ALONE},
        untold="sequence, batch, checkpointing, loss; no adapters; the model without its head",
        meaning='"Training using Adam" of estimate-memory against allocated; no process total',
        estimate=shapes.accelerate,
    ),
}
RIVALS["vramcalc-nearest"] = replace(
    RIVALS["vramcalc"],
    takes={**RIVALS["vramcalc"].takes, "scope": ("attention", "all-linear", "")},
    untold=RIVALS["vramcalc"].untold + ": LoRA on all linears is told as that",
)
"""What its user gets for the commonest LoRA, which it cannot express."""

EXTRA_REQUIREMENTS = ("transformers==4.57.6", "fire==0.5.0")
"""What llm-analysis imports; its own pins are of 2023 and exclude the other rivals'."""

ABSENT = {
    "Loggetta 0.7.0": "trains mixtures of experts only; calls its dense plans unsupported",
    "DeepSpeed's ZeRO estimators": "model states of full training only, no activations",
    "hf-mem 0.5.6, do-i-have-the-vram 0.1.0, llm-mem-planner 0.2.2": "inference only",
    "hf-vram-calc 1.0.9": "weights x 5.2, or x 1.2 for LoRA, at any batch and length; needs torch",
    "tinyforge 0.1.2": "a planner inside its own trainer, in a module that needs torch",
    "LLMem, xMem": "papers whose code is in no registry (the packages of those names are others)",
}
"""Candidates that were looked at and are not run."""
