"""What 8-bit products would gain where nobody allowed them: of every group of GPUs the best plan.

A base in 8 bits is half as large, so its best plan may have another sharding, micro-batch or number
of checkpoints than the chosen one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tsplanner.planner.evaluate import Evaluated, evaluate
from tsplanner.planner.plan import Verdict
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.settings import HardwareSettings
from tsplanner.planner.space.checkpointed_layers import some_layers
from tsplanner.planner.space.eight_bit import eight_bit_twin
from tsplanner.planner.space.rules import refusal


def eight_bit_alternatives(
    request: PlanRequest, best: Evaluated, evaluated: Sequence[Evaluated]
) -> list[Evaluated]:
    """The fastest plans in 8 bits on each group of GPUs, up to the first that fits.

    Empty where rounding is allowed: then they are candidates like all others.
    """
    made: list[Evaluated] = []
    if request.allow_rounding:
        return made
    for twins in _groups(request, best, evaluated):
        found = list(_until_one_fits(request, twins))
        made += found
        made += some_layers(request, found, lambda hardware: evaluate(request, hardware))
    return made


def _groups(
    request: PlanRequest, best: Evaluated, evaluated: Sequence[Evaluated]
) -> list[list[HardwareSettings]]:
    """The settings in 8 bits by the GPUs that they use, the fastest first."""
    # The number of checkpoints is searched anew, and the loss kernel is that of the plan.
    plain = [
        found
        for found in evaluated
        if found.hardware.batch.checkpointed_layers is None
        and found.hardware.kernels.loss_kernel is best.hardware.kernels.loss_kernel
    ]
    plain.sort(key=lambda found: -found.samples_per_second)
    groups: dict[object, list[HardwareSettings]] = {}
    for found in plain:
        twin = eight_bit_twin(request, found.hardware)
        if twin is not None and refusal(request, twin) is None:
            groups.setdefault((twin.sharding, twin.devices), []).append(twin)
    return list(groups.values())


def _until_one_fits(request: PlanRequest, twins: list[HardwareSettings]) -> Iterator[Evaluated]:
    """The fastest settings, up to the first that fit: no slower ones are better."""
    for twin in twins:
        found = evaluate(request, twin)
        yield found
        if found.verdict is Verdict.FITS:
            return
