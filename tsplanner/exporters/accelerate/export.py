"""accelerate: its configuration file and the command that launches with the file."""

from __future__ import annotations

import shlex
from typing import Any

from tsplanner.exporters import deepspeed
from tsplanner.exporters.accelerate import fsdp
from tsplanner.exporters.launch import WORKER, ExportFile, ExportOptions, comments, header, script
from tsplanner.planner.plan import Plan

CONFIG = "accelerate.yaml"
MESH = "parallelism_config"
OWN = "a trainer of your own"
ITSELF = "tsplanner's worker shares the base out itself; accelerate only starts its processes."
SEVERAL_MACHINES = (
    ' --machine_rank "${MACHINE_RANK:?number this machine, from 0}"'
    ' --main_process_ip "${MAIN_PROCESS_IP:?name the first machine}"'
    ' --main_process_port "${MAIN_PROCESS_PORT:-29500}"'
)


def files(plan: Plan, options: ExportOptions) -> list[ExportFile]:
    """accelerate.yaml and accelerate.sh.

    Raises:
        TsplannerError: a command of the user's own cannot share this base out.
    """
    where = SEVERAL_MACHINES if options.nodes > 1 else ""
    body = f"exec accelerate launch --config_file {CONFIG}{where} {shlex.join(options.command)}\n"
    lines, own = header(plan, options), options.command == WORKER
    if plan.hardware.sharding.shards_base:
        lines += [ITSELF] if own else _notes(plan, options)
    return [
        configuration(plan, options, lines, wraps=not own),
        ExportFile("accelerate.sh", script(plan, options, body)),
    ]


def configuration(
    plan: Plan, options: ExportOptions, lines: list[str], *, wraps: bool
) -> ExportFile:
    """accelerate.yaml, under ``lines`` as comments; ``wraps``: accelerate shares the base out."""
    import yaml

    said = config(plan, options, wraps=wraps and plan.hardware.sharding.shards_base)
    return ExportFile(CONFIG, comments(lines) + yaml.safe_dump(said, sort_keys=False))


def _notes(plan: Plan, options: ExportOptions) -> list[str]:
    """What FSDP2 is under accelerate; raises TsplannerError for a plan that it cannot take."""
    fsdp.refuse(plan, plan.architecture, OWN)
    whole = deepspeed.whole_base_notes(plan, OWN.capitalize(), force=options.force)
    return [*fsdp.notes(plan, plan.architecture, OWN), *whole]


def config(plan: Plan, options: ExportOptions, *, wraps: bool) -> dict[str, Any]:
    """The content of accelerate's configuration file."""
    hardware = plan.hardware
    found: dict[str, Any] = {
        "compute_environment": "LOCAL_MACHINE",
        "debug": False,
        "distributed_type": "FSDP" if wraps else _distributed_type(plan),
        "machine_rank": 0,
        "main_training_function": "main",
        "mixed_precision": str(hardware.base.autocast) if hardware.base.autocast else "no",
        "num_machines": options.nodes,
        "num_processes": hardware.sharding.world_size,
        "rdzv_backend": "static",
        "same_network": True,
        "use_cpu": hardware.accelerator == "cpu",
    }
    if hardware.sharding.zero_stage:
        found["deepspeed_config"] = _deepspeed_config(plan)
    if wraps:
        found["fsdp_config"] = fsdp.config(plan)
        if sizes := fsdp.mesh(plan):
            # accelerate launch takes no other names, and needs every size beside these two.
            sizes |= {"tp_size": 1, "cp_size": 1, "sp_size": 1}
            found["parallelism_config"] = {f"{MESH}_{key}": size for key, size in sizes.items()}
    return found


def _distributed_type(plan: Plan) -> str:
    if plan.hardware.sharding.zero_stage:
        return "DEEPSPEED"
    return "MULTI_GPU" if plan.hardware.sharding.world_size > 1 else "NO"


def _deepspeed_config(plan: Plan) -> dict[str, Any]:
    """The settings of `deepspeed.render` under accelerate's keys.

    With the JSON file instead, accelerate (utils/dataclasses.py, DeepSpeedPlugin) would refuse the
    key mixed_precision.
    """
    zero = deepspeed.render(plan)["zero_optimization"]
    found = {
        "deepspeed_multinode_launcher": "standard",
        "gradient_accumulation_steps": plan.hardware.batch.gradient_accumulation_steps,
        "gradient_clipping": plan.learning.optimization.max_grad_norm,
        "offload_optimizer_device": zero.get("offload_optimizer", {}).get("device", "none"),
        "offload_param_device": zero.get("offload_param", {}).get("device", "none"),
        "zero_stage": zero["stage"],
    }
    if zero["stage"] == 3:
        found |= {"zero3_init_flag": True, "zero3_save_16bit_model": True}
    return found
