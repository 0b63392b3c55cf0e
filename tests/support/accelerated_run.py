"""One process that trains a tiny model under accelerate, told by its environment; prints losses.

accelerate turns FSDP and meshes on for GPUs alone, so on a CPU its plugin and its mesh, which read
the environment of ``accelerate launch``, are handed over here. All else is accelerate's own.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.parallelism_config import ParallelismConfig
from accelerate.state import AcceleratorState
from accelerate.utils import FullyShardedDataParallelPlugin
from accelerate.utils.dataclasses import DistributedType
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

STEPS, ROWS, LENGTH = 5, 4, 12


def model_of(folder: str, storage: str | None, *, dora: bool) -> Any:
    """The folder's model with adapters that do something; ``storage``: of 4-bit weights."""
    packed = {}
    if storage is not None:
        packed["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=torch.float32,
            bnb_4bit_quant_storage=storage,
        )
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **packed)
    torch.manual_seed(1)
    lora = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], use_dora=dora)
    found = get_peft_model(base, lora)
    # Without it bitsandbytes repacks 4-bit weights for CPUs, with other sums.
    found.enable_input_require_grads()
    torch.manual_seed(2)
    for name, each in found.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(each, std=0.1)
    return found


def wrapped(model: Any, optimizer: Any) -> tuple[Any, Any]:
    """Both as accelerate prepares them."""
    has_mesh = os.environ.pop("ACCELERATE_USE_PARALLELISM_CONFIG", None) == "true"
    accelerator = Accelerator(cpu=True)
    accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin()
    if has_mesh:
        accelerator.state.parallelism_config = ParallelismConfig()
        accelerator.state.device_mesh = accelerator.parallelism_config.get_device_mesh("cpu")
    AcceleratorState._shared_state["distributed_type"] = DistributedType.FSDP
    assert accelerator.is_fsdp2
    return accelerator.prepare(model, optimizer)  # type: ignore[no-any-return]


def main() -> None:
    """Train a few steps on this process's rows; the first process prints what it found."""
    folder, storage, method = sys.argv[1], sys.argv[2] or None, sys.argv[3]
    torch.set_num_threads(1)
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if several:
        dist.init_process_group("gloo")
    rank, world = (dist.get_rank(), dist.get_world_size()) if several else (0, 1)
    model = model_of(folder, storage, dora=method == "dora")
    trained = [each for each in model.parameters() if each.requires_grad]
    optimizer: Any = torch.optim.AdamW(trained, lr=1e-2)
    if several:
        model, optimizer = wrapped(model, optimizer)
    rows = torch.randint(0, 60, (ROWS, LENGTH), generator=torch.Generator().manual_seed(5))
    own, losses = rows[rank::world], []
    for _ in range(STEPS):
        loss = model(input_ids=own, labels=own).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        mean = loss.detach().clone()
        if several:
            dist.all_reduce(mean)
        losses.append(float(mean / world))
    if rank == 0:
        slices = {
            name: tuple(each.to_local().shape)
            for name, each in model.named_parameters()
            if hasattr(each, "to_local")
        }
        sys.stdout.write("\n" + json.dumps({"losses": losses, "slices": slices}) + "\n")
        sys.stdout.flush()
    os._exit(0)  # threads of the process group may still wait for each other


if __name__ == "__main__":
    main()
