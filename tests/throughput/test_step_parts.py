"""Parts of a step that overlap, and parts that do not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tsplanner.throughput.step_parts import StepTime


def test_a_step_is_work_or_its_issuing_and_then_what_does_not_overlap() -> None:
    """2 + 3 of work beside 0.1 or 50 of issuing, + 1 + 1 + 1; on a CPU all adds up."""
    parts = StepTime(matrix=2, memory=3, launch=0.1, optimizer=1, communication=1, offload=1)
    assert parts.seconds == pytest.approx(8, abs=1e-4)
    assert replace(parts, launch=50).seconds == pytest.approx(53, abs=1e-2)
    assert replace(parts, launch=5).seconds == pytest.approx(3 + 5 * 2 ** (1 / 8))
    assert replace(parts, launch=4, overlaps=False).seconds == 12
    assert replace(parts, launch=10).bottleneck == "kernel launches of small batches"
