"""One way at work in a process of its own: our worker, or another trainer in a bare loop.

Ours goes through the worker that trains, with Trainer's loop around it. The others run in the bare
loop of this file, which costs less than Trainer's. All of them build the same weights and see the
same rows in the same order, collated by the same code.
"""

from __future__ import annotations

import importlib
import json
import random
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec

from benchmarks.collect.case_plan import plan_of
from benchmarks.speed.peers.asked import Shape, Way, row_lengths
from memory_models.settings import changed
from memory_models.units import GIB
from tsplanner.hardware.detect import detect_machine
from tsplanner.planner.gather.cases import read_case
from tsplanner.training.job import Job, JobKind

OURS = {
    "decoder_kernels": "fused",
    "loss_kernel": "fused",
    "gradient_checkpointing": False,
    "upcast_unquantized": False,
    "expandable_segments": True,
}
"""What our worker runs unless a way says otherwise."""
RECIPE: dict[str, Any] = {"finetuning_type": "lora", "lora_rank": 8, "lora_target": "all-linear"}
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TOKENIZER = Path("configs/models/tiny-chatts")
"""Unsloth loads no folder without a tokenizer; no row is tokenised."""


def steps_of_rows(shape: Shape, words: int) -> list[list[Any]]:
    """The rows of every step, of random token ids below ``words``, with loss on all of them."""
    from tsplanner.training.batches import EncodedSample

    found = []
    for step in range(shape.warmup + shape.steps):
        dice = random.Random(step)
        rows = [dice.choices(range(words), k=count) for count in row_lengths(shape, step)]
        found.append([EncodedSample(input_ids=ids, labels=ids) for ids in rows])
    return found


def case_of(shape: Shape, way: Way, folder: Path) -> dict[str, Any]:
    """The way as a case of ``tsplanner estimate``."""
    micro = way.settings.get("micro_batch_size", 1)
    longest = shape.length or 2048
    packed = {"micro_batch_size": 1, "gradient_accumulation_steps": shape.rows}
    padded = {"micro_batch_size": micro, "gradient_accumulation_steps": shape.rows // micro}
    return {
        "model": str(folder),
        "sequence_length": longest,
        **RECIPE,
        **OURS,
        **way.settings,
        **(packed if way.budget else padded),
    }


def plan_for(shape: Shape, way: Way, folder: Path) -> Any:
    """The plan that pins the way."""
    case = case_of(shape, way, folder)
    return plan_of(read_case(case, {}), case, detect_machine())


def run_ours(shape: Shape, way: Way, folder: Path, work: Path) -> dict[str, Any]:
    """A trial of the worker that trains, on rows of ours in place of a dataset."""
    from torch.utils.data import SequentialSampler

    from tsplanner.training.batches import collate, without_mask
    from tsplanner.training.packing.setup import packed_collator
    from tsplanner.training.solo.trainer import PlanTrainer
    from tsplanner.training.worker import build, entry

    plan = plan_for(shape, way, folder)
    # A trial would else see its rows in three epochs.
    plan = replace(plan, learning=changed(plan.learning, num_train_epochs=1))
    steps = steps_of_rows(shape, int(plan.model.config["vocab_size"]))
    rows = [row for step in steps for row in step]

    def job_data(job: Job, config: Any, *_: Any) -> tuple[Any, Any, Any]:
        if way.budget:
            return rows, [], packed_collator(job.plan, config, 0)
        return rows, [], lambda items: without_mask(collate(items, 0))

    build.job_data = job_data
    build.load_tokenizer = lambda _: SimpleNamespace(pad_token_id=0, eos_token_id=0)
    PlanTrainer._get_train_sampler = lambda self, *_: SequentialSampler(self.train_dataset)
    work.mkdir(parents=True, exist_ok=True)
    job = Job(kind=JobKind.TRIAL, plan=plan, folder=str(work))
    (work / "job.json").write_bytes(msgspec.json.encode(job))
    status = entry.main([str(work / "job.json")])
    record = json.loads((work / "record.json").read_text())
    if status:
        raise RuntimeError(record["message"])
    lines = [json.loads(line) for line in (work / "metrics.jsonl").read_text().splitlines()]
    return {
        "step_seconds": record["timing"]["step_seconds"],
        "losses": [line["loss"] for line in lines if "loss" in line],
        "peak_allocated_gib": (record["memory"]["peak_allocated_bytes"] or 0) / GIB,
        "peak_reserved_gib": (record["memory"]["peak_reserved_bytes"] or 0) / GIB,
        "foretold": {
            "step_seconds": plan.time.step_seconds,
            "peak_allocated_gib": plan.memory.peak_allocated_bytes.expected / GIB,
        },
    }


def run_peer(shape: Shape, way: Way, folder: Path, weights: Path) -> dict[str, Any]:
    """A bare loop around another trainer's model."""
    from tsplanner.training.worker.environment_variables import set_defaults

    set_defaults()
    build = {"liger": liger_model, "unsloth": unsloth_model}[way.trainer]
    model, words = build(shape, way, folder, weights)
    import torch

    device = next(model.parameters()).device
    trained = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=device.type == "cuda")
    found: dict[str, Any] = {"step_seconds": [], "losses": []}
    model.train()
    for rows in steps_of_rows(shape, words):
        _wait(torch)
        began = time.perf_counter()
        targets = sum(len(row.input_ids) - 1 for row in rows)
        loss = torch.zeros((), device=device)
        for collated in batches(rows, way):
            batch = {name: each.to(device) for name, each in collated.items()}
            share = int((batch["labels"][:, 1:] != -100).sum()) / targets
            with torch.autocast(device.type, dtype=torch.bfloat16):
                part = model(**batch).loss * share
            part.backward()
            loss += part.detach()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        _wait(torch)
        found["step_seconds"].append(time.perf_counter() - began)
        found["losses"].append(float(loss))
    if device.type == "cuda":
        found["peak_allocated_gib"] = torch.cuda.max_memory_allocated() / GIB
        found["peak_reserved_gib"] = torch.cuda.max_memory_reserved() / GIB
    return found


def batches(rows: list[Any], way: Way) -> Iterator[dict[str, Any]]:
    """The batches of a step: packed passes, or padded micro-batches of rows in their order."""
    from tsplanner.training.batches import collate, without_mask
    from tsplanner.training.packing.batch import PASSES, step_of_passes

    if way.budget:
        lengths = [len(row.input_ids) for row in rows]
        yield from step_of_passes(rows, lengths, way.budget, 0)[PASSES]
        return
    size = way.settings.get("micro_batch_size", 1)
    for start in range(0, len(rows), size):
        # Padding stands on the right, so that causal attention needs no mask for it.
        yield without_mask(collate(rows[start : start + size], 0))


def liger_model(shape: Shape, way: Way, folder: Path, weights: Path) -> tuple[Any, int]:
    """A model of PEFT with Liger's whole patch, as Trainer's ``use_liger_kernel`` makes it."""
    from liger_kernel.transformers import _apply_liger_kernel_to_instance
    from peft import LoraConfig, get_peft_model

    from tsplanner.training.base_model.build import build_model, training_device

    plan = plan_for(shape, Way(trainer="ours", settings={}), folder)
    base = build_model(plan, training_device(plan.hardware))
    config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(base, config)
    _apply_liger_kernel_to_instance(model=base)
    if way.settings.get("gradient_checkpointing"):
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model, base.config.vocab_size


def unsloth_model(shape: Shape, way: Way, folder: Path, weights: Path) -> tuple[Any, int]:
    """Unsloth's model of the weights that ``write_weights`` has left."""
    # It patches transformers, so nothing has imported that before.
    unsloth = importlib.import_module("unsloth")
    import torch

    model, _ = unsloth.FastLanguageModel.from_pretrained(
        str(weights),
        max_seq_length=max(4096, shape.length or 0, way.budget or 0),
        dtype=torch.bfloat16,
        load_in_4bit=False,
        local_files_only=True,
    )
    model = unsloth.FastLanguageModel.get_peft_model(
        model,
        r=8,
        lora_alpha=16,
        lora_dropout=0,
        bias="none",
        target_modules=MODULES,
        use_gradient_checkpointing="unsloth"
        if way.settings.get("gradient_checkpointing")
        else False,
    )
    return model, model.config.vocab_size


def write_weights(shape: Shape, folder: Path, weights: Path) -> None:
    """The weights that every way builds, as a folder that Unsloth loads."""
    from tsplanner.training.base_model.build import build_model, training_device

    if (weights / "config.json").exists():
        return
    plan = plan_for(shape, Way(trainer="ours", settings={}), folder)
    build_model(plan, training_device(plan.hardware)).save_pretrained(weights)
    for file in TOKENIZER.glob("*token*"):
        shutil.copy(file, weights)


def _wait(torch: Any) -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
