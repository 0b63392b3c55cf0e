"""LLaMA-Factory: its YAML, dataset_info.json, DeepSpeed's JSON and the script that starts it.

A ChatTS model gets the form of the fork that trains such models; any other model that of upstream.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from memory_models.activations.liger.patches import LIGER_VERSION
from memory_models.architecture import Architecture
from memory_models.settings import Dtype, LossKernel
from tsplanner.errors import TsplannerError
from tsplanner.exporters import cadence, deepspeed
from tsplanner.exporters.accelerate import export as accelerate
from tsplanner.exporters.launch import (
    ExportFile,
    ExportOptions,
    Room,
    comments,
    header,
    one_line,
    processes_per_node,
    script,
)
from tsplanner.exporters.llamafactory import tables
from tsplanner.exporters.llamafactory.settings import (
    DEEPSPEED,
    METHODS,
    NAME,
    TOKENIZED,
    pure_bf16,
    running,
    sections,
)
from tsplanner.exporters.rows import dialogues
from tsplanner.exporters.rows.form import TEST, TRAIN, RowsAs
from tsplanner.exporters.rows.written import RowsWritten, write_rows
from tsplanner.exporters.trainers import figures, memory
from tsplanner.exporters.trainers.adapted import TRAINED_WHOLE, sees
from tsplanner.exporters.trainers.memory import Running
from tsplanner.planner.plan import Plan

CONFIG, DATASETS = "train.yaml", "dataset_info.json"
SEVERAL_MACHINES = """export NNODES={nodes}
export NODE_RANK="${{NODE_RANK:?number this machine, from 0}}"
export MASTER_ADDR="${{MASTER_ADDR:?name the first machine}}"
export MASTER_PORT="${{MASTER_PORT:-29500}}"
"""
WRAPPED = (
    f"accelerate launch --config_file {accelerate.CONFIG}{{where}} "
    f"--module llamafactory.launcher {CONFIG}"
)
"""Its own starter knows torchrun alone, which would tell accelerate nothing of FSDP2."""
WRAPPED_MACHINES = (
    ' --machine_rank "$NODE_RANK" --main_process_ip "$MASTER_ADDR" '
    '--main_process_port "$MASTER_PORT"'
)
PACKING = {
    RowsAs.TOKENS: "packing and neat_packing are off, {why}; rows of token ids would not be packed "
    "by them either: to lay short rows end to end export with --rows messages.",
    RowsAs.MESSAGES: "packing and neat_packing are off, {why}; both "
    "true lay short rows end to end, with fewer steps and other figures.",
}
TOKENIZE = """python3 -c 'import sys; from datasets import load_dataset; \
load_dataset("json", data_files={files}).save_to_disk(sys.argv[1])' {folder}
"""
"""LLaMA-Factory reads token ids from a folder saved by ``datasets`` alone."""
REMOTE_CODE = (
    "trust_remote_code is true: ChatTS's published code lies beside its weights and runs on your "
    "machine; look at it before you start."
)


def files(plan: Plan, options: ExportOptions) -> list[ExportFile]:
    """train.yaml, train.sh, requirements.txt; dataset_info.json for dialogues.

    With ZeRO ds_config.json, too.

    Raises:
        TsplannerError: LLaMA-Factory cannot train the plan, or not in this memory.
    """
    architecture = figures.architecture_of(plan)
    _refuse(plan)
    said = sections(plan, options, architecture)
    under = running(plan, architecture)
    notes = [
        *header(plan, options),
        *_limits(architecture),
        *memory.require_room(plan, under, options),
        *_notes(plan, under),
        *figures.rows_notes(plan, options, NAME),
        PACKING[options.rows].format(why=figures.why_unpacked(plan, options)),
        *remarks(plan, options),
    ]
    liger = under.loss_kernel.in_chunks
    found = [
        ExportFile(CONFIG, comments(one_line(notes)) + _text(said)),
        ExportFile("train.sh", script(plan, options, _body(plan, options))),
        ExportFile("requirements.txt", tables.requirements(plan, architecture, liger=liger)),
    ]
    if options.rows is RowsAs.MESSAGES:
        series = architecture.encoder is not None
        found.append(ExportFile(DATASETS, tables.dataset_info(plan, series=series)))
    if plan.hardware.sharding.shards_base:
        found.append(accelerate.configuration(plan, options, header(plan, options), wraps=True))
    if plan.hardware.sharding.zero_stage:
        text = json.dumps(deepspeed.render(plan), indent=2) + "\n"
        found.append(ExportFile(DEEPSPEED, text))
    return found


def remarks(plan: Plan, options: ExportOptions) -> list[str]:
    """Notes for a person before the start of training."""
    return [REMOTE_CODE] if figures.architecture_of(plan).encoder is not None else []


def rows(plan: Plan, folder: Path, rows_as: RowsAs) -> RowsWritten:
    """Write the rows of a plan; raises TsplannerError as `write_rows` does."""
    series = plan.architecture.encoder is not None
    return write_rows(plan, folder, rows_as, dialogues.chatts if series else dialogues.llamafactory)


def room(plan: Plan) -> Room:
    """Whether the plan fits under LLaMA-Factory."""
    return memory.room_under(plan, running(plan, figures.architecture_of(plan)))


def _refuse(plan: Plan) -> None:
    learning, hardware = plan.learning, plan.hardware
    if learning.method.finetuning_type not in METHODS:
        raise TsplannerError(
            f"LLaMA-Factory has no {learning.method.finetuning_type}: plan again with "
            "--finetuning-type lora, dora or rslora, or export torchrun for tsplanner's own worker."
        )
    if hardware.accelerator == "cpu":
        raise TsplannerError(
            "LLaMA-Factory chooses its precision by the GPU: plan again with --gpus, or export "
            "torchrun for tsplanner's own worker."
        )
    if hardware.base.autocast is None and hardware.base.model_dtype is not Dtype.BF16:
        raise TsplannerError(
            f"LLaMA-Factory does not train in plain {hardware.base.model_dtype}: plan again with "
            "--model-dtype bf16."
        )


def _text(said: Mapping[str, dict[str, Any]]) -> str:
    import yaml

    return "".join(
        f"\n# {heading}\n{yaml.safe_dump(values, sort_keys=False, allow_unicode=True)}"
        for heading, values in said.items()
        if values
    )


def _limits(architecture: Architecture) -> list[str]:
    if architecture.encoder is not None:
        return [*tables.FORK_LIMITS, f"The fork: {tables.FORK}"]
    return [tables.UPSTREAM_LIMITS]


def _notes(plan: Plan, under: Running) -> list[str]:
    """Differences between the run and the plan."""
    found = [
        *memory.differences(plan, under),
        *cadence.notes(plan, NAME, ends_early=True),
    ]
    if under.loss_kernel is LossKernel.LIGER:
        found.append(
            f"Loss, norms, rotation and MLP are liger's (enable_liger_kernel), sized as of "
            f"liger-kernel {LIGER_VERSION}."
        )
    elif under.loss_kernel.in_chunks:
        found.append("The fused loss is liger's (enable_liger_kernel): sized as ours, unmeasured.")
    if pure_bf16(plan):
        found.append("pure_bf16: trained weights stay in bf16, as planned, without autocast.")
    if (
        plan.hardware.base.model_dtype is Dtype.FP32
        and plan.learning.method.finetuning_type in TRAINED_WHOLE
    ):
        found.append("Only what is trained is in fp32; frozen weights are in half precision.")
    if sees(under.architecture):
        found.append(
            "It adds an image of 64 x 64 pixels to every batch of text: not in the figure."
        )
    if under.architecture.encoder is not None:
        found.append("cutoff_len counts text tokens alone; rows with series that are longer go.")
        found.append("transformers up to 4.51 leaves out an epoch's last, smaller step.")
        found.append("The weights must keep their model_type, or the encoder gets no LoRA.")
        if under.architecture.positions.rotary_buffer_count:
            size = under.architecture.positions.rotary_buffer_count * 2 / 2**30
            found.append(f"Of it {size:.2f} GiB are rotary caches that its own code keeps.")
        if plan.hardware.sharding.zero_stage == 3:
            found.append("ZeRO-3: ranks wait for ever if one has a batch without any series.")
    return found


def _body(plan: Plan, options: ExportOptions) -> str:
    """The body of train.sh; a plan for one GPU without ZeRO runs without torchrun.

    Under torchrun DDP would wrap the model, and its buckets hold the gradients a second time.
    """
    processes, sharding = processes_per_node(plan, options), plan.hardware.sharding
    lines = [f"export NPROC_PER_NODE={processes}\n"]
    if options.nodes > 1:
        lines.append(SEVERAL_MACHINES.format(nodes=options.nodes))
    words = f"llamafactory-cli train {CONFIG}"
    if sharding.shards_base:
        words = WRAPPED.format(where=WRAPPED_MACHINES if options.nodes > 1 else "")
    elif sharding.world_size > 1 or sharding.zero_stage:
        lines.append("export FORCE_TORCHRUN=1\n")
    lines.append(memory.EXPANDABLE)
    if options.rows is RowsAs.TOKENS:
        files = {"train": TRAIN}
        if figures.held_out_rows(plan):
            files["validation"] = TEST
        folder = TOKENIZED
        if options.nodes > 1:
            # Machines may share the folder, and each writes rows of its own.
            folder = f'"{TOKENIZED}-$NODE_RANK"'
            words += f" tokenized_path={folder}"
        lines.append(TOKENIZE.format(files=json.dumps(files), folder=folder))
    return "".join(lines) + f"exec {words}\n"
