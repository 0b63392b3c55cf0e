"""SkyPilot: a task file that rents machines by the name of the card and starts torchrun on each."""

from __future__ import annotations

import re
from typing import Any

from memory_models.settings import Attention
from memory_models.units import GIB
from tsplanner.errors import TsplannerError
from tsplanner.exporters.launch import (
    ExportFile,
    ExportOptions,
    comments,
    header,
    processes_per_node,
    torchrun_words,
)
from tsplanner.hardware.gpus.catalog import Gpu
from tsplanner.hardware.gpus.names import gpu_by_driver_name
from tsplanner.planner.devices import used_devices
from tsplanner.planner.plan import Plan
from tsplanner.planner.space.rules import BITSANDBYTES_OPTIMIZERS
from tsplanner.runs import slug

ACCELERATORS = {
    ("V100 SXM2", 16): "V100",
    ("V100 SXM2", 32): "V100-32GB",
    ("T4", 16): "T4",
    ("RTX 3080 10GB", 10): "RTX3080",
    ("RTX 3080 Ti", 12): "RTX3080-Ti",
    ("RTX 3090", 24): "RTX3090",
    ("RTX 3090 Ti", 24): "RTX3090-Ti",
    ("A10", 24): "A10",
    ("A30", 24): "A30",
    ("A40", 48): "A40",
    ("RTX A4000", 16): "RTXA4000",
    ("RTX A5000", 24): "RTXA5000",
    ("RTX A6000", 48): "RTXA6000",
    ("A100 SXM4 40GB", 40): "A100",
    ("A100 SXM4 80GB", 80): "A100-80GB",
    ("A100 PCIe 40GB", 40): "A100",
    ("A100 PCIe 80GB", 80): "A100-80GB",
    ("RTX 4080", 16): "RTX4080",
    ("RTX 4080 SUPER", 16): "RTX4080-SUPER",
    ("RTX 4090", 24): "RTX4090",
    ("L4", 24): "L4",
    ("L40", 48): "L40",
    ("L40S", 48): "L40S",
    ("RTX 6000 Ada", 48): "RTX6000-Ada",
    ("H100 SXM5", 80): "H100",
    ("H100 PCIe", 80): "H100",
    ("H100 NVL", 94): "H100-NVL",
    ("H200", 141): "H200",
    ("B200", 180): "B200",
    ("RTX 5080", 16): "RTX5080",
    ("RTX 5090", 32): "RTX5090",
    ("RTX PRO 6000 Blackwell", 96): "RTXPRO6000",
}
"""Name and GiB of our catalogue -> SkyPilot's name. Source: SkyPilot's catalogues."""

MASTER_PORT = 29500
RENDEZVOUS = (
    f'--node-rank "$SKYPILOT_NODE_RANK" --master-addr "$head_ip" --master-port {MASTER_PORT}'
)


def files(plan: Plan, options: ExportOptions) -> list[ExportFile]:
    """task.yaml.

    Raises:
        TsplannerError: the card has no name at SkyPilot, or the cards differ.
    """
    notes = [
        *header(plan, options),
        "Put a wheel of tsplanner beside this file (make wheel) and launch from this folder.",
    ]
    return [ExportFile("task.yaml", comments(notes) + _yaml(task(plan, options)))]


def _yaml(content: dict[str, Any]) -> str:
    """YAML in which scripts of several lines are literal blocks, so that a person can read them."""
    import yaml

    # A representer added to SafeDumper itself would change every YAML file of this program.
    class Dumper(yaml.SafeDumper):
        """A safe dumper with literal blocks."""

    def block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        style = "|" if "\n" in text else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    Dumper.add_representer(str, block)
    dumped: str = yaml.dump(content, Dumper=Dumper, sort_keys=False, width=1000)
    return dumped


def task(plan: Plan, options: ExportOptions) -> dict[str, Any]:
    """The content of the task file."""
    found: dict[str, Any] = {
        "name": _task_name(plan.model.name),
        "resources": _resources(plan, options),
        "num_nodes": options.nodes,
        "workdir": ".",
    }
    if mounts := _mounts(plan):
        found["file_mounts"] = mounts
    extras = ",".join(_extras(plan))
    found["setup"] = f'pip install "$(ls ./tsplanner-*.whl)[{extras}]"\n'
    found["run"] = (
        'head_ip=$(head -n 1 <<< "$SKYPILOT_NODE_IPS")\n'
        f"{torchrun_words(plan, options, rendezvous=RENDEZVOUS)}\n"
    )
    return found


def _task_name(model: str) -> str:
    """A task name that clouds accept: a letter, then lower-case letters, digits and dashes."""
    words = re.sub(r"[^a-z0-9]+", "-", slug(model).lower()).strip("-")
    return f"tsplanner-{words or 'run'}"


def _resources(plan: Plan, options: ExportOptions) -> dict[str, str | int]:
    if plan.hardware.accelerator == "cpu":
        return {"cpus": f"{plan.machine.host.cpu_count}+"}
    return {"accelerators": f"{_accelerator(plan)}:{processes_per_node(plan, options)}"}


def _accelerator(plan: Plan) -> str:
    """SkyPilot's name for the plan's card."""
    used = used_devices(plan.machine, plan.hardware)
    names = {device.name for device in used}
    if len(names) > 1:
        raise TsplannerError(
            f"SkyPilot rents machines with one kind of card, and this plan uses "
            f"{' and '.join(sorted(names))}: plan again with --gpus for one kind."
        )
    if not used:
        raise TsplannerError("The plan names no GPU that could be rented: plan again with --gpus.")
    device = used[0]
    gpu = gpu_by_driver_name(device.name, device.total_bytes)
    name = ACCELERATORS.get((gpu.name, _size_gib(gpu, device.total_bytes))) if gpu else None
    if name is None:
        raise TsplannerError(
            f"SkyPilot has no name for the {device.name} that is known here: plan again with "
            "--gpus for a card that clouds rent, such as L4, A100 80GiB or H100."
        )
    return name


def _size_gib(gpu: Gpu, total_bytes: int) -> int:
    """The catalogue size that is closest to the bytes that the driver reports."""
    sizes = (*gpu.memory_gib, *gpu.modified_gib)
    return min(sizes, key=lambda size: abs(size * GIB - total_bytes))


def _mounts(plan: Plan) -> dict[str, str]:
    """Mounts of dataset, model and tokenizer under their local paths, which job.json names."""
    dataset = plan.dataset
    paths = (dataset.path, *dataset.further, plan.model.path, plan.model.tokenizer)
    return {path: path for path in paths if path is not None}


def _extras(plan: Plan) -> list[str]:
    """Optional parts of tsplanner that the plan needs."""
    hardware = plan.hardware
    wanted = {
        "train": True,
        "quant": hardware.base.needs_bitsandbytes
        or hardware.kernels.optimizer in BITSANDBYTES_OPTIMIZERS,
        "deepspeed": hardware.sharding.zero_stage > 0,
        "flash": hardware.kernels.attention is Attention.FLASH_ATTENTION_2,
    }
    return [name for name, needed in wanted.items() if needed]
