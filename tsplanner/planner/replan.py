"""A plan with other learning settings, and what every process of a plan needs."""

from __future__ import annotations

from dataclasses import replace

from memory_models.calibration import DEFAULT, Calibration
from tsplanner.errors import TsplannerError
from tsplanner.planner.evaluate import ProcessNeeds, evaluate, processes, tightest_process
from tsplanner.planner.finished import finish
from tsplanner.planner.plan import Plan
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.settings import LearningSettings
from tsplanner.throughput.rates import MEASURED


def replan(plan: Plan, learning: LearningSettings, calibration: Calibration = DEFAULT) -> Plan:
    """A new estimate of the plan's hardware settings with other learning settings.

    The verdict may be "does not fit": a search asks for it before it starts a trial.

    Raises:
        TsplannerError: the settings cannot run on this model, such as a rank above its matrices.
    """
    request = request_again(plan, learning, calibration)
    try:
        found = evaluate(request, plan.hardware, replay=True)
    except ValueError as error:
        raise TsplannerError(f"These settings cannot run: {error}.") from error
    planned = finish(request, found)
    # Another rank trains another number of parameters than the plan's model says.
    trained = found.memory.parameters_trainable
    return replace(planned, model=replace(plan.model, parameters_trainable=trained))


def request_again(
    plan: Plan, learning: LearningSettings, calibration: Calibration = DEFAULT
) -> PlanRequest:
    """The request that a plan came from, with other learning settings and no pins."""
    return PlanRequest(
        architecture=plan.architecture,
        model=plan.model,
        dataset=plan.dataset,
        machine=plan.machine,
        learning=learning,
        calibration=replace(calibration, device_factor=plan.corrections.memory_factor),
        efficiency=replace(
            MEASURED,
            work_factor=plan.corrections.work_factor,
            launch_factor=plan.corrections.launch_factor,
            known_error=plan.time.relative_error,
            basis=plan.time.basis,
        ),
        forced_cpu=plan.hardware.accelerator == "cpu",
    )


def needs_of_processes(plan: Plan) -> list[ProcessNeeds]:
    """What every process of a machine needs; one that stands for all where all are alike."""
    if not plan.hardware.streaming.differs:
        return [ProcessNeeds(process=0, memory=plan.memory, free_bytes=plan.free_bytes)]
    return processes(request_again(plan, plan.learning), plan.hardware)


def own_process(plan: Plan) -> int | None:
    """The process of a machine whose memory the plan holds; None: all are alike."""
    if not plan.hardware.streaming.differs:
        return None
    return tightest_process(request_again(plan, plan.learning), plan.hardware)
