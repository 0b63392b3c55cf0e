"""One of several processes that train a tiny model on the CPU; prints the bytes of live tensors."""

from __future__ import annotations

import gc
import json
import os
import sys
from contextlib import nullcontext
from typing import Any

os.environ |= {"DS_ACCELERATOR": "cpu", "HF_HUB_OFFLINE": "1", "LOCAL_RANK": os.environ["RANK"]}

import deepspeed
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, Trainer, TrainingArguments

from memory_models.settings import Quantization, from_flat
from memory_models.sharding.deepspeed_config import live_elements
from tests.support.sharded_model import CONFIG
from tsplanner.exporters.deepspeed import zero_optimization
from tsplanner.models.source import read_architecture
from tsplanner.planner.settings import HardwareSettings
from tsplanner.training.base_model.build import keep_packed
from tsplanner.training.base_model.drawing import mark_packed, quantised
from tsplanner.training.fully_sharded.partitioned import partition, without_deepspeed

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class Rows(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Sixteen rows, enough for two steps."""

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        row = torch.full((16,), index)
        return {"input_ids": row, "labels": row}


def live_bytes() -> int:
    """Bytes of all storages that live tensors use, each counted once."""
    gc.collect()
    found = {}
    for item in gc.get_objects():
        if type(item) in (torch.Tensor, torch.nn.Parameter):
            storage = item.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
    return sum(found.values())


def arguments(stage: int) -> TrainingArguments:
    """Arguments for two steps under the configuration that tsplanner writes."""
    live = live_elements(read_architecture(dict(CONFIG), name="tiny", source="tiny"))
    hardware = from_flat(HardwareSettings, zero_stage=stage)
    auto = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
    config = {
        **dict.fromkeys(auto, "auto"),
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": True},
        "zero_optimization": zero_optimization(hardware, live),
    }
    return TrainingArguments(
        output_dir=sys.argv[3],
        per_device_train_batch_size=1,
        max_steps=2,
        bf16=True,
        optim="adamw_torch",
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        deepspeed=config,
    )


def built(config: Any, method: str, asked: TrainingArguments) -> Any:
    """The model with what ``method`` trains: full, lora, or lora on a base in that 4-bit form."""
    packed = method not in ("full", "lora")
    with without_deepspeed(asked) if packed else nullcontext():
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        if packed:
            pack(model, Quantization(method))
        if method != "full":
            lora = LoraConfig(r=8, target_modules=TARGETS, task_type="CAUSAL_LM")
            model = get_peft_model(model, lora, autocast_adapter_dtype=False)
    if packed:
        partition(model, torch.device("cpu"), torch.bfloat16, asked)
    return model


def pack(model: Any, form: Quantization) -> None:
    """Put the linears of the layers into 4 bits."""
    hardware = from_flat(HardwareSettings, quantization=form)
    for name, module in list(model.named_modules()):
        if isinstance(module, torch.nn.Linear) and name != "lm_head":
            model.set_submodule(name, quantised(module, hardware, torch.device("cpu")))
    keep_packed(model, torch.bfloat16)
    mark_packed(model, hardware)


def main() -> None:
    """Train two steps, then print the live bytes."""
    torch.set_num_threads(1)
    stage, method = int(sys.argv[1]), sys.argv[2]
    deepspeed.init_distributed(dist_backend="gloo")
    asked = arguments(stage)
    options = {key: value for key, value in CONFIG.items() if key != "model_type"}
    config = AutoConfig.for_model("llama", **options)
    model = built(config, method, asked)
    trainer = Trainer(model=model, args=asked, train_dataset=Rows())
    trainer.train()
    sys.stdout.write("\n" + json.dumps({"live": live_bytes()}) + "\n")
    sys.stdout.flush()
    os._exit(0)  # threads of the process group may still wait for each other


if __name__ == "__main__":
    main()
