"""What one candidate takes, and the verdict on it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.device import Host
from memory_models.settings import changed
from tests.support.toy_request import GIB, HOPPER, request
from tsplanner.planner.plan import Verdict
from tsplanner.planner.rank import choose, evaluate_all
from tsplanner.planner.request import Pins
from tsplanner.planner.sentences import explanation_sentence


def test_offload_is_judged_by_the_hosts_memory_too() -> None:
    """A host of 4 GiB takes no offloaded parameters, however empty the card."""
    small = Host(total_bytes=4 * GIB, available_bytes=4 * GIB, cpu_count=4)
    evaluated, _ = evaluate_all(
        request(
            "qwen2.5-7b",
            HOPPER,
            host=small,
            pins=Pins(offload_param=True, quantization=None),
        )
    )
    assert {found.verdict for found in evaluated} == {Verdict.DOES_NOT_FIT}
    lean = min(evaluated, key=lambda found: found.memory.process_bytes.expected)
    assert explanation_sentence(lean.explanation) == "over the host's memory"


@pytest.mark.parametrize(
    ("rows", "fraction", "steps"),
    [
        # 300 rows less 30 held out: 270 / 16 -> 17 steps an epoch, 3 epochs
        (300, 0.1, 51),
        # nothing held out: 300 / 16 -> 19
        (300, 0.0, 57),
        # one of two rows is trained on: one step an epoch
        (2, 0.5, 3),
        (1, 0.5, 3),
    ],
)
def test_steps_are_whole_batches_of_the_rows_that_are_trained_on(
    rows: int, fraction: float, steps: int
) -> None:
    """The last batch of an epoch may be part filled."""
    asked = request("qwen2.5-0.5b", HOPPER, validation_fraction=fraction)
    asked = replace(asked, dataset=changed(asked.dataset, rows_kept=rows))
    assert choose(asked).plan.time.total_steps == steps
