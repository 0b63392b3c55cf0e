"""What attention costs where no usual kernel runs it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from memory_models.settings import Attention, changed
from memory_models.units import GIB
from tsplanner.planner.explain.reasons import Remark, RemarkKind
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.settings import HardwareSettings
from tsplanner.planner.space.rules import refusal

HALF_BYTES = 2
WORTH_SAYING = 0.1
"""GiB of one tensor of scores."""


def attention_remarks(request: PlanRequest, hardware: HardwareSettings) -> Iterator[Remark]:
    """Eager attention that nobody asked for, where flex_attention could run."""
    if hardware.kernels.attention is not Attention.EAGER or "attention" in request.pins:
        return
    longest = request.dataset.longest_of(hardware.batch)
    heads = request.architecture.attention.num_attention_heads
    scores = HALF_BYTES * heads * hardware.batch.micro_batch_size * longest**2 / GIB
    flex = changed(hardware, attention=Attention.FLEX_ATTENTION)
    if scores >= WORTH_SAYING and refusal(request, flex) is None:
        yield Remark(kind=RemarkKind.WRITES_SCORES, data={"gib": scores})
