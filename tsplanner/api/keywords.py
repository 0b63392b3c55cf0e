"""Keywords of the API's calls, for editors and type checkers.

Written by tests/support/keywords.py: the verbs' parsers are what counts, which a test compares.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TypedDict


class PlanKeywords(TypedDict, total=False):
    """Of ``tsplanner.plan``."""

    model: str | None
    dataset: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None
    columns: str | Mapping[str, str] | None
    tokenizer: str | os.PathLike[str] | None
    on_bad_rows: str | None
    gpus: str | Sequence[str] | None
    device: str | Sequence[str] | None
    machine: str | None
    host_memory: str | float | None
    nodes: int | None
    node_link: float | None
    cpu: bool
    finetuning_type: str | None
    lora_rank: int | None
    lora_alpha: float | None
    lora_dropout: float | None
    lora_target: str | Sequence[str] | None
    modules_to_save: str | Sequence[str] | None
    rank_pattern: str | Mapping[str, int] | None
    alpha_pattern: str | Mapping[str, float] | None
    adalora_init_rank: int | None
    freeze_trainable_layers: int | None
    learning_rate: float | None
    timeseries_lr: float | None
    warmup_ratio: float | None
    warmup_steps: int | None
    weight_decay: float | None
    max_grad_norm: float | None
    neftune_noise_alpha: float | None
    epochs: float | None
    max_steps: int | None
    effective_batch: int | None
    cutoff_len: int | None
    sequence_length: int | None
    validation_fraction: float | None
    eval_steps: int | None
    save_steps: int | None
    early_stopping_patience: int | None
    seed: int | None
    lr_scheduler_type: str | None
    loss_on: str | None
    world_size: int | None
    micro_batch_size: int | None
    token_budget: str | None
    gradient_checkpointing: bool | None
    checkpointed_layers: int | str | None
    attention: str | None
    loss_kernel: str | None
    optimizer: str | None
    kernels: str | None
    model_dtype: str | None
    quantization: str | None
    upcast_unquantized: bool | None
    zero_stage: int | None
    fsdp: bool | None
    fsdp_per_host: bool | None
    offload_optimizer: bool | None
    offload_param: bool | None
    streamed_layers: int | Sequence[int] | None
    inputs_on_device: int | str | None
    stream_from_files: bool | None
    passes_together: int | None
    deepspeed: str | os.PathLike[str] | None
    allow_rounding: bool
    cpu_threads: int | None
    no_corrections: bool
    trust_remote_code: bool
    saves: str | os.PathLike[str] | None
    price_per_hour: float | None


class EstimateKeywords(TypedDict, total=False):
    """Of ``tsplanner.estimate``."""

    model: str | None
    finetuning_type: str | None
    lora_rank: int | None
    lora_dropout: float | None
    lora_target: str | Sequence[str] | None
    adalora_init_rank: int | None
    freeze_trainable_layers: int | None
    modules_to_save: str | Sequence[str] | None
    rank_pattern: str | Mapping[str, int] | None
    model_dtype: str | None
    autocast: str | None
    quantization: str | None
    upcast_unquantized: bool | None
    attention: str | None
    loss_kernel: str | None
    optimizer: str | None
    kernels: str | None
    expandable_segments: bool | None
    world_size: int | None
    nodes: int | None
    zero_stage: int | None
    offload_optimizer: bool | None
    offload_param: bool | None
    fsdp: bool | None
    fsdp_per_host: bool | None
    fsdp_whole_model: bool | None
    deepspeed: str | None
    micro_batch_size: int | None
    gradient_accumulation_steps: int | None
    gradient_checkpointing: bool | None
    checkpointed_layers: int | None
    token_budget: int | None
    streamed_layers: int | Sequence[int] | None
    inputs_on_device: int | str | None
    stream_from_files: bool | None
    passes_together: int | None
    cutoff_len: int | None
    sequence_length: int | None
    series_patches: int | None
    row_length: float | None
    gpus: str | Sequence[str] | None
    device: str | Sequence[str] | None
    recipe: str | None
    trace: bool
    hybrid_kernels: str | None
    trust_remote_code: bool


class ProbeKeywords(TypedDict, total=False):
    """Of ``tsplanner.Plan.probe``."""

    steps: int | None
    time_limit: str | float | None
    force: bool
    trust_remote_code: bool


class ExportKeywords(TypedDict, total=False):
    """Of ``tsplanner.Plan.export``."""

    output: str | os.PathLike[str] | None
    nodes: int | None
    run_folder: str | os.PathLike[str] | None
    time_limit: str | float | None
    command: str | None
    random_weights: bool
    weights: str | os.PathLike[str] | None
    template: str | None
    rows: str | None
    force: bool
