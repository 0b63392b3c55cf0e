"""TRL: the YAML of ``trl sft``, accelerate's configuration, and the form of the rows.

Source of every key: ScriptArguments, SFTConfig and ModelConfig of trl 1.16, whose TrlParser reads
the golden files (tests/exporters/test_parsers.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memory_models.architecture import Architecture
from memory_models.settings import Dtype, FinetuningType, LossKernel, Quantization
from tsplanner.datasets.records import LossOn
from tsplanner.errors import TsplannerError
from tsplanner.exporters import cadence
from tsplanner.exporters.accelerate import export as accelerate
from tsplanner.exporters.accelerate import fsdp
from tsplanner.exporters.launch import ExportFile, ExportOptions, Room, comments, header, one_line
from tsplanner.exporters.launch import script as bash_script
from tsplanner.exporters.rows.form import FOLDER, RowsAs
from tsplanner.exporters.trainers import adapted, figures, memory
from tsplanner.exporters.trainers.memory import Running, attention_under
from tsplanner.planner.plan import Plan

NAME = "TRL"
CONFIG = "trl.yaml"
LIMITS = (
    "trl 1.16: Python >=3.11, transformers >=4.56.2, accelerate >=1.10.1, datasets >=4.7, "
    "peft >=0.13; bitsandbytes >=0.45.1 if quantised, deepspeed >=0.18.6 if sharded."
)
METHODS: Mapping[FinetuningType, dict[str, Any]] = {
    FinetuningType.LORA: {"use_peft": True},
    FinetuningType.RSLORA: {"use_peft": True, "use_rslora": True},
    FinetuningType.DORA: {"use_peft": True, "use_dora": True},
    FinetuningType.FULL: {"use_peft": False},
}
LOSS: Mapping[LossOn, dict[str, Any]] = {
    LossOn.ASSISTANT: {"assistant_only_loss": True},
    LossOn.LAST: {"completion_only_loss": True},
    LossOn.ALL: {"completion_only_loss": False},
}
DTYPES = {Dtype.FP32: "float32", Dtype.BF16: "bfloat16", Dtype.FP16: "float16"}
QUANTIZATION: Mapping[Quantization, dict[str, Any]] = {
    Quantization.INT8: {"load_in_8bit": True},
    Quantization.NF4: {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "use_bnb_nested_quant": False,
    },
    Quantization.NF4_DQ: {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "use_bnb_nested_quant": True,
    },
}


def files(plan: Plan, options: ExportOptions) -> list[ExportFile]:
    """trl.yaml, accelerate.yaml and trl.sh.

    Raises:
        TsplannerError: TRL cannot train the plan, or not in this memory.
    """
    import yaml

    architecture = figures.text_only(plan, NAME)
    if plan.learning.method.finetuning_type not in METHODS:
        raise TsplannerError(
            f"trl sft has no {plan.learning.method.finetuning_type}: plan again with "
            "--finetuning-type lora, dora, rslora or full, or export torchrun for tsplanner's own "
            "worker."
        )
    said = settings(plan, options, architecture)
    under = running(plan, architecture)
    notes = [
        *header(plan, options),
        LIMITS,
        *memory.require_room(plan, under, options),
        *memory.differences(plan, under),
        *cadence.notes(plan, NAME, ends_early=False),
        *figures.rows_notes(plan, options, NAME),
        f"packing and padding_free are off, {figures.why_unpacked(plan, options)}; packing: true "
        "with flash attention lays short rows end to end, with fewer steps and other figures.",
        "Its default loss makes logits in chunks, as tsplanner's fused one does: sized so, not "
        "measured. Leave loss_type out: nll of older versions keeps all logits.",
    ]
    text = yaml.safe_dump(said, sort_keys=False, allow_unicode=True)
    where = accelerate.SEVERAL_MACHINES if options.nodes > 1 else ""
    body = (
        "" if plan.hardware.accelerator == "cpu" else memory.EXPANDABLE
    ) + f"exec trl sft --config {CONFIG}{where}\n"
    return [
        ExportFile(CONFIG, comments(one_line(notes)) + text),
        accelerate.configuration(plan, options, header(plan, options), wraps=True),
        ExportFile("trl.sh", bash_script(plan, options, body)),
    ]


def room(plan: Plan) -> Room:
    """Whether the plan fits under TRL; raises TsplannerError for a model with an encoder."""
    return memory.room_under(plan, running(plan, figures.text_only(plan, NAME)))


def running(plan: Plan, architecture: Architecture) -> Running:
    """How TRL runs the plan: without an upcast of a quantised base, and with a loss in chunks."""
    return Running(
        trainer=NAME,
        architecture=architecture,
        model_dtype=plan.hardware.base.model_dtype,
        autocast=plan.hardware.base.autocast,
        loss_kernel=LossKernel.FUSED,
        upcast_unquantized=False,
    )


def settings(plan: Plan, options: ExportOptions, architecture: Architecture) -> dict[str, Any]:
    """The content of the YAML.

    Raises:
        TsplannerError: the weights are not known.
    """
    hardware, learning = plan.hardware, plan.learning
    checkpointing = hardware.batch.gradient_checkpointing
    found: dict[str, Any] = {
        "model_name_or_path": figures.weights_of(plan, options),
        "dtype": DTYPES[hardware.base.model_dtype],
        "attn_implementation": str(attention_under(plan, architecture)),
        **METHODS[learning.method.finetuning_type],
        **_adapter(plan, architecture),
        **(QUANTIZATION[rounded] if (rounded := figures.rounds_base_to(plan)) is not None else {}),
        **({"bnb_4bit_quant_storage": kind} if (kind := fsdp.storage(plan)) is not None else {}),
        # A bare name that is not there would be loaded from the cache of any folder of that name.
        "dataset_name": f"./{FOLDER}",
        **_loss(plan, options),
        "max_length": learning.data.cutoff_len,
        # No loss_type: TRL's default makes the logits in chunks, which versions before 1.16 called
        # chunked_nll while their nll kept all logits; 1.16 calls it nll.
        "packing": False,
        "padding_free": False,
        "per_device_train_batch_size": hardware.batch.micro_batch_size,
        "gradient_accumulation_steps": hardware.batch.gradient_accumulation_steps,
        "gradient_checkpointing": checkpointing,
        "learning_rate": learning.optimization.learning_rate,
        "num_train_epochs": float(learning.optimization.num_train_epochs),
        "lr_scheduler_type": learning.optimization.lr_scheduler_type,
        "warmup_steps": figures.warmup_steps(plan),
        "weight_decay": learning.optimization.weight_decay,
        "max_grad_norm": learning.optimization.max_grad_norm,
        "optim": str(hardware.kernels.optimizer),
        "seed": learning.seed,
        "data_seed": learning.seed,
        "bf16": hardware.base.autocast is Dtype.BF16,
        "fp16": hardware.base.autocast is Dtype.FP16,
        "output_dir": options.output_dir,
        "logging_steps": 1,
        **cadence.keys(plan),
        "report_to": "none",
        **(cadence.evaluation_keys(plan) or {"eval_strategy": "no"}),
        "per_device_eval_batch_size": 1,
        "accelerate_config": accelerate.CONFIG,
    }
    if checkpointing:
        found["gradient_checkpointing_kwargs"] = {"use_reentrant": False}
    if hardware.accelerator == "cpu":
        found["use_cpu"] = True
    if hardware.sharding.world_size > 1 and not hardware.sharding.shards_base:
        # TRL freezes no tower, and rows of text give it no gradient.
        whole = learning.method.finetuning_type is FinetuningType.FULL
        found["ddp_find_unused_parameters"] = whole and adapted.sees(architecture)
    return found


def _loss(plan: Plan, options: ExportOptions) -> dict[str, Any]:
    """Which tokens of a dialogue carry loss; rows of token ids come with their labels."""
    if options.rows is RowsAs.TOKENS:
        return {}
    return LOSS[plan.learning.data.loss_on]


def _adapter(plan: Plan, architecture: Architecture) -> dict[str, Any]:
    learning = plan.learning
    if learning.method.finetuning_type is FinetuningType.FULL:
        return {}
    targets = adapted.adapter_targets(plan, architecture)
    if isinstance(targets["lora_target_modules"], str):
        # TRL makes a string of a list of one.
        targets["lora_target_modules"] = [targets["lora_target_modules"]]
    return {
        "lora_r": learning.method.lora_rank,
        "lora_alpha": adapted.whole_alpha(plan, NAME),
        "lora_dropout": learning.method.lora_dropout,
        **targets,
        **({"lora_modules_to_save": saved} if (saved := adapted.modules_to_save(plan)) else {}),
    }
