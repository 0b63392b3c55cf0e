"""Whether several GPUs mean more trials or more processes per trial, by predicted step times."""

from __future__ import annotations

from dataclasses import replace

from tsplanner.errors import NoPlanFits
from tsplanner.planner.plan import Plan
from tsplanner.planner.rank import choose
from tsplanner.planner.replan import request_again
from tsplanner.planner.request import Pins


def one_gpu_per_trial(plan: Plan) -> Plan | None:
    """The plan of trials that take one GPU each, if they make more steps per second in all.

    None if the plan takes one GPU already, if a trial does not fit one GPU, or if all GPUs together
    train one trial after another faster. Base and precision stay the plan's, for they change what
    is learned.
    """
    hardware = plan.hardware
    if hardware.sharding.world_size == 1 or hardware.accelerator == "cpu":
        return None
    pins = Pins(
        world_size=1,
        model_dtype=hardware.base.model_dtype,
        quantization=hardware.base.quantization,
        optimizer=hardware.kernels.optimizer,
        # Trials side by side would hold a streamed base once each, which no plan counts.
        streamed_layers=0,
    )
    try:
        alone = choose(replace(request_again(plan, plan.learning), pins=pins)).plan
    except NoPlanFits:
        return None
    pays = hardware.sharding.world_size * plan.time.step_seconds > alone.time.step_seconds
    return alone if pays else None
