"""axolotl: its YAML, the form of the rows, and the command that starts it under torchrun.

Source of every key: utils/schemas/*.py of axolotl 0.19, whose own schema reads the golden files
(tests/exporters/test_parsers.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from memory_models.architecture import Architecture
from memory_models.settings import Dtype, FinetuningType, LossKernel, Quantization
from memory_models.units import ceil_div
from tsplanner.errors import TsplannerError
from tsplanner.exporters import cadence, deepspeed
from tsplanner.exporters.accelerate import fsdp
from tsplanner.exporters.launch import (
    ExportFile,
    ExportOptions,
    Room,
    comments,
    header,
    one_line,
    processes_per_node,
)
from tsplanner.exporters.launch import script as bash_script
from tsplanner.exporters.rows.form import TEST, TRAIN, RowsAs
from tsplanner.exporters.trainers import adapted, figures, memory
from tsplanner.exporters.trainers.adapted import TRAINED_WHOLE
from tsplanner.exporters.trainers.memory import Running, attention_under
from tsplanner.models.quantized import stored_base
from tsplanner.planner.plan import Plan

NAME = "axolotl"
CONFIG, DEEPSPEED = "axolotl.yaml", "ds_config.json"
LIMITS = (
    "axolotl 0.19: torch >=2.11,<=2.13, transformers 5.16.1, peft 0.20.0, accelerate 1.13.0, "
    "datasets 4.8.4, trl 1.9.0, bitsandbytes 0.50.2; deepspeed >=0.18.6,<0.19 if sharded."
)
METHODS: Mapping[FinetuningType, dict[str, Any]] = {
    FinetuningType.LORA: {},
    FinetuningType.RSLORA: {"peft_use_rslora": True},
    FinetuningType.DORA: {"peft_use_dora": True},
    FinetuningType.FULL: {},
    FinetuningType.FREEZE: {},
}
DEQUANTIZED = {"fp8": "FineGrainedFP8Config", "mxfp4": "Mxfp4Config"}
"""The class of transformers that axolotl dequantises a stored form by."""
QUANTIZATION: Mapping[Quantization, dict[str, Any]] = {
    Quantization.INT8: {"adapter": "lora", "load_in_8bit": True},
    Quantization.NF4: {
        "adapter": "qlora",
        "load_in_4bit": True,
        "bnb_config_kwargs": {"bnb_4bit_use_double_quant": False},
    },
    Quantization.NF4_DQ: {
        "adapter": "qlora",
        "load_in_4bit": True,
        "bnb_config_kwargs": {"bnb_4bit_use_double_quant": True},
    },
}
NO_KERNELS = {"lora_mlp_kernel": False, "lora_qkv_kernel": False, "lora_o_kernel": False}
"""Keys that turn off axolotl's LoRA kernels, which it otherwise uses where it can; a plan with
fused kernels leaves them on."""
KERNELS_OFF = (
    "axolotl's own LoRA kernels are off, as the plan's figures are those of the reference kernels: "
    "leave out the three lora_*_kernel keys to turn them on."
)
TEMPLATE = "tokenizer_default_fallback_chatml"
"""axolotl's name for the tokenizer's chat template, or ChatML for a base model without one."""
LANGUAGE_MODEL = r"language_model\."
"""Part of the names of a language model's parameters beside a vision tower."""
RENDEZVOUS = (
    ' --rdzv-backend c10d --rdzv-id "${RDZV_ID:-tsplanner}" --rdzv-endpoint '
    '"${RDZV_ENDPOINT:?name host:port of the first machine, the same on every machine}"'
)


def files(plan: Plan, options: ExportOptions) -> list[ExportFile]:
    """axolotl.yaml and axolotl.sh; with ZeRO ds_config.json.

    Raises:
        TsplannerError: axolotl cannot train the plan, or not in this memory.
    """
    import yaml

    architecture = figures.text_only(plan, NAME)
    _refuse(plan)
    said = settings(plan, options, architecture)
    under = running(plan, architecture)
    notes = [
        *header(plan, options),
        LIMITS,
        *memory.require_room(plan, under, options),
        *memory.differences(plan, under),
        *cadence.notes(plan, NAME, ends_early=True),
        *figures.rows_notes(plan, options, NAME),
        f"sample_packing is off, {figures.why_unpacked(plan, options)}; sample_packing: true with "
        "flash attention lays short rows end to end, with fewer steps and other figures.",
        *([] if _uses_kernels(plan) else [KERNELS_OFF]),
    ]
    text = yaml.safe_dump(said, sort_keys=False, allow_unicode=True)
    body = f"{memory.EXPANDABLE}exec {_launch(plan, options)}\n"
    found = [
        ExportFile(CONFIG, comments(one_line(notes)) + text),
        ExportFile("axolotl.sh", bash_script(plan, options, body)),
    ]
    if plan.hardware.sharding.zero_stage:
        found.append(ExportFile(DEEPSPEED, json.dumps(deepspeed.render(plan), indent=2) + "\n"))
    return found


def _refuse(plan: Plan) -> None:
    method = plan.learning.method.finetuning_type
    if method not in METHODS:
        raise TsplannerError(
            f"axolotl has no {method}: plan again with --finetuning-type lora, dora or rslora, or "
            "export torchrun for tsplanner's own worker."
        )
    if plan.hardware.accelerator == "cpu":
        raise TsplannerError(
            "axolotl trains on GPUs: plan again with --gpus, or export torchrun for tsplanner's "
            "own worker."
        )


def _launch(plan: Plan, options: ExportOptions) -> str:
    """The launch command; a plan for one GPU without ZeRO runs without torchrun.

    Under torchrun DDP would wrap the model, and its buckets hold the gradients a second time.
    """
    line = f"axolotl train {CONFIG} --launcher"
    if plan.hardware.sharding.world_size == 1 and not plan.hardware.sharding.zero_stage:
        return f"{line} python"
    where = " --standalone" if options.nodes == 1 else f" --nnodes {options.nodes}{RENDEZVOUS}"
    return f"{line} torchrun --{where} --nproc-per-node {processes_per_node(plan, options)}"


def room(plan: Plan) -> Room:
    """Whether the plan fits under axolotl; raises TsplannerError for a model with an encoder."""
    return memory.room_under(plan, running(plan, figures.text_only(plan, NAME)))


def running(plan: Plan, architecture: Architecture) -> Running:
    """How axolotl runs the plan: with the plain loss, and a quantised base without an upcast.

    axolotl calls PEFT's preparation and then casts embeddings, head and norms back to the model's
    dtype. Source: its loaders/model.py (``_configure_embedding_dtypes``).
    """
    return Running(
        trainer=NAME,
        architecture=architecture,
        model_dtype=plan.hardware.base.model_dtype,
        autocast=plan.hardware.base.autocast,
        loss_kernel=LossKernel.PLAIN,
        upcast_unquantized=False,
        pads_to=64,
        dequantizes=frozenset(DEQUANTIZED),
        takes_tokenizer=True,
    )


def settings(plan: Plan, options: ExportOptions, architecture: Architecture) -> dict[str, Any]:
    """The content of the YAML.

    Raises:
        TsplannerError: the weights are not known.
    """
    hardware, learning = plan.hardware, plan.learning
    held_out = figures.held_out_rows(plan)
    return {
        "base_model": figures.weights_of(plan, options),
        **_method(plan, architecture),
        **({"tokenizer_config": plan.model.tokenizer} if plan.model.tokenizer else {}),
        "datasets": [_rows(TRAIN, options)],
        **({"test_datasets": [_rows(TEST, options)]} if held_out else {}),
        **_template(options),
        "dataset_prepared_path": "prepared",
        "sequence_len": learning.data.cutoff_len,
        "excess_length_strategy": "truncate",
        "sample_packing": False,
        "eval_sample_packing": False,
        "pad_to_sequence_len": False,
        "micro_batch_size": hardware.batch.micro_batch_size,
        "gradient_accumulation_steps": hardware.batch.gradient_accumulation_steps,
        "gradient_checkpointing": hardware.batch.gradient_checkpointing,
        **(
            {"gradient_checkpointing_kwargs": {"use_reentrant": False}}
            if hardware.batch.gradient_checkpointing
            else {}
        ),
        "attn_implementation": str(attention_under(plan, architecture)),
        **({} if _uses_kernels(plan) else NO_KERNELS),
        "learning_rate": learning.optimization.learning_rate,
        "num_epochs": learning.optimization.num_train_epochs,
        "lr_scheduler": learning.optimization.lr_scheduler_type,
        "warmup_steps": figures.warmup_steps(plan),
        "weight_decay": learning.optimization.weight_decay,
        "max_grad_norm": learning.optimization.max_grad_norm,
        "optimizer": str(hardware.kernels.optimizer),
        "seed": learning.seed,
        "bf16": hardware.base.autocast is Dtype.BF16,
        "fp16": hardware.base.autocast is Dtype.FP16,
        "output_dir": options.output_dir,
        "logging_steps": 1,
        **cadence.keys(plan),
        **({**cadence.evaluation_keys(plan), "eval_batch_size": 1} if held_out else {}),
        **_early_stopping(plan),
        **({"deepspeed": DEEPSPEED} if hardware.sharding.zero_stage else {}),
        **_joined(plan),
    }


def _joined(plan: Plan) -> dict[str, Any]:
    """What several processes are told of one another without ZeRO."""
    if plan.hardware.sharding.shards_base:
        version = {"fsdp_version": 2}
        return {**version, "fsdp_config": {**version, **fsdp.keys(plan)}, **fsdp.mesh(plan)}
    several = plan.hardware.sharding.world_size > 1
    return {"ddp_find_unused_parameters": False} if several else {}


def _early_stopping(plan: Plan) -> dict[str, Any]:
    """Its early stopping, which needs evaluations by steps and a checkpoint at some of them.

    Source: ``check_early_stopping`` of its utils/schemas/validation.py.
    """
    wanted = plan.learning.cadence
    if wanted.early_stopping_patience is None:
        return {}
    every = wanted.eval_steps or plan.time.steps_per_epoch
    saved = wanted.save_steps or every
    return {
        "early_stopping_patience": wanted.early_stopping_patience,
        "eval_strategy": "steps",
        "eval_steps": every,
        "save_strategy": "steps",
        "save_steps": ceil_div(saved, every) * every,
    }


def _uses_kernels(plan: Plan) -> bool:
    return plan.hardware.kernels.decoder_kernels.is_ours


def _template(options: ExportOptions) -> dict[str, Any]:
    """The template that renders dialogues; rows of token ids are rendered already."""
    if options.rows is RowsAs.TOKENS:
        return {"chat_template": options.template} if options.template else {}
    return {"chat_template": options.template or TEMPLATE, "train_on_inputs": False}


def _rows(file: str, options: ExportOptions) -> dict[str, Any]:
    """The entry for a file of rows.

    Rows of token ids need no type: axolotl takes them as they are. Of dialogues axolotl learns the
    turns that have ``train`` set; the entry names the template again, since by default it is the
    tokenizer's and not the template of the run.
    """
    found = {"path": file, "ds_type": "json", "split": "train"}
    if options.rows is RowsAs.TOKENS:
        return found
    return {
        **found,
        "type": "chat_template",
        "chat_template": options.template or TEMPLATE,
        "field_messages": "messages",
        "message_field_training": "train",
        "roles_to_train": [],
        "train_on_eos": "turn",
    }


def _stored(plan: Plan) -> dict[str, Any]:
    """What axolotl must be told of weights that have to be dequantised."""
    stored = stored_base(plan.model.config)
    if stored is None or stored.method not in DEQUANTIZED:
        return {}
    return {
        "model_quantization_config": DEQUANTIZED[stored.method],
        "model_quantization_config_kwargs": {"dequantize": True},
    }


def _method(plan: Plan, architecture: Architecture) -> dict[str, Any]:
    learning = plan.learning
    method = learning.method.finetuning_type
    if method is FinetuningType.FREEZE:
        last = architecture.num_hidden_layers
        first = last - learning.method.freeze_trainable_layers
        layers = rf"^model\.{LANGUAGE_MODEL if adapted.sees(architecture) else ''}layers\."
        return {"unfrozen_parameters": [rf"{layers}{place}\." for place in range(first, last)]}
    if method in TRAINED_WHOLE:
        if adapted.sees(architecture):
            return {"unfrozen_parameters": [rf"^model\.{LANGUAGE_MODEL}", r"^lm_head\."]}
        return {}
    rounded = figures.rounds_base_to(plan)
    form: dict[str, Any] = {"adapter": "lora"} if rounded is None else {**QUANTIZATION[rounded]}
    if (kind := fsdp.storage(plan)) is not None and "bnb_config_kwargs" in form:
        form["bnb_config_kwargs"] = {**form["bnb_config_kwargs"], "bnb_4bit_quant_storage": kind}
    return {
        **form,
        **_stored(plan),
        "lora_r": learning.method.lora_rank,
        "lora_alpha": adapted.whole_alpha(plan, NAME),
        "lora_dropout": learning.method.lora_dropout,
        **adapted.adapter_targets(plan, architecture),
        **({"lora_modules_to_save": saved} if (saved := adapted.modules_to_save(plan)) else {}),
        **METHODS[method],
    }
