"""What a person should know of a plan before starting it. Pure.

A remark says what decided a plan though nobody asked for it (an assumed host, a rounded base,
GPUs that idle), or what may go wrong with it. To add one: a member of ``RemarkKind``, its words in
``remark_templates.py``, and a function in ``REMARKS``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import ceil

from memory_models.frozen import frozen
from memory_models.settings import Attention, Dtype, Optimizer
from memory_models.states.weights import weight_bytes
from memory_models.units import GIB
from tsplanner.models.families import FP16_TROUBLE, Trouble
from tsplanner.models.quantized import StoredBase, stored_base
from tsplanner.planner.advice import default_learning_rate
from tsplanner.planner.compare import best_of, outranks, ranked
from tsplanner.planner.evaluate import Evaluated, Shortage, lacks_host_memory, shortage
from tsplanner.planner.explain.expert_remarks import expert_remarks, too_large_experts
from tsplanner.planner.explain.padding_remarks import padding_remarks
from tsplanner.planner.explain.reasons import (
    Data,
    MemoryKind,
    Refusal,
    Remark,
    RemarkKind,
    RoundedPart,
)
from tsplanner.planner.explain.streamed_remarks import streamed_remarks
from tsplanner.planner.explain.suggestions import stated_gib
from tsplanner.planner.plan import Verdict
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.settings import HardwareSettings
from tsplanner.planner.space.pareto import quality_risk

WORTH_ROUNDING = 1.1
"""A rounded plan is worth a remark if it is at least this many times as fast."""
WITHOUT_ROUNDING = {
    RoundedPart.BASE_4_BIT: "--quantization none",
    RoundedPart.BASE_8_BIT: "--quantization none",
    RoundedPart.PRODUCTS_8_BIT: "--quantization none",
    RoundedPart.STATES: f"--optimizer {Optimizer.ADAMW_TORCH}",
}
"""The flag that keeps whole what a plan rounds."""
FAR_ABOVE = 30.0
"""A rate that many times the usual one deserves a word; adapters of tiny models take ten."""
EXAMPLE_HOST_GIB = 64
"""Size that is written as an example where the need is smaller."""


@frozen
class Chosen:
    """A chosen plan beside everything that it was chosen from."""

    request: PlanRequest
    best: Evaluated
    evaluated: Sequence[Evaluated]
    refusals: tuple[Refusal, ...]

    @property
    def hardware(self) -> HardwareSettings:
        """The settings of the chosen plan."""
        return self.best.hardware

    @property
    def usable(self) -> list[Evaluated]:
        """The candidates that may run."""
        return [found for found in self.evaluated if found.verdict is not Verdict.DOES_NOT_FIT]


def plan_remarks(
    request: PlanRequest,
    best: Evaluated,
    evaluated: Sequence[Evaluated],
    refusals: tuple[Refusal, ...],
) -> tuple[Remark, ...]:
    """What to know of the chosen plan, the weightiest first."""
    chosen = Chosen(request=request, best=best, evaluated=evaluated, refusals=refusals)
    return tuple(remark for find in REMARKS for remark in find(chosen))


def failure_remarks(
    request: PlanRequest, lack: Shortage, smallest: Evaluated
) -> tuple[Remark, ...]:
    """What to know where nothing fits: assumed memory, dequantised weights, 4 bits in vain."""
    found = list(too_large_experts(request))
    if request.machine.host.assumed and lack.memory is MemoryKind.HOST:
        found.insert(0, _host_assumed(request, lack.needs.upper))
    stored = stored_base(request.model.config)
    if stored is not None and stored.quantization is None:
        found.append(_dequantized(request, stored, smallest.hardware))
    return tuple(found)


def _host_assumed(request: PlanRequest, needs_bytes: int) -> Remark:
    ram = request.machine.host.total_bytes / GIB
    example = max(EXAMPLE_HOST_GIB, stated_gib(needs_bytes), ceil(ram))
    return Remark(kind=RemarkKind.HOST_ASSUMED, data={"ram": ram, "example": example})


def _assumed_host(chosen: Chosen) -> Iterator[Remark]:
    """The host's memory was assumed, and with another size the plan could be another."""
    if not chosen.request.machine.host.assumed:
        return
    sharding = chosen.hardware.sharding
    allowed = chosen.request.allow_rounding
    barred = [
        found
        for found in chosen.evaluated
        if lacks_host_memory(found) and outranks(found, chosen.best, allow_rounding=allowed)
    ]
    on_host = sharding.offload_param or sharding.offload_optimizer or chosen.request.on_cpu
    on_host = on_host or chosen.hardware.streaming.streams
    if barred:
        needs = min(shortage(chosen.request, found).needs.upper for found in barred)
        yield _host_assumed(chosen.request, needs)
    elif on_host or lacks_host_memory(chosen.best):
        yield _host_assumed(chosen.request, shortage(chosen.request, chosen.best).needs.upper)


def _stored(chosen: Chosen) -> Iterator[Remark]:
    """The weights are stored quantised: trained on as they are, or dequantised while loading."""
    stored = stored_base(chosen.request.model.config)
    if stored is None:
        return
    if stored.quantization is not None:
        yield Remark(kind=RemarkKind.STORED_QUANTIZED, data={"stored": stored.label})
        return
    yield _dequantized(chosen.request, stored, chosen.hardware)


def _dequantized(request: PlanRequest, stored: StoredBase, hardware: HardwareSettings) -> Remark:
    dtype = hardware.base.model_dtype
    base = weight_bytes(request.architecture, dtype, None)
    data: Data = {"stored": stored.label, "dtype": dtype, "base": base / GIB}
    return Remark(kind=RemarkKind.STORED_DEQUANTIZED, data=data)


def rounded_part(hardware: HardwareSettings) -> RoundedPart:
    """What settings that round something round, the base before the optimizer's states."""
    if hardware.base.quantization is None:
        return RoundedPart.STATES
    if hardware.base.multiplies_8bit:
        return RoundedPart.PRODUCTS_8_BIT
    return RoundedPart.BASE_4_BIT if hardware.base.has_4bit else RoundedPart.BASE_8_BIT


def _rounding(chosen: Chosen) -> Iterator[Remark]:
    """Why the plan rounds something, or what it would gain by it."""
    if stored_base(chosen.request.model.config) is not None:
        return
    best, risk = chosen.best, quality_risk(chosen.hardware)
    # The list of plans shows what 8-bit products would gain: they are no plan that rounds nothing,
    # and what they gain on every card is no news here.
    others = [found for found in chosen.evaluated if not found.hardware.base.multiplies_8bit]
    wholer = [found for found in others if quality_risk(found.hardware) < risk]
    part: Data = {"rounded": rounded_part(best.hardware)}
    if risk and not wholer:
        yield Remark(kind=RemarkKind.ROUNDED_AS_ASKED, data=part)
    elif risk:
        yield _why_rounded(chosen, wholer, part)
    usable = [found for found in others if found.verdict is not Verdict.DOES_NOT_FIT]
    faster = [found for found in usable if quality_risk(found.hardware) > risk]
    faster = [found for found in faster if _gain(found, best) >= WORTH_ROUNDING]
    if faster and not chosen.request.allow_rounding:
        other = best_of(faster)
        yield Remark(
            kind=RemarkKind.FASTER_ROUNDED,
            data={"rounded": rounded_part(other.hardware), "gain": _gain(other, best)},
            hardware=other.hardware,
        )


def _gain(found: Evaluated, other: Evaluated) -> float:
    """How many times as fast as another plan."""
    return found.samples_per_second / other.samples_per_second


def _why_rounded(chosen: Chosen, wholer: list[Evaluated], part: Data) -> Remark:
    """A plan that rounds less: slower, or too large for the memory that it lacks."""
    fitting = [found for found in wholer if found.verdict is Verdict.FITS]
    if fitting:
        other = best_of(fitting)
        return Remark(
            kind=RemarkKind.ROUNDED_FOR_SPEED,
            data={
                **part,
                "cost": _gain(chosen.best, other),
                "flag": WITHOUT_ROUNDING[rounded_part(chosen.hardware)],
            },
            hardware=other.hardware,
        )
    lacking = [(shortage(chosen.request, found), found) for found in wholer]
    lack, other = min(lacking, key=lambda pair: pair[0].share)
    return Remark(
        kind=RemarkKind.ROUNDED_TO_FIT,
        data={
            **part,
            "needs": lack.needs.upper / GIB,
            "free": lack.free_bytes / GIB,
            "memory": lack.memory,
        },
        hardware=other.hardware,
    )


def _idle_gpus(chosen: Chosen) -> Iterator[Remark]:
    """Why GPUs of the machine are not used."""
    machine = chosen.request.machine
    used, have = chosen.hardware.sharding.world_size, len(machine.devices) * machine.nodes
    if chosen.request.on_cpu or used >= have:
        return
    counts: Data = {"used": used, "have": have}
    refused = [each for each in chosen.refusals if used < _world(each.hardware) <= have]
    wider = [found for found in chosen.evaluated if _world(found.hardware) > used]
    if "world_size" in chosen.request.pins:
        yield Remark(kind=RemarkKind.FEWER_GPUS_AS_ASKED, data=counts)
    elif wider:
        other = _nearest(chosen, wider)
        why = ranked(other, chosen.best).explanation
        yield Remark(kind=RemarkKind.FEWER_GPUS, data=counts, hardware=other.hardware, why=why)
    elif refused:
        first = refused[0]
        yield Remark(kind=RemarkKind.FEWER_GPUS, data=counts, hardware=first.hardware, why=first)
    else:
        batch = chosen.request.learning.optimization.effective_batch_size
        yield Remark(kind=RemarkKind.FEWER_GPUS_BY_BATCH, data={**counts, "batch": batch})


def _several_machines(chosen: Chosen) -> Iterator[Remark]:
    """How fast the network was taken to be, and what it takes of a step."""
    link, nodes = chosen.request.machine.node_link, chosen.hardware.sharding.nodes
    if link is not None and nodes > 1:
        share = chosen.best.time.between_gpus / chosen.best.time.seconds
        data: Data = {"nodes": nodes, "gbit": link.gbit_per_second, "share": share}
        yield Remark(kind=RemarkKind.SEVERAL_MACHINES, data=data)


def _world(hardware: HardwareSettings) -> int:
    return hardware.sharding.world_size


def _nearest(chosen: Chosen, wider: list[Evaluated]) -> Evaluated:
    """The plan on more GPUs that came nearest to being chosen."""
    usable = [found for found in wider if found.verdict is not Verdict.DOES_NOT_FIT]
    if usable:
        return best_of(usable, allow_rounding=chosen.request.allow_rounding)
    return min(wider, key=lambda found: shortage(chosen.request, found).share)


def _high_rate(chosen: Chosen) -> Iterator[Remark]:
    """The learning rate that was given is far above what others take."""
    learning = chosen.request.learning
    total = chosen.request.model.parameters_total
    rate = learning.optimization.learning_rate
    usual = default_learning_rate(learning.method.finetuning_type, total)
    if rate > FAR_ABOVE * usual:
        data: Data = {"rate": rate, "usual": usual, "times": rate / usual}
        yield Remark(kind=RemarkKind.HIGH_RATE, data=data)


def _flash_assumed(chosen: Chosen) -> Iterator[Remark]:
    """Who asks for flash-attn on a machine elsewhere says that it is there."""
    machine, attention = chosen.request.machine, chosen.hardware.kernels.attention
    if attention is Attention.FLASH_ATTENTION_2 and not machine.detected:
        yield Remark(kind=RemarkKind.FLASH_ASSUMED)


def _few_rows(chosen: Chosen) -> Iterator[Remark]:
    """The dataset does not fill one step."""
    rows = chosen.request.dataset.lengths.rows_kept
    batch = chosen.request.learning.optimization.effective_batch_size
    if 0 < rows < batch:
        yield Remark(kind=RemarkKind.FEW_ROWS, data={"rows": rows, "batch": batch})


def _family_in_fp16(chosen: Chosen) -> Iterator[Remark]:
    """The family is known to overflow in the arithmetic of the plan."""
    base = chosen.hardware.base
    trouble = FP16_TROUBLE.get(chosen.request.model.model_type)
    if trouble is None or (base.autocast or base.model_dtype) is not Dtype.FP16:
        return
    kinds = {
        Trouble.ACTIVATIONS: RemarkKind.FP16_OVERFLOWS,
        Trouble.GRADIENTS: RemarkKind.FP16_GRADIENTS,
    }
    yield Remark(kind=kinds[trouble.of], data={"family": trouble.family, "source": trouble.source})


def _pure_bf16(chosen: Chosen) -> Iterator[Remark]:
    """Trained weights have no copy in fp32: DeepSpeed keeps one, one process alone does not."""
    trained = chosen.request.learning.method.trains_base
    if trained and chosen.hardware.is_pure_bf16:
        yield Remark(kind=RemarkKind.PURE_BF16)


def _long_positions(chosen: Chosen) -> Iterator[Remark]:
    """Rows are longer than the model was published for."""
    hardware = chosen.hardware
    longest = chosen.request.dataset.longest_of(hardware.batch)
    published = chosen.request.architecture.positions.published_positions
    if longest > published:
        yield Remark(
            kind=RemarkKind.LONG_POSITIONS, data={"longest": longest, "published": published}
        )


def _experts(chosen: Chosen) -> Iterator[Remark]:
    """What a plan leaves out of a mixture of experts."""
    yield from expert_remarks(chosen.request, chosen.hardware)


def _padding(chosen: Chosen) -> Iterator[Remark]:
    """What packing saves, or why much padding remains."""
    yield from padding_remarks(chosen.request, chosen.best, chosen.usable)


def _streamed(chosen: Chosen) -> Iterator[Remark]:
    return streamed_remarks(chosen.request, chosen.best)


REMARKS: tuple[Callable[[Chosen], Iterator[Remark]], ...] = (
    _assumed_host,
    _stored,
    _rounding,
    _several_machines,
    _idle_gpus,
    _streamed,
    _padding,
    _flash_assumed,
    _high_rate,
    _few_rows,
    _family_in_fp16,
    _pure_bf16,
    _long_positions,
    _experts,
)
"""In the order of printing."""
