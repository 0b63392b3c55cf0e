"""Rules: what cannot run is refused by name before anything is estimated.

To add one: a name in ``RuleName``, its words in ``sentences.py``, a check, and a row in ``RULES``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter

from memory_models.device import Machine
from memory_models.frozen import frozen
from memory_models.settings import (
    Attention,
    DecoderKernels,
    Dtype,
    FinetuningType,
    Optimizer,
    Quantization,
)
from memory_models.states.expert_adapters import adapted_experts
from tsplanner.install import Extra, install_command
from tsplanner.models.families import NO_FLASH
from tsplanner.models.quantized import stored_base
from tsplanner.planner.devices import used_devices, used_machine
from tsplanner.planner.explain.reasons import Data, Refusal, RuleName
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.settings import HardwareSettings
from tsplanner.planner.space.eight_bit import (
    eight_bit_capability,
    eight_bit_dtype,
    eight_bit_family,
)
from tsplanner.planner.space.fsdp_rules import fsdp_setting
from tsplanner.planner.space.streamed_rules import (
    streamed_family,
    streamed_method,
    streamed_number,
    streamed_processes,
    streamed_setting,
    streamed_vocabulary,
)

Check = Callable[[PlanRequest, HardwareSettings], Data | None]
"""None: the settings pass; else what the rule found, as its sentence names it."""

BITSANDBYTES_OPTIMIZERS = frozenset(
    {Optimizer.ADAMW_BNB_8BIT, Optimizer.PAGED_ADAMW_8BIT, Optimizer.PAGED_ADAMW_32BIT}
)
BF16_CAPABILITY = (8, 0)
"""Compute capability from which a GPU computes in bf16 and runs FlashAttention-2."""


@frozen
class Rule:
    """One thing that cannot run, or that serves nothing."""

    name: RuleName
    check: Check
    about: frozenset[str] = frozenset()
    """The settings that the rule refuses a value of; a person who pinned one reads its refusal."""
    package: bool = False
    """An optional package is missing: worth a word wherever nothing fits."""
    shown: bool = True
    """False: the planner's own pruning, which nobody asked for and nobody has to read."""


def _capability(request: PlanRequest, hardware: HardwareSettings) -> tuple[int, int]:
    """The compute capability that all GPUs used have."""
    return used_machine(request.machine, hardware).capability


def _too_old(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    major, minor = _capability(request, hardware)
    return None if (major, minor) >= BF16_CAPABILITY else {"capability": f"{major}.{minor}"}


def _bf16(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    if hardware.accelerator == "cpu" or Dtype.BF16 not in (
        hardware.base.autocast,
        hardware.base.model_dtype,
    ):
        return None
    return _too_old(request, hardware)


def _flash_capability(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    if hardware.kernels.attention is not Attention.FLASH_ATTENTION_2:
        return None
    return {} if hardware.accelerator == "cpu" else _too_old(request, hardware)


def _compiled_capability(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    if hardware.kernels.decoder_kernels is not DecoderKernels.COMPILED:
        return None
    return {} if hardware.accelerator == "cpu" else _too_old(request, hardware)


def _compiled_package(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    wanted = hardware.kernels.decoder_kernels is DecoderKernels.COMPILED
    return None if not wanted or has_compiler(request.machine) else {}


def has_compiler(machine: Machine) -> bool:
    """Whether Triton is there; builds of PyTorch for CUDA on Linux bring it along."""
    return not machine.detected or "triton" in machine.packages


def _flash_package(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    # No plan takes it unasked: who asks for it on a described machine describes that it is there.
    wanted = hardware.kernels.attention is Attention.FLASH_ATTENTION_2
    here = request.machine.detected and "flash_attn" not in request.machine.packages
    return {} if wanted and here else None


def _flash_family(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    wanted = hardware.kernels.attention is Attention.FLASH_ATTENTION_2
    return {} if wanted and request.architecture.model_type in NO_FLASH else None


def _soft_cap(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    # sdpa has no place for a soft cap of the scores, so it would leave the cap out.
    capped = request.architecture.attention.attn_logit_softcapping
    return {} if capped and hardware.kernels.attention is Attention.SDPA else None


def _eager_only(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    attention = hardware.kernels.attention
    if not request.architecture.attention.eager_only or attention is Attention.EAGER:
        return None
    return {"attention": attention}


def _bitsandbytes(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    optimizer = hardware.kernels.optimizer
    stored = hardware.base.quantization if hardware.base.needs_bitsandbytes else None
    needed = stored or (optimizer if optimizer in BITSANDBYTES_OPTIMIZERS else None)
    if needed is None or "bitsandbytes" in request.machine.packages:
        return None
    return {"setting": needed, "install": install_command(Extra.QUANT)}


def _deepspeed(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    stage = hardware.sharding.zero_stage
    if stage == 0 or "deepspeed" in request.machine.packages:
        return None
    return {"stage": stage, "install": install_command(Extra.DEEPSPEED)}


def _quantized_base(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    method = request.learning.method
    if not method.trains_base:
        return None
    if hardware.base.quantization is None and stored_base(request.model.config) is None:
        return None
    return {"method": method.finetuning_type}


def _quantized_sharding(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    quantization, stage = hardware.base.quantization, hardware.sharding.zero_stage
    # DeepSpeed casts and flattens every parameter that it finds, whatever its bits mean.
    if quantization is not None and quantization.multiplies and stage:
        return {"quantization": quantization, "instead": "zero_stage 0"}
    # What int8 multiplies lies outside its parameters once it is loaded.
    if quantization is Quantization.INT8 and stage == 3:
        return {"quantization": quantization, "instead": "ZeRO-2, nf4"}
    return None


def _packed_zero_3(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    """Another setting that 4-bit weights under ZeRO-3 do not go with."""
    if not hardware.partitions_packed:
        return None
    method, sharding = request.learning.method, hardware.sharding
    # On a CPU PEFT's DoRA puts a new parameter in the place of the packed one that DeepSpeed knows
    # (utils/integrations.py, dequantize_module_weight), so that nothing could be run.
    against = {
        f"--finetuning-type {method.finetuning_type}": method.finetuning_type
        is FinetuningType.DORA,
        "--offload-param on": sharding.offload_param,
        "--offload-optimizer on": sharding.offload_optimizer,
    }
    found = next((flag for flag, holds in against.items() if holds), None)
    return None if found is None else {"setting": found}


def _sharded_experts(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    # PEFT adds A and B to the whole parameter before DeepSpeed's hooks gather its shards.
    if hardware.sharding.zero_stage != 3:
        return None
    return {} if adapted_experts(request.architecture, request.learning.method) else None


def _useless_sharding(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    """ZeRO on one GPU has no other GPU to share with: there it serves only offload, or a pin."""
    sharding = hardware.sharding
    offload = sharding.offload_optimizer or sharding.offload_param
    alone = sharding.world_size == 1 and sharding.zero_stage > 0
    return {} if alone and not offload and "zero_stage" not in request.pins else None


def _useless_offload(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    """An adapter's optimizer states are tens of MiB: only a pin asks for their offload."""
    adapter = request.learning.method.uses_adapter
    pinned = "offload_optimizer" in request.pins
    return {} if adapter and hardware.sharding.offload_optimizer and not pinned else None


def _adalora_sharding(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    # AdaLoRA reallocates LoRA ranks during training, which the fixed shards of ZeRO-3 do not allow.
    adalora = request.learning.method.finetuning_type is FinetuningType.ADALORA
    return {} if adalora and hardware.sharding.zero_stage == 3 else None


def _layer_checkpoints(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    some = hardware.batch.checkpointed_layers is not None
    return {} if some and request.model.trust_remote_code else None


def _devices(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    have = len(request.machine.devices) * request.machine.nodes
    wanted = hardware.sharding.world_size
    if hardware.accelerator == "cpu" or wanted <= have:
        return None
    return {"wanted": wanted, "have": have}


def _mig_slices(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    # A process sees one slice, and NCCL refuses communicators over several slices of one card.
    # Source: NVIDIA's MIG User Guide, "CUDA Visible Devices"; NVIDIA/nccl issues 431 and 1716.
    used = used_devices(request.machine, hardware)
    return {} if len(used) > 1 and any(device.mig for device in used) else None


def _packed_sharding(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    return {} if hardware.batch.is_packed and hardware.sharding.zero_stage else None


def _packed_attention(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    # The worker's attention over rows takes the place of sdpa; FlashAttention-2 has its own way,
    # which was not run.
    attention = hardware.kernels.attention
    packed = hardware.batch.is_packed
    return {"attention": attention} if packed and attention is not Attention.SDPA else None


def _packed_family(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    # Recurrent layers and convolutions would carry one row into the next.
    recorded = request.architecture.layer.recorded or request.model.trust_remote_code
    packed = hardware.batch.is_packed
    return {"model_type": request.model.model_type} if packed and recorded else None


def _packed_capability(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    # Torch's flash attention, which takes rows of any length in one kernel, begins there.
    if hardware.accelerator == "cpu" or not hardware.batch.is_packed:
        return None
    return _too_old(request, hardware)


OFFLOADS = frozenset({"zero_stage", "offload_param", "offload_optimizer"})
QUANTIZATION = frozenset({"quantization", "model_dtype"})
STREAMED = frozenset(
    {"streamed_layers", "inputs_on_device", "passes_together", "stream_from_files"}
)

# The order counts: of several rules that refuse the same settings the first is named, and those
# after ``devices`` may look at the GPUs that the settings use.
RULES = (
    Rule(name=RuleName.DEVICES, check=_devices, about=frozenset({"world_size"})),
    Rule(name=RuleName.MIG_SLICES, check=_mig_slices, about=frozenset({"world_size"})),
    Rule(name=RuleName.STREAMED_METHOD, check=streamed_method, about=STREAMED),
    Rule(name=RuleName.STREAMED_VOCABULARY, check=streamed_vocabulary, about=STREAMED),
    Rule(name=RuleName.STREAMED_SETTING, check=streamed_setting, about=STREAMED),
    Rule(name=RuleName.STREAMED_FAMILY, check=streamed_family, about=STREAMED),
    Rule(name=RuleName.STREAMED_NUMBER, check=streamed_number, about=STREAMED),
    Rule(name=RuleName.STREAMED_PROCESSES, check=streamed_processes, about=STREAMED),
    Rule(name=RuleName.FSDP_SETTING, check=fsdp_setting, about=frozenset({"fsdp"})),
    Rule(name=RuleName.EIGHT_BIT_CAPABILITY, check=eight_bit_capability, about=QUANTIZATION),
    Rule(name=RuleName.EIGHT_BIT_DTYPE, check=eight_bit_dtype, about=QUANTIZATION),
    Rule(name=RuleName.EIGHT_BIT_FAMILY, check=eight_bit_family, about=QUANTIZATION),
    Rule(name=RuleName.BF16, check=_bf16, about=frozenset({"model_dtype"})),
    Rule(
        name=RuleName.FLASH_ATTENTION_CAPABILITY,
        check=_flash_capability,
        about=frozenset({"attention"}),
    ),
    Rule(
        name=RuleName.FLASH_ATTENTION_PACKAGE, check=_flash_package, about=frozenset({"attention"})
    ),
    Rule(name=RuleName.FLASH_ATTENTION_FAMILY, check=_flash_family, about=frozenset({"attention"})),
    Rule(
        name=RuleName.COMPILED_CAPABILITY,
        check=_compiled_capability,
        about=frozenset({"decoder_kernels"}),
    ),
    Rule(
        name=RuleName.COMPILED_PACKAGE,
        check=_compiled_package,
        about=frozenset({"decoder_kernels"}),
        package=True,
    ),
    Rule(name=RuleName.ATTENTION_SOFT_CAP, check=_soft_cap, about=frozenset({"attention"})),
    Rule(name=RuleName.EAGER_ONLY, check=_eager_only, about=frozenset({"attention"})),
    Rule(
        name=RuleName.BITSANDBYTES,
        check=_bitsandbytes,
        about=frozenset({"quantization", "optimizer"}),
        package=True,
    ),
    Rule(name=RuleName.DEEPSPEED, check=_deepspeed, about=OFFLOADS, package=True),
    Rule(name=RuleName.QUANTIZED_BASE, check=_quantized_base, about=frozenset({"quantization"})),
    Rule(name=RuleName.QUANTIZED_SHARDING, check=_quantized_sharding, about=OFFLOADS),
    Rule(
        name=RuleName.PACKED_ZERO_3,
        check=_packed_zero_3,
        about=frozenset({"offload_param", "offload_optimizer"}),
    ),
    Rule(name=RuleName.SHARDED_EXPERTS, check=_sharded_experts, about=OFFLOADS),
    Rule(name=RuleName.USELESS_SHARDING, check=_useless_sharding, shown=False),
    Rule(name=RuleName.USELESS_OFFLOAD, check=_useless_offload, shown=False),
    Rule(name=RuleName.ADALORA_SHARDING, check=_adalora_sharding, about=OFFLOADS),
    Rule(
        name=RuleName.LAYER_CHECKPOINTS,
        check=_layer_checkpoints,
        about=frozenset({"checkpointed_layers"}),
    ),
    Rule(name=RuleName.PACKED_SHARDING, check=_packed_sharding, about=frozenset({"token_budget"})),
    Rule(
        name=RuleName.PACKED_ATTENTION, check=_packed_attention, about=frozenset({"token_budget"})
    ),
    Rule(name=RuleName.PACKED_FAMILY, check=_packed_family, about=frozenset({"token_budget"})),
    Rule(
        name=RuleName.PACKED_CAPABILITY, check=_packed_capability, about=frozenset({"token_budget"})
    ),
)
SHOWN = frozenset(rule.name for rule in RULES if rule.shown)
"""Rules whose refusals a program reads; a person reads fewer (`asked_for`)."""


without_rows = attrgetter(
    *("accelerator", "devices", "base", "kernels", "sharding", "streaming"),
    *("batch.gradient_checkpointing", "batch.checkpointed_layers", "batch.is_packed"),
)
"""What the rules look at: candidates that differ in the rows of a pass alone are refused alike."""


def refusal(request: PlanRequest, hardware: HardwareSettings) -> Refusal | None:
    """The refusal by the first rule that refuses these settings; None: no rule does."""
    return next(_refusals(request, hardware), None)


def _refusals(request: PlanRequest, hardware: HardwareSettings) -> Iterator[Refusal]:
    """The refusals of all rules; only the first of GPUs that the machine does not have."""
    for rule in RULES:
        data = rule.check(request, hardware)
        if data is not None:
            yield Refusal(rule=rule.name, hardware=hardware, data=data)
            if rule.name is RuleName.DEVICES:
                return


def deciding(request: PlanRequest, refused: Iterable[HardwareSettings]) -> tuple[Refusal, ...]:
    """Why there is no plan: the refusals that close every branch, else one per rule.

    A rule that refuses all candidates is decisive; one that closes a branch only sends a person
    the wrong way.
    """
    every: set[RuleName] | None = None
    found: dict[RuleName, Refusal] = {}
    for hardware in refused:
        refusals = {each.rule: each for each in _refusals(request, hardware)}
        found = refusals | found
        every = {*refusals} if every is None else every & {*refusals}
    order = [rule.name for rule in RULES if rule.name in (every or found)]
    return tuple(found[name] for name in order)


def asked_for(
    request: PlanRequest, refusals: Iterable[Refusal], *, packages: bool = False
) -> list[Refusal]:
    """The refusals of what the user pinned, and on demand of packages that are missing."""
    rules = {rule.name: rule for rule in RULES}
    return [
        refused
        for refused in refusals
        if any(name in request.pins for name in rules[refused.rule].about)
        or (packages and rules[refused.rule].package)
    ]
