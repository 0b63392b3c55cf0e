"""How many trials of a search share one base, on what settings, and one sentence about it."""

from __future__ import annotations

from dataclasses import replace

from memory_models.bounds.cpu import on_cpu as in_host_memory
from memory_models.calibration import DEFAULT
from memory_models.estimate import estimate_memory
from memory_models.frozen import frozen
from memory_models.result import MemoryEstimate
from memory_models.settings import TrainingSettings, changed
from memory_models.units import GIB
from tsplanner.errors import UsageError, named
from tsplanner.planner.devices import used_devices, used_machine
from tsplanner.planner.forecast import batch_length
from tsplanner.planner.multi_lora.refusal import sharing_refusal
from tsplanner.planner.multi_lora.speedup import (
    MAX_TRIALS,
    Room,
    Sharing,
    SharingOptions,
    best_sharing,
)
from tsplanner.planner.plan import Plan
from tsplanner.planner.settings import LearningSettings, training_settings
from tsplanner.throughput.rates import MEASURED, Rates, rates_of
from tsplanner.tune.runner.slots import Slots

AUTO, OFF = "auto", "off"
FLAG = "--concurrent-loras"


@frozen
class MultiLora:
    """Trials that share one base in each worker."""

    max_concurrent_trials: int
    """Trials at once per worker."""
    plan: Plan
    """The plan of a worker: hardware settings of its passes, and its memory."""
    gain: float
    """Predicted trial steps per second, over those of trials one by one."""


@frozen
class SharingChoice:
    """Whether trials share a base, and what to say about it."""

    multi_lora: MultiLora | None = None
    """None: each trial has a process of its own."""
    sentence: str = ""
    """One sentence for a person; empty where sharing was not considered."""


EACH_ALONE = SharingChoice()


def concurrent_loras(text: str) -> int | None:
    """Trials per base: ``auto`` as None, ``off`` as 1, else a number.

    Raises UsageError for other text.
    """
    if text in (AUTO, OFF):
        return None if text == AUTO else 1
    try:
        count = int(text)
    except ValueError:
        count = 0
    if not 1 <= count <= MAX_TRIALS:
        raise UsageError(
            f"{FLAG} takes auto, off or a number of 1 to {MAX_TRIALS}, not {named(text)}"
        )
    return count


def refusal_sentence(plan: Plan) -> str | None:
    """Why no trial of this plan can share its base, as a sentence; None: trials can."""
    found = sharing_refusal(plan.learning, plan.hardware, plan.model.config)
    return None if found is None else found.sentence(every_trial=True)


def shares_cpu(plan: Plan, asked: int | None) -> bool:
    """Whether trials on a CPU will share a base, as asked; then they have all its cores."""
    return asked not in (None, 1) and refusal_sentence(plan) is None


def choose_sharing(
    plan: Plan, largest: LearningSettings, slots: Slots, *, trials: int, asked: int | None
) -> SharingChoice:
    """Whether and how trials share a base.

    ``largest``: the settings of the search that take most memory; ``trials``: number of trials in
    flight if all run at once; ``asked``: as `concurrent_loras` says. On a CPU trials share only if
    they are asked to: one trial keeps a CPU busy (docs/decisions/0012). Raises UsageError if the
    number that was asked for does not fit.
    """
    per_slot = -(-trials // max(1, slots.jobs))
    on_cpu = plan.hardware.accelerator == "cpu"
    if asked == 1 or per_slot < 2 or (asked is None and on_cpu):
        return EACH_ALONE
    if (refusal := refusal_sentence(plan)) is not None:
        return SharingChoice(sentence=refusal)
    found = _best_sharing(plan, largest, slots, per_slot, asked)
    if found.trials == 1 and asked is not None:
        raise UsageError(f"{FLAG} {asked}: that number does not fit on one base: ask for fewer")
    if found.trials == 1:
        return SharingChoice(sentence=found.reason)
    multi_lora = MultiLora(
        max_concurrent_trials=found.trials,
        plan=worker_plan(plan, largest, found.settings),
        gain=found.gain,
    )
    return SharingChoice(multi_lora=multi_lora, sentence=sharing_sentence(multi_lora, found))


def worker_plan(plan: Plan, largest: LearningSettings, settings: TrainingSettings) -> Plan:
    """The plan of a worker whose trials share a base."""
    hardware = changed(
        plan.hardware,
        micro_batch_size=settings.batch.micro_batch_size,
        gradient_accumulation_steps=settings.batch.gradient_accumulation_steps,
        token_budget=settings.batch.token_budget,
        gradient_checkpointing=settings.batch.gradient_checkpointing,
        checkpointed_layers=settings.batch.checkpointed_layers,
        loss_kernel=settings.kernels.loss_kernel,
    )
    return replace(plan, learning=largest, hardware=hardware, memory=_memory(plan, settings))


def _best_sharing(
    plan: Plan, largest: LearningSettings, slots: Slots, per_slot: int, asked: int | None
) -> Sharing:
    architecture = plan.architecture
    batch, dataset = plan.hardware.batch, plan.dataset
    # Several rows stand in every pass.
    longest = dataset.longest_of(batch) if batch.is_packed else dataset.sequence_length(2)
    patches = dataset.patches_of(batch) if batch.is_packed else dataset.series_patches(longest)
    devices = used_devices(plan.machine, plan.hardware)
    on_cpu = plan.hardware.accelerator == "cpu"
    free = min(plan.free_bytes, slots.free_bytes or plan.free_bytes)
    return best_sharing(
        architecture,
        training_settings(largest, plan.hardware, longest, patches if architecture.encoder else 0),
        (largest.method.lora_rank,) * per_slot,
        _rates(plan),
        Room(
            free_bytes=free // slots.trials_per_device,
            device=None if on_cpu else min(devices, key=lambda device: device.free_bytes),
            calibration=replace(DEFAULT, device_factor=_factor(plan)),
            on_cpu=on_cpu,
        ),
        SharingOptions(
            length=batch_length(dataset, plan.hardware),
            lengths=dataset.lengths if batch.is_packed else None,
            exactly=None if asked is None else min(asked, per_slot),
        ),
    )


def _factor(plan: Plan) -> float:
    """Factor of a probe on process bytes; one that held less says nothing of trials that share."""
    return max(1.0, plan.corrections.memory_factor)


def _rates(plan: Plan) -> Rates:
    efficiency = replace(
        MEASURED,
        work_factor=plan.corrections.work_factor,
        launch_factor=plan.corrections.launch_factor,
        known_error=plan.time.relative_error,
    )
    on_cpu = plan.hardware.accelerator == "cpu"
    return rates_of(used_machine(plan.machine, plan.hardware), efficiency, on_cpu=on_cpu)


def _memory(plan: Plan, settings: TrainingSettings) -> MemoryEstimate:
    architecture = plan.architecture
    calibration = replace(DEFAULT, device_factor=_factor(plan))
    if plan.hardware.accelerator == "cpu":
        return in_host_memory(estimate_memory(architecture, settings, None, calibration))
    devices = used_devices(plan.machine, plan.hardware)
    device = min(devices, key=lambda one: one.free_bytes)
    return estimate_memory(architecture, settings, device, calibration)


def sharing_sentence(multi_lora: MultiLora, found: Sharing) -> str:
    """What sharing takes and gives: memory of the base with one trial, and of each further one.

    For example ``3 LoRA trials share each base: 13.40 + 2 x 0.90 GiB, …``.
    """
    ranks = found.settings.method.adapter_ranks
    first_alone = changed(found.settings, adapter_ranks=ranks[:1])
    one = _memory(multi_lora.plan, first_alone).process_bytes.upper
    others = multi_lora.max_concurrent_trials - 1
    more = (multi_lora.plan.memory.process_bytes.upper - one) / others
    return (
        f"{multi_lora.max_concurrent_trials} LoRA trials share each base: {one / GIB:.2f} + "
        f"{others} x {more / GIB:.2f} GiB, {multi_lora.gain:.1f}x the steps per second of trials "
        "one by one."
    )
