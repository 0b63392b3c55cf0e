"""How many trials of a search share one base, on what settings, and one line that says so."""

from __future__ import annotations

from dataclasses import dataclass, replace

from memory_models.bounds.cpu import on_cpu as in_host_memory
from memory_models.calibration import DEFAULT
from memory_models.estimate import estimate_memory
from memory_models.result import MemoryEstimate
from memory_models.settings import TrainingSettings
from tsplanner.errors import UsageError
from tsplanner.models.source import read_architecture
from tsplanner.planner.devices import used_devices, used_machine
from tsplanner.planner.forecast import batch_length
from tsplanner.planner.multi_lora.refusal import sharing_refusal
from tsplanner.planner.multi_lora.speedup import MOST_TRIALS, Packing, Terms, best_packing
from tsplanner.planner.plan import LearningSettings, Plan, training_settings
from tsplanner.throughput.rates import MEASURED, Rates, rates_of
from tsplanner.tune.runner.slots import Slots

AUTO, OFF = "auto", "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Packs:
    """Trials that share a base."""

    places: int
    """Trials at once in a worker."""
    plan: Plan
    """Of the worker: hardware settings of its passes, and its memory."""
    gain: float
    """Trial steps a second over those of trials one by one, forecast."""


def places_asked(text: str) -> int | None:
    """``auto`` as None, ``off`` as 1, else a number; raises UsageError for another word."""
    if text in (AUTO, OFF):
        return None if text == AUTO else 1
    try:
        count = int(text)
    except ValueError:
        count = 0
    if not 1 <= count <= MOST_TRIALS:
        raise UsageError(f'--pack takes auto, off or a number of 1 to {MOST_TRIALS}, not "{text}"')
    return count


def refusal(plan: Plan) -> str | None:
    """Why no trial of this plan packs, as a sentence; None: they do."""
    found = sharing_refusal(plan.learning, plan.hardware, plan.model.config)
    return None if found is None else found.sentence("Trials run")


def packs_on_cpu(plan: Plan, asked: int | None) -> bool:
    """Whether a CPU, asked to pack, will: then the pack has all its cores."""
    return asked not in (None, 1) and refusal(plan) is None


def choose_packs(
    plan: Plan, largest: LearningSettings, width: Slots, *, trials: int, asked: int | None
) -> tuple[Packs | None, str]:
    """How trials are packed, None for not at all, and the sentence on it.

    ``largest``: the settings of the search that take most memory; ``trials``: that the search has
    in flight if all run at once; ``asked``: as `places_asked` says. On a CPU nothing is packed
    unless it is asked for: a CPU is busy with one trial (docs/decisions/0012). Raises UsageError
    if as many as were asked for do not fit.
    """
    each = -(-trials // max(1, width.jobs))
    on_cpu = plan.hardware.accelerator == "cpu"
    if asked == 1 or each < 2 or (asked is None and on_cpu):
        return None, ""
    if (reason := refusal(plan)) is not None:
        return None, reason
    found = _packing(plan, largest, width, each, asked)
    if found.trials == 1 and asked is not None:
        raise UsageError(f"--pack {asked}: so many trials do not fit on one base: ask for fewer")
    if found.trials == 1:
        return None, found.reason
    memory = _memory(plan, found.settings)
    hardware = replace(
        plan.hardware,
        micro_batch_size=found.settings.micro_batch_size,
        gradient_accumulation_steps=found.settings.gradient_accumulation_steps,
        gradient_checkpointing=found.settings.gradient_checkpointing,
        checkpointed_layers=found.settings.checkpointed_layers,
        loss_kernel=found.settings.loss_kernel,
    )
    packed = replace(plan, learning=largest, hardware=hardware, memory=memory)
    packs = Packs(places=found.trials, plan=packed, gain=found.gain)
    return packs, _sentence(packs, found)


def _packing(
    plan: Plan, largest: LearningSettings, width: Slots, each: int, asked: int | None
) -> Packing:
    architecture = read_architecture(plan.model.config, name=plan.model.name, source="plan")
    longest = plan.dataset.sequence_length(2)  # several rows stand in every pass
    patches = plan.dataset.series_patches(longest) if architecture.encoder else 0
    devices = used_devices(plan.machine, plan.hardware)
    on_cpu = plan.hardware.accelerator == "cpu"
    return best_packing(
        architecture,
        training_settings(largest, plan.hardware, longest, patches),
        (largest.lora_rank,) * each,
        _rates(plan),
        min(plan.free_bytes, width.free_bytes or plan.free_bytes) // width.together,
        None if on_cpu else min(devices, key=lambda device: device.free_bytes),
        replace(DEFAULT, device_factor=plan.memory_factor),
        Terms(
            length=batch_length(plan.dataset, plan.hardware),
            exactly=None if asked is None else min(asked, each),
            on_cpu=on_cpu,
        ),
    )


def _rates(plan: Plan) -> Rates:
    efficiency = replace(
        MEASURED,
        work_factor=plan.work_factor,
        launch_factor=plan.launch_factor,
        relative_error=plan.time.relative_error,
    )
    on_cpu = plan.hardware.accelerator == "cpu"
    return rates_of(used_machine(plan.machine, plan.hardware), efficiency, on_cpu=on_cpu)


def _memory(plan: Plan, settings: TrainingSettings) -> MemoryEstimate:
    architecture = read_architecture(plan.model.config, name=plan.model.name, source="plan")
    calibration = replace(DEFAULT, device_factor=plan.memory_factor)
    if plan.hardware.accelerator == "cpu":
        return in_host_memory(estimate_memory(architecture, settings, None, calibration))
    devices = used_devices(plan.machine, plan.hardware)
    device = min(devices, key=lambda one: one.free_bytes)
    return estimate_memory(architecture, settings, device, calibration)


def _sentence(packs: Packs, found: Packing) -> str:
    """``3 packed trials a run: 13.4 + 2 x 0.9 GiB``: the first with the base, and each other."""
    ranks = found.settings.packed_ranks
    one = _memory(packs.plan, replace(found.settings, packed_ranks=ranks[:1])).process_bytes.upper
    more = (packs.plan.memory.process_bytes.upper - one) / (packs.places - 1)
    return (
        f"{packs.places} packed trials a run: {one / 2**30:.2f} + {packs.places - 1} x "
        f"{more / 2**30:.2f} GiB, {packs.gain:.1f}x the steps a second of trials one by one."
    )
