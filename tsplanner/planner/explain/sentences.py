"""The words of the planner: every reason as a sentence, in English or in Chinese."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

from memory_models.settings import BatchLayout, Dtype, LossKernel
from memory_models.units import GIB
from tsplanner import wording
from tsplanner.planner.explain.multi_lora_templates import Words
from tsplanner.planner.explain.reasons import (
    AppliedRule,
    Data,
    Explanation,
    NoPlan,
    Refusal,
    Remark,
)
from tsplanner.planner.explain.templates import (
    COMMA,
    CPU_RULES,
    SEMICOLON,
    TABLES,
    VALUES,
    Phrase,
)
from tsplanner.planner.request import Pins
from tsplanner.planner.settings import HardwareSettings
from tsplanner.planner.space.rules import BITSANDBYTES_OPTIMIZERS

ENGLISH = "en"
CHINESE = "zh-CN"
LANGUAGES = (ENGLISH, CHINESE)
"""Codes of the languages, in the order of the columns of every table of templates."""


def sentence(kind: StrEnum, data: Data | None = None, language: str = ENGLISH) -> str:
    """The words of an enum's member, with the data in the places of its template.

    Raises:
        KeyError: a member of an enum without a table, or data that lack a name of the template.
    """
    # Members of two enums are equal if their values are, so every enum has a table of its own.
    return filled(TABLES[type(kind)][kind], data or {}, language)


def filled(words: Words, data: Data, language: str = ENGLISH) -> str:
    """A template in a language, with the data in its places."""
    column = LANGUAGES.index(language)
    values = {name: _in_words(name, value, column) for name, value in data.items()}
    return wording.filled(words[column], values)


def _in_words(name: str, value: str | int | float, column: int) -> str | int | float:
    # Values that were read from JSON are plain strings, which equal the members of a StrEnum.
    words = VALUES.get(name, {})
    return words[value][column] if value in words else value


def explanation_sentence(explanation: Explanation | None, language: str = ENGLISH) -> str:
    """Why a candidate is not the plan; empty where there is nothing to explain."""
    if explanation is None:
        return ""
    return sentence(explanation.reason, explanation.data, language)


def refusal_sentence(refusal: Refusal, language: str = ENGLISH) -> str:
    """Why a rule refuses settings."""
    on_cpu = refusal.hardware.accelerator == "cpu"
    if on_cpu and refusal.rule in CPU_RULES:
        return filled(CPU_RULES[refusal.rule], refusal.data, language)
    return sentence(refusal.rule, refusal.data, language)


def remark_sentence(remark: Remark, language: str = ENGLISH) -> str:
    """What a person should know of a plan."""
    data = dict(remark.data)
    if remark.hardware is not None:
        data["setting"] = describe(remark.hardware, language)
    if isinstance(remark.why, Refusal):
        data["why"] = refusal_sentence(remark.why, language)
    elif remark.why is not None:
        data["why"] = explanation_sentence(remark.why, language)
    return sentence(remark.kind, data, language)


def advice_sentence(rules: Iterable[AppliedRule], language: str = ENGLISH) -> str:
    """The rules of thumb behind a suggested setting, one after the other."""
    words = [sentence(applied.rule, applied.data, language) for applied in rules]
    return SEMICOLON[LANGUAGES.index(language)].join(words)


def nothing_fits_sentence(
    hardware: HardwareSettings,
    needs_bytes: int,
    free_bytes: int,
    language: str = ENGLISH,
    *,
    of_host: bool = False,
) -> str:
    """What the smallest plan needs, beside what is free of the same memory.

    ``of_host``: that memory is the RAM beside the GPUs.
    """
    data: Data = {
        "setting": describe(hardware, language),
        "needs": needs_bytes / GIB,
        "free": free_bytes / GIB,
    }
    return sentence(NoPlan.NO_HOST_FITS if of_host else NoPlan.NOTHING_FITS, data, language)


FLAG_OF_SETTING = {"decoder_kernels": "kernels"}
"""Settings whose flag has another name."""
ALL_IF_NONE = ("checkpointed_layers", "inputs_on_device")
"""Settings whose flag takes ``all`` where the setting is None."""


def pin_words(pins: Pins, names: Sequence[str]) -> str:
    """Pinned settings as they were typed, for example ``--zero-stage 2 and --offload-param on``."""
    words = []
    for name in names:
        value = pins.get(name)
        nothing = "all" if name in ALL_IF_NONE else "none"
        shown = {True: "on", False: "off", None: nothing}.get(value, value)
        if isinstance(value, tuple):
            shown = ",".join(map(str, value))
        # 1 and 0 equal True and False, and are numbers all the same.
        shown = value if isinstance(value, int) and not isinstance(value, bool) else shown
        words.append(f"--{FLAG_OF_SETTING.get(name, name).replace('_', '-')} {shown}")
    return " and ".join(words)


def describe(
    hardware: HardwareSettings, language: str = ENGLISH, *, trains_base: bool = False
) -> str:
    """The settings that set a family of plans apart, in a few words.

    ``trains_base``: the base is trained, so whether bf16 weights have fp32 copies is said as well.
    """
    words = [str(hardware.base.quantization or hardware.base.model_dtype)]
    if trains_base and hardware.base.model_dtype is Dtype.BF16:
        kind = Phrase.PURE_BF16 if hardware.is_pure_bf16 else Phrase.BF16_MASTERS
        words = [sentence(kind, None, language)]
    words.append(_placement(hardware, language))
    if hardware.kernels.optimizer in BITSANDBYTES_OPTIMIZERS:
        words.append(str(hardware.kernels.optimizer))
    return " · ".join(words)


def _placement(hardware: HardwareSettings, language: str) -> str:
    """Where the model is trained, and how several GPUs share it."""
    sharding = hardware.sharding
    if hardware.accelerator == "cpu":
        return sentence(Phrase.CPU, None, language) + _streamed(hardware, language)
    if sharding.zero_stage:
        data: Data = {"stage": sharding.zero_stage, "world_size": sharding.world_size}
        words = sentence(Phrase.ZERO, data, language) + _machines(hardware, language)
        return words + _offload(hardware, language)
    if sharding.world_size > 1:
        if sharding.shards_base and sharding.fsdp_per_host:
            copies: Data = {"slices": sharding.slices, "nodes": sharding.nodes}
            return sentence(Phrase.FSDP_PER_HOST, copies, language)
        ddp: Data = {"world_size": sharding.world_size}
        kind = Phrase.FSDP if sharding.shards_base else Phrase.DDP
        words = sentence(kind, ddp, language) + _machines(hardware, language)
        return words + _streamed(hardware, language)
    return sentence(Phrase.ONE_GPU, None, language) + _streamed(hardware, language)


def _machines(hardware: HardwareSettings, language: str) -> str:
    nodes = hardware.sharding.nodes
    return sentence(Phrase.ON_MACHINES, {"nodes": nodes}, language) if nodes > 1 else ""


def _streamed(hardware: HardwareSettings, language: str) -> str:
    streaming = hardware.streaming
    if not streaming.streams:
        return ""
    phrase = Phrase.STREAMED_FROM_FILES if streaming.stream_from_files else Phrase.STREAMED
    return sentence(phrase, {"layers": streaming.shown}, language)


def _offload(hardware: HardwareSettings, language: str) -> str:
    param, optimizer = hardware.sharding.offload_param, hardware.sharding.offload_optimizer
    if not (param or optimizer):
        return ""
    if param and optimizer:
        return sentence(Phrase.BOTH_OFFLOADS, None, language)
    return sentence(Phrase.PARAM_OFFLOAD if param else Phrase.OPTIMIZER_OFFLOAD, None, language)


def checkpoint_words(
    hardware: HardwareSettings, layers: int | None = None, language: str = ENGLISH
) -> str:
    """Which layers are checkpointed; ``layers``: the number of layers of the model."""
    batch = hardware.batch
    if not batch.gradient_checkpointing:
        return sentence(Phrase.CHECKPOINTING_OFF, None, language)
    if hardware.streaming.streams:
        return _inputs_of_streamed(hardware, language)
    if batch.checkpointed_layers is None:
        return sentence(Phrase.CHECKPOINTING_ON, None, language)
    data: Data = {"layers": batch.checkpointed_layers}
    if layers is None:
        return sentence(Phrase.CHECKPOINTED_LAYERS, data, language)
    return sentence(Phrase.CHECKPOINTED_LAYERS_OF, data | {"total": layers}, language)


def _inputs_of_streamed(hardware: HardwareSettings, language: str) -> str:
    """Where the inputs of streamed layers wait, and of how many passes."""
    kept = hardware.streaming.inputs_on_device
    phrase = Phrase.SOME_HOST_CHECKPOINTS if kept else Phrase.HOST_CHECKPOINTS
    phrase = Phrase.CHECKPOINTING_ON if kept is None else phrase
    words = sentence(phrase, {"layers": kept or 0}, language)
    passes = hardware.streaming.passes_together
    if passes is None:
        return words
    return words + sentence(Phrase.PASSES_TOGETHER, {"passes": passes}, language)


def difference_words(
    hardware: HardwareSettings,
    chosen: HardwareSettings,
    language: str = ENGLISH,
    *,
    trains_base: bool = False,
) -> str:
    """What sets hardware settings apart from those of the chosen plan, in a few words."""
    words = [describe(hardware, language, trains_base=trains_base)]
    if words[0] == describe(chosen, language, trains_base=trains_base):
        words = [sentence(Phrase.THE_SAME, None, language)]
    words += _layout_difference(hardware.batch, chosen.batch, language)
    checkpoints = checkpoint_words(hardware, None, language)
    if checkpoints != checkpoint_words(chosen, None, language):
        words.append(checkpoints)
    if hardware.kernels.loss_kernel != chosen.kernels.loss_kernel:
        fused = hardware.kernels.loss_kernel is LossKernel.FUSED
        words.append(sentence(Phrase.FUSED_LOSS if fused else Phrase.PLAIN_LOSS, None, language))
    if hardware.kernels.attention != chosen.kernels.attention:
        words.append(hardware.kernels.attention)
    return COMMA[LANGUAGES.index(language)].join(words)


def layout_words(batch: BatchLayout, language: str = ENGLISH) -> str:
    """How rows go through the model."""
    if batch.token_budget is not None:
        return sentence(Phrase.PACKED, {"budget": batch.token_budget}, language)
    return sentence(Phrase.MICRO_BATCH, {"size": batch.micro_batch_size}, language)


def _layout_difference(batch: BatchLayout, chosen: BatchLayout, language: str) -> list[str]:
    """How rows go through the model, if not as in the chosen plan."""
    size = batch.micro_batch_size
    if (batch.token_budget, size) == (chosen.token_budget, chosen.micro_batch_size):
        return []
    if chosen.is_packed and not batch.is_packed:
        return [sentence(Phrase.PADDED, {"size": size}, language)]
    return [layout_words(batch, language)]
