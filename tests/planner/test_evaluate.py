"""What one candidate takes, and the verdict on it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.device import Host
from memory_models.settings import Dtype, changed, from_flat
from tests.support.toy_request import GIB, HOPPER, request, with_free
from tsplanner.planner.evaluate import evaluate, host_budget, lacks_host_memory, shortage
from tsplanner.planner.explain.reasons import Explanation, MemoryKind, Reason
from tsplanner.planner.explain.sentences import explanation_sentence
from tsplanner.planner.plan import Verdict
from tsplanner.planner.rank import choose
from tsplanner.planner.request import Pins
from tsplanner.planner.settings import HardwareSettings
from tsplanner.planner.space.waves import evaluate_all


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


def test_an_explanation_by_a_probe_names_no_memory() -> None:
    """It failed, for whatever reason: that is no word on the host."""
    asked = request("qwen2.5-0.5b", HOPPER)
    found = evaluate(asked, from_flat(HardwareSettings, gradient_accumulation_steps=16))
    assert not lacks_host_memory(found)
    failed = replace(found, explanation=Explanation(reason=Reason.PROBE_FAILED))
    assert not lacks_host_memory(failed)


def test_the_scarcer_of_two_memories_is_what_a_candidate_lacks() -> None:
    """Offloaded, 7B takes little of the card and too much of 10 GiB of RAM; whole, of the card."""
    small = Host(total_bytes=16 * GIB, available_bytes=10 * GIB, cpu_count=4)
    asked = request("qwen2.5-7b", HOPPER, host=small)
    offloaded = evaluate(asked, from_flat(HardwareSettings, zero_stage=3, offload_param=True))
    lack = shortage(asked, offloaded)
    assert (lack.memory, lack.needs) == (MemoryKind.HOST, offloaded.memory.host_bytes)
    assert lack.free_bytes == int(9.5 * GIB)
    assert lack.share > 1
    full = request("qwen2.5-7b", with_free(HOPPER, 8), host=small)
    whole = evaluate(full, from_flat(HardwareSettings, gradient_accumulation_steps=16))
    lack = shortage(full, whole)
    assert (lack.memory, lack.free_bytes) == (MemoryKind.GPU, 8 * GIB)
    assert lack.share == whole.memory.process_bytes.expected / (8 * GIB)


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


@pytest.mark.parametrize(
    ("free_share", "verdict", "reason"),
    [
        (1.0, Verdict.FITS, None),
        (0.999, Verdict.TIGHT, Reason.TIGHT),
        (0.5, Verdict.DOES_NOT_FIT, Reason.OVER),
    ],
)
def test_the_verdict_goes_by_the_bound_and_the_expected_bytes(
    free_share: float, verdict: Verdict, reason: Reason | None
) -> None:
    """As much free as the bound: fits; less than the bound: tight; less than expected: not."""
    hardware = from_flat(HardwareSettings, gradient_accumulation_steps=16)
    asked = request("qwen2.5-0.5b", HOPPER)
    bound = evaluate(asked, hardware).memory.process_bytes.upper
    card = replace(HOPPER, free_bytes=int(free_share * bound))
    found = evaluate(request("qwen2.5-0.5b", card), hardware)
    assert found.verdict is verdict
    assert (None if found.explanation is None else found.explanation.reason) is reason
    if found.explanation is not None:
        assert found.explanation.data == {"memory": MemoryKind.GPU}


def test_the_host_keeps_a_twentieth_of_its_free_memory() -> None:
    """95 of 100 GiB may be planned with."""
    host = Host(total_bytes=128 * GIB, available_bytes=100 * GIB, cpu_count=8)
    assert host_budget(request("qwen2.5-0.5b", host=host)) == 95 * GIB


def test_on_a_cpu_the_host_decides() -> None:
    """The process is judged by what the host leaves to a plan."""
    small = Host(total_bytes=2 * GIB, available_bytes=GIB, cpu_count=2)
    asked = request("qwen2.5-0.5b", host=small)
    hardware = from_flat(
        HardwareSettings,
        accelerator="cpu",
        model_dtype=Dtype.FP32,
        autocast=None,
        gradient_accumulation_steps=16,
    )
    found = evaluate(asked, hardware)
    assert found.free_bytes == host_budget(asked)
    assert found.explanation == Explanation(reason=Reason.OVER, data={"memory": MemoryKind.HOST})
