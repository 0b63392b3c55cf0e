"""What the parent asks of a merge, and what it gets back. No torch in here."""

from __future__ import annotations

from memory_models.frozen import frozen
from memory_models.settings import Dtype, Quantization
from tsplanner.planner.plan import Plan

ROWS_CHECKED = 4
"""Rows whose logits are compared."""
LONGEST_CHECKED = 256
"""Tokens of such a row at most."""
BOUNDS = {Dtype.FP32: 1e-3, Dtype.FP16: 0.03, Dtype.BF16: 0.06}
"""Largest difference of the logits, as a share of their size, by the dtype that is written. Of a
rounded dtype it is what rounding every sum anew leaves over a few dozen layers."""
EIGHT_BIT_BOUND = 0.15
"""The same where the adapter was trained on products in 8 bits, which the merged model has not."""


@frozen
class MergeRequest:
    """One adapter, its base, and the folder that gets both in one."""

    plan: Plan
    adapter: str
    output: str
    """A new folder."""
    dtype: Dtype
    """Of the written weights."""
    on_cpu: bool = False
    """Merge on the CPU although the plan is for a GPU."""


@frozen
class Compared:
    """Logits of the written model against those of base and adapter.

    A difference is the root mean square over all positions and tokens, after each position's mean
    is taken off, as a share of that of base and adapter.
    """

    difference: float
    effect: float
    """The same of the base without its adapter: how much there was to merge."""
    same_token: float
    """Share of the positions at which both find the same token most likely."""
    positions: int
    rows: int
    from_dataset: bool
    """The rows are the plan's own; False: random tokens, since its dataset is not there."""


@frozen
class Merged:
    """What was written."""

    compared: Compared
    files: int
    """Number of files with weights."""
    bytes: int
    """Their size."""


@frozen
class MergeTold:
    """A line of the worker: what it has done, what it made, or why there is nothing."""

    stage: str = ""
    merged: Merged | None = None
    error: str = ""


def bound(request: MergeRequest) -> float:
    """The largest difference at which a merge counts as the same model."""
    base = request.plan.hardware.base
    if base.multiplies_8bit or base.quantization is Quantization.INT8:
        return EIGHT_BIT_BOUND
    return BOUNDS[request.dtype]
