"""Reasons of the planner as data: enums, and the values that belong to them.

The planner decides by these, plan.json holds them, and ``sentences.py`` turns them into words.
Nothing here is a sentence, so nothing in the planner ever has to read one.
"""

from __future__ import annotations

from dataclasses import field
from enum import StrEnum

from memory_models.frozen import frozen
from tsplanner.planner.settings import HardwareSettings

Data = dict[str, str | int | float]
"""The values that a sentence names, by the names of its placeholders."""


class MemoryKind(StrEnum):
    """Which memory a plan is too large for."""

    GPU = "gpu"
    HOST = "host"
    DEVICE = "device"
    """The memory that the plan was judged by: a GPU's, or the host's on a CPU."""


class RoundedPart(StrEnum):
    """What hardware settings round, and so change what is learned."""

    BASE_4_BIT = "base_4_bit"
    BASE_8_BIT = "base_8_bit"
    PRODUCTS_8_BIT = "products_8_bit"
    STATES = "states"


class StreamSource(StrEnum):
    """Where streamed layers wait."""

    HOST = "host"
    FILES = "files"


class LinkBasis(StrEnum):
    """Where the rate of a link to the host comes from."""

    MEASURED = "measured"
    STATED = "stated"
    """The datasheet of the card's slot."""
    NOT_KNOWN = "not_known"


class Reason(StrEnum):
    """Why a candidate is tight, does not fit, or is not the first."""

    CHOSEN = "chosen"
    TIGHT = "tight"
    TIGHT_AS_MEASURED = "tight_as_measured"
    OVER = "over"
    OVER_AS_PROBED = "over_as_probed"
    OUT_OF_MEMORY = "out_of_memory"
    OUT_OF_HOST_MEMORY = "out_of_host_memory"
    PROBE_FAILED = "probe_failed"
    LARGER_THAN_FAILED = "larger_than_failed"
    SIMILAR_FAILED = "similar_failed"
    SLOWER = "slower"
    QUANTIZED = "quantized"
    ROUNDED_PRODUCTS = "rounded_products"
    ROUNDED_STATES = "rounded_states"
    MORE_MEMORY = "more_memory"
    MORE_COMPLEX = "more_complex"
    SMALLER_BATCHES = "smaller_batches"


class RuleName(StrEnum):
    """Names of the rules that refuse what cannot run; people read the names beside the reasons."""

    DEVICES = "devices"
    BF16 = "bf16"
    FLASH_ATTENTION_CAPABILITY = "flash-attention-capability"
    FLASH_ATTENTION_PACKAGE = "flash-attention-package"
    FLASH_ATTENTION_FAMILY = "flash-attention-family"
    FLEX_ATTENTION_CAPABILITY = "flex-attention-capability"
    FLEX_ATTENTION_PACKAGE = "flex-attention-package"
    FLEX_ATTENTION_FAMILY = "flex-attention-family"
    COMPILED_CAPABILITY = "compiled-capability"
    COMPILED_PACKAGE = "compiled-package"
    ATTENTION_SOFT_CAP = "attention-soft-cap"
    EAGER_ONLY = "eager-only"
    BITSANDBYTES = "bitsandbytes"
    DEEPSPEED = "deepspeed"
    QUANTIZED_BASE = "quantized-base"
    QUANTIZED_SHARDING = "quantized-sharding"
    PACKED_ZERO_3 = "packed-zero-3"
    SHARDED_EXPERTS = "sharded-experts"
    USELESS_SHARDING = "useless-sharding"
    USELESS_OFFLOAD = "useless-offload"
    ADALORA_SHARDING = "adalora-sharding"
    LAYER_CHECKPOINTS = "layer-checkpoints"
    MIG_SLICES = "mig-slices"
    EIGHT_BIT_CAPABILITY = "eight-bit-capability"
    EIGHT_BIT_DTYPE = "eight-bit-dtype"
    EIGHT_BIT_FAMILY = "eight-bit-family"
    STREAMED_METHOD = "streamed-method"
    STREAMED_VOCABULARY = "streamed-vocabulary"
    STREAMED_SETTING = "streamed-setting"
    STREAMED_FAMILY = "streamed-family"
    STREAMED_NUMBER = "streamed-number"
    STREAMED_PROCESSES = "streamed-processes"
    FSDP_SETTING = "fsdp-setting"
    PACKED_SHARDING = "packed-sharding"
    PACKED_ATTENTION = "packed-attention"
    PACKED_FAMILY = "packed-family"
    PACKED_CAPABILITY = "packed-capability"


class ChangeKind(StrEnum):
    """Single changes of a request that can make a plan fit."""

    NO_PINS = "no_pins"
    SHORTER_SEQUENCES = "shorter_sequences"
    LORA = "lora"
    LORA_ON_NF4 = "lora_on_nf4"
    MORE_GPUS = "more_gpus"
    MORE_RAM = "more_ram"
    MORE_HOST_RAM = "more_host_ram"
    LARGER_GPU = "larger_gpu"
    LARGER_GPUS = "larger_gpus"
    STATE_HOST_RAM = "state_host_ram"
    MORE_MACHINES = "more_machines"


class AdviceRule(StrEnum):
    """Rules of thumb behind suggested learning settings."""

    EPOCHS_BY_ROWS = "epochs_by_rows"
    LARGEST_RANK = "largest_rank"
    RATE_EXTRAPOLATED = "rate_extrapolated"
    RATE_SMALL_MODEL = "rate_small_model"
    RATE_LARGE_MODEL = "rate_large_model"
    RATE_WITHOUT_ADAPTER = "rate_without_adapter"
    RATE_SHORT_RUN = "rate_short_run"


class NoPlan(StrEnum):
    """Why there is no plan at all."""

    REFUSED = "refused"
    CANNOT_RUN = "cannot_run"
    NEEDS_GPU = "needs_gpu"
    EFFECTIVE_BATCH = "effective_batch"
    PIN_LEFT_ALONE = "pin_left_alone"
    PINS_EXCLUDE_EACH_OTHER = "pins_exclude_each_other"
    NOTHING_FITS = "nothing_fits"
    NO_HOST_FITS = "no_host_fits"
    ALL_PROBES_FAILED = "all_probes_failed"


class Obstacle(StrEnum):
    """What keeps a trial from sharing its base with other trials."""

    METHOD = "method"
    NO_FORMULA = "no_formula"
    EXPERTS = "experts"
    OWN_SHAPES = "own_shapes"
    LORA_DROPOUT = "lora_dropout"
    BASE_DROPOUT = "base_dropout"
    LM_HEAD = "lm_head"
    INT8 = "int8"
    NEFTUNE = "neftune"
    SCHEDULE = "schedule"
    WORLD_SIZE = "world_size"
    ZERO = "zero"
    STREAMED = "streamed"
    BATCH_SIZE = "batch_size"


class AloneReason(StrEnum):
    """Why trials do not share a base though they could."""

    ONE_TRIAL = "one_trial"
    NO_ROOM = "no_room"
    GPU_BUSY = "gpu_busy"


@frozen
class Explanation:
    """Why a candidate is not the chosen plan, or why the plan is tight."""

    reason: Reason
    data: Data = field(default_factory=dict)


@frozen
class Refusal:
    """Hardware settings that a rule refuses."""

    rule: RuleName
    hardware: HardwareSettings
    data: Data = field(default_factory=dict)
    """What the rule found, as its sentence names it."""


class RemarkKind(StrEnum):
    """What a person should know of a plan before starting it."""

    HOST_ASSUMED = "host_assumed"
    STORED_QUANTIZED = "stored_quantized"
    STORED_DEQUANTIZED = "stored_dequantized"
    ROUNDED_TO_FIT = "rounded_to_fit"
    ROUNDED_FOR_SPEED = "rounded_for_speed"
    ROUNDED_AS_ASKED = "rounded_as_asked"
    FASTER_ROUNDED = "faster_rounded"
    FEWER_GPUS = "fewer_gpus"
    FEWER_GPUS_BY_BATCH = "fewer_gpus_by_batch"
    FEWER_GPUS_AS_ASKED = "fewer_gpus_as_asked"
    SEVERAL_MACHINES = "several_machines"
    FP16_OVERFLOWS = "fp16_overflows"
    FP16_GRADIENTS = "fp16_gradients"
    PURE_BF16 = "pure_bf16"
    LONG_POSITIONS = "long_positions"
    FLASH_ASSUMED = "flash_assumed"
    HIGH_RATE = "high_rate"
    FEW_ROWS = "few_rows"
    STREAMED = "streamed"
    STREAMED_WAITS = "streamed_waits"
    STREAMED_GPU = "streamed_gpu"
    STREAMED_INPUTS = "streamed_inputs"
    PACKED = "packed"
    PACKED_TOGETHER = "packed_together"
    PADDED = "padded"
    FROZEN_EXPERTS = "frozen_experts"
    PEFT_ADAPTS_EXPERTS = "peft_adapts_experts"
    EXPERTS_STAY_FROZEN = "experts_stay_frozen"
    EXPERTS_NOT_QUANTIZED = "experts_not_quantized"
    EXPERTS_UPCAST = "experts_upcast"
    QUANTIZING_SPARES_EXPERTS = "quantizing_spares_experts"


@frozen
class Remark:
    """One thing to know of a plan, with what its sentence names."""

    kind: RemarkKind
    data: Data = field(default_factory=dict)
    hardware: HardwareSettings | None = None
    """Other settings that the plan is compared with; None: none."""
    why: Explanation | Refusal | None = None
    """Why those other settings are not the plan's."""


@frozen
class AppliedRule:
    """A rule of thumb with the values that it was applied to."""

    rule: AdviceRule
    data: Data = field(default_factory=dict)
