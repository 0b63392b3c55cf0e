"""A text model of 0.1 M parameters, a word tokenizer and a dataset: what the tests train."""

from __future__ import annotations

import json
import random
from array import array
from dataclasses import replace
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

from memory_models.device import Host, Machine
from memory_models.result import Component, Interval, MemoryEstimate
from memory_models.settings import Dtype, changed, from_flat
from tsplanner.models.source import read_architecture
from tsplanner.planner.plan import DatasetRef, ModelRef, Plan, TimeEstimate, Verdict
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.settings import HardwareSettings, LearningSettings

CONFIG: dict[str, object] = {
    "model_type": "qwen2",
    "architectures": ["Qwen2ForCausalLM"],
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 128,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
}
TEXT = "a rises falls series trend up down flat peak value noise is the with of and"
WORDS = [*TEXT.split(" "), *[str(number) for number in range(60)]]


def _shapes() -> dict[str, tuple[int, ...]]:
    """Every parameter of the model and its shape, by transformers' names."""
    layer = {
        "input_layernorm.weight": (32,),
        "post_attention_layernorm.weight": (32,),
        **{f"self_attn.{name}_proj.weight": (rows, 32) for name, rows in HEADS.items()},
        **{f"self_attn.{name}_proj.bias": (rows,) for name, rows in HEADS.items()},
        "self_attn.o_proj.weight": (32, 32),
        "mlp.gate_proj.weight": (64, 32),
        "mlp.up_proj.weight": (64, 32),
        "mlp.down_proj.weight": (32, 64),
    }
    return {
        "model.embed_tokens.weight": (128, 32),
        **{
            f"model.layers.{number}.{name}": shape
            for number in range(3)
            for name, shape in layer.items()
        },
        "model.norm.weight": (32,),
        "lm_head.weight": (128, 32),
    }


HEADS = {"q": 32, "k": 16, "v": 16}
"""Outputs of the attention's inputs: four heads of eight, two of them for keys and values."""


@cache
def weights() -> bytes:
    """model.safetensors of the model as it would be drawn: norms of one, biases of zero."""
    dice = random.Random(0)
    values, header = array("f"), {}
    for name, shape in _shapes().items():
        start, count = 4 * len(values), prod(shape)
        if len(shape) > 1:
            values.extend(dice.gauss(0.0, 0.02) for _ in range(count))
        else:
            values.extend([0.0 if name.endswith("bias") else 1.0] * count)
        end = 4 * len(values)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
    told = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    return len(told).to_bytes(8, "little") + told + values.tobytes()


def write_model(folder: Path) -> Path:
    """config.json, model.safetensors and a word-level tokenizer.json."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "model.safetensors").write_bytes(weights())
    special = ["<pad>", "<eos>", "<unk>"]
    vocabulary = {word: index for index, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "<pad>",
        "eos_token": "<eos>",
        "unk_token": "<unk>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def write_dataset(path: Path, rows: int = 20) -> Path:
    """Alpaca rows whose answer follows from the question."""
    lines = [
        {
            "instruction": f"series of {row} and {(row * 7) % 60} with noise " * (1 + row % 3),
            "input": "",
            "output": f"the trend is {'up' if row % 2 else 'down'} value {row} " * (1 + row % 2),
        }
        for row in range(rows)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def machine() -> Machine:
    """Two cores and 16 GiB, no GPU."""
    host = Host(total_bytes=16 * 2**30, available_bytes=12 * 2**30, cpu_count=2)
    return Machine(name="test machine", devices=(), host=host)


def plan(folder: Path, *, rows: int = 20) -> Plan:
    """LoRA of the tiny model on 20 rows, 2 held out: 5 steps of 4 rows an epoch."""
    model = write_model(folder / "model")
    dataset = write_dataset(folder / "rows.jsonl", rows)
    interval = Interval(expected=600 * 2**20, upper=900 * 2**20)
    return Plan(
        model=ModelRef(
            name="tiny",
            path=str(model),
            model_type="qwen2",
            parameters_total=38_000,
            parameters_trainable=3_000,
            config=CONFIG,
            has_weights=True,
            architecture=read_architecture(CONFIG, name="tiny", source="test"),
        ),
        dataset=from_flat(
            DatasetRef,
            name="rows",
            path=str(dataset),
            rows_total=rows,
            rows_kept=rows,
            longest=64,
            mean=40.0,
            counted_by="tokenizer",
        ),
        machine=machine(),
        learning=from_flat(
            LearningSettings,
            lora_rank=4,
            learning_rate=5e-3,
            num_train_epochs=2,
            effective_batch_size=4,
            cutoff_len=96,
            validation_fraction=0.1,
        ),
        hardware=from_flat(
            HardwareSettings,
            accelerator="cpu",
            micro_batch_size=2,
            gradient_accumulation_steps=2,
            gradient_checkpointing=False,
            model_dtype=Dtype.FP32,
            autocast=None,
        ),
        memory=MemoryEstimate(
            peak_allocated_bytes=interval,
            peak_reserved_bytes=interval,
            process_bytes=interval,
            host_bytes=interval,
            parameters_total=38_000,
            parameters_trainable=3_000,
            components=(Component(name="weights", bytes=interval.expected),),
            peak_instant="backward",
        ),
        time=TimeEstimate(
            step_seconds=0.1,
            relative_error=0.5,
            steps_per_epoch=5,
            total_steps=10,
            total_seconds=1.0,
            basis="datasheet",
        ),
        free_bytes=12 * 2**30,
        verdict=Verdict.FITS,
    )


def with_learning(plan: Plan, **changes: Any) -> Plan:
    """The plan with other learning settings."""
    return replace(plan, learning=changed(plan.learning, **changes))


def with_hardware(plan: Plan, **changes: Any) -> Plan:
    """The plan with other hardware settings."""
    return replace(plan, hardware=changed(plan.hardware, **changes))


def request(plan: Plan) -> PlanRequest:
    """What such a plan is made from: its model, rows, machine and learning settings."""
    return PlanRequest(
        architecture=plan.architecture,
        model=plan.model,
        dataset=plan.dataset,
        machine=plan.machine,
        learning=plan.learning,
    )
