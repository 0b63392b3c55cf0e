"""When trials of a search are packed, how many, and the line that says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from memory_models.settings import FinetuningType
from tests.support import tiny
from tests.support.toy_request import GIB, HOPPER, request
from tsplanner.errors import UsageError
from tsplanner.planner.plan import Plan
from tsplanner.planner.rank import choose
from tsplanner.tune.runner.multi_lora import choose_packs, places_asked
from tsplanner.tune.runner.slots import Slots

ONE_GPU = Slots(jobs=1)


def gpu_plan(**learning: object) -> Plan:
    """Qwen3-8B on one H200, 512 tokens a row."""
    return choose(request("qwen3-8b", HOPPER, length=512, **learning)).plan


def test_small_batches_are_packed_and_the_line_says_what_they_take() -> None:
    """Two rows a step: as many at once as the search has in flight, the base counted once."""
    plan = gpu_plan(effective_batch_size=2, lora_rank=64)
    packs, line = choose_packs(plan, plan.learning, ONE_GPU, trials=4, asked=None)
    assert packs is not None
    assert packs.places == 4
    assert line.startswith("4 packed trials a run: ")
    assert " + 3 x " in line
    hardware = packs.plan.hardware
    assert hardware.micro_batch_size * hardware.gradient_accumulation_steps == 2
    assert packs.plan.memory.process_bytes.upper <= plan.free_bytes


def test_large_batches_are_not_and_the_line_says_why() -> None:
    """16 rows of 512 tokens fill the GPU."""
    plan = gpu_plan(effective_batch_size=16)
    packs, line = choose_packs(plan, plan.learning, ONE_GPU, trials=4, asked=None)
    assert packs is None
    assert line.startswith("A trial's 8192 tokens a step keep the GPU busy alone (")


def test_what_does_not_pack_runs_unpacked_and_says_so() -> None:
    """DoRA, even if packs were asked for."""
    plan = gpu_plan(effective_batch_size=2, finetuning_type=FinetuningType.DORA)
    packs, line = choose_packs(plan, plan.learning, ONE_GPU, trials=4, asked=3)
    assert packs is None
    assert line == "Trials run alone: dora changes or reads the base's own weights."


def test_trials_are_shared_by_the_packs_of_several_gpus() -> None:
    """Six trials on two GPUs: three places each."""
    plan = gpu_plan(effective_batch_size=2)
    width = Slots(jobs=2, devices=("GPU-0", "GPU-1"))
    packs, _ = choose_packs(plan, plan.learning, width, trials=6, asked=None)
    assert packs is not None
    assert packs.places == 3


def test_packs_go_by_the_gpu_that_has_least_free() -> None:
    """Two GPUs, one of them with 40 GiB free: all packs fit there."""
    plan = gpu_plan(effective_batch_size=2, lora_rank=64)
    width = Slots(jobs=2, devices=("GPU-0", "GPU-1"), free_bytes=40 * GIB)
    packs, _ = choose_packs(plan, plan.learning, width, trials=16, asked=None)
    assert packs is not None
    assert packs.plan.memory.process_bytes.upper <= 40 * GIB


def test_a_number_is_kept_if_it_fits_and_refused_if_not() -> None:
    """--pack 3 on the GPU; on 17 GiB two do not fit."""
    plan = gpu_plan(effective_batch_size=2)
    packs, _ = choose_packs(plan, plan.learning, ONE_GPU, trials=8, asked=3)
    assert packs is not None
    assert packs.places == 3
    small = replace(plan, free_bytes=17 * GIB)
    with pytest.raises(UsageError, match="--pack 3: so many trials do not fit on one base"):
        choose_packs(small, plan.learning, ONE_GPU, trials=8, asked=3)


def test_a_cpu_packs_only_if_it_is_asked_to(tmp_path: Path) -> None:
    """One trial keeps a CPU busy."""
    plan = tiny.with_hardware(tiny.plan(tmp_path), micro_batch_size=2)
    assert choose_packs(plan, plan.learning, ONE_GPU, trials=4, asked=None) == (None, "")
    packs, _ = choose_packs(plan, plan.learning, ONE_GPU, trials=4, asked=3)
    assert packs is not None
    assert packs.places == 3


def test_pack_takes_two_words_or_a_number() -> None:
    """Another word is refused with what it may be."""
    assert [places_asked(word) for word in ("auto", "off", "5")] == [None, 1, 5]
    for word in ("0", "many", "99"):
        with pytest.raises(UsageError, match="--pack takes auto, off or a number of 1 to 32"):
            places_asked(word)
