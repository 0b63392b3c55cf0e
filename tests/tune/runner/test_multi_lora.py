"""When trials of a search share a base, how many, and the sentence that says so."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import pytest

from memory_models.settings import FinetuningType
from tests.support import tiny
from tests.support.toy_request import GIB, HOPPER, request
from tsplanner.cli import build_parser
from tsplanner.commands.tune import add_arguments
from tsplanner.errors import UsageError
from tsplanner.planner.plan import Plan
from tsplanner.planner.rank import choose
from tsplanner.tune.runner.multi_lora import EACH_ALONE, choose_sharing, concurrent_loras
from tsplanner.tune.runner.slots import Slots

ONE_GPU = Slots(jobs=1)


def gpu_plan(**learning: object) -> Plan:
    """Qwen3-8B on one H200, 512 tokens a row."""
    return choose(request("qwen3-8b", HOPPER, length=512, **learning)).plan


def test_small_batches_share_a_base_and_the_sentence_says_what_they_take() -> None:
    """Two rows a step: all that the search has in flight at once, the base counted once."""
    plan = gpu_plan(effective_batch_size=2, lora_rank=64)
    choice = choose_sharing(plan, plan.learning, ONE_GPU, trials=4, asked=None)
    assert choice.multi_lora is not None
    assert choice.multi_lora.max_concurrent_trials == 4
    assert choice.sentence.startswith("4 LoRA trials share each base: ")
    assert " + 3 x " in choice.sentence
    hardware = choice.multi_lora.plan.hardware
    assert hardware.batch.micro_batch_size * hardware.batch.gradient_accumulation_steps == 2
    assert choice.multi_lora.plan.memory.process_bytes.upper <= plan.free_bytes


def test_large_batches_do_not_share_and_the_sentence_says_why() -> None:
    """16 rows of 512 tokens fill the GPU."""
    plan = gpu_plan(effective_batch_size=16)
    choice = choose_sharing(plan, plan.learning, ONE_GPU, trials=4, asked=None)
    assert choice.multi_lora is None
    assert choice.sentence.startswith("A trial's 8,192 tokens per step keep the GPU busy alone (")


def test_what_cannot_share_runs_alone_and_says_so() -> None:
    """DoRA, even if sharing was asked for."""
    plan = gpu_plan(effective_batch_size=2, finetuning_type=FinetuningType.DORA)
    choice = choose_sharing(plan, plan.learning, ONE_GPU, trials=4, asked=3)
    assert choice.multi_lora is None
    assert choice.sentence == "Trials run alone: dora changes or reads the base's own weights."


def test_trials_are_spread_over_the_bases_of_several_gpus() -> None:
    """Six trials on two GPUs: three places each."""
    plan = gpu_plan(effective_batch_size=2)
    slots = Slots(jobs=2, devices=("GPU-0", "GPU-1"))
    choice = choose_sharing(plan, plan.learning, slots, trials=6, asked=None)
    assert choice.multi_lora is not None
    assert choice.multi_lora.max_concurrent_trials == 3


def test_sharing_goes_by_the_gpu_that_has_least_free() -> None:
    """Two GPUs, one of them with 40 GiB free: all workers fit there."""
    plan = gpu_plan(effective_batch_size=2, lora_rank=64)
    slots = Slots(jobs=2, devices=("GPU-0", "GPU-1"), free_bytes=40 * GIB)
    choice = choose_sharing(plan, plan.learning, slots, trials=16, asked=None)
    assert choice.multi_lora is not None
    assert choice.multi_lora.plan.memory.process_bytes.upper <= 40 * GIB


def test_a_number_is_kept_if_it_fits_and_refused_if_not() -> None:
    """--concurrent-loras 3 on the GPU; on 17 GiB two do not fit."""
    plan = gpu_plan(effective_batch_size=2)
    choice = choose_sharing(plan, plan.learning, ONE_GPU, trials=8, asked=3)
    assert choice.multi_lora is not None
    assert choice.multi_lora.max_concurrent_trials == 3
    small = replace(plan, free_bytes=17 * GIB)
    with pytest.raises(
        UsageError, match="--concurrent-loras 3: that number does not fit on one base"
    ):
        choose_sharing(small, plan.learning, ONE_GPU, trials=8, asked=3)


def test_trials_on_a_cpu_share_only_if_asked_to(tmp_path: Path) -> None:
    """One trial keeps a CPU busy."""
    plan = tiny.with_hardware(tiny.plan(tmp_path), micro_batch_size=2)
    assert choose_sharing(plan, plan.learning, ONE_GPU, trials=4, asked=None) == EACH_ALONE
    choice = choose_sharing(plan, plan.learning, ONE_GPU, trials=4, asked=3)
    assert choice.multi_lora is not None
    assert choice.multi_lora.max_concurrent_trials == 3


def test_flag_takes_two_words_or_a_number() -> None:
    """Another word is refused with what it may be."""
    assert [concurrent_loras(word) for word in ("auto", "off", "5")] == [None, 1, 5]
    for word in ("0", "many", "99"):
        with pytest.raises(
            UsageError, match="--concurrent-loras takes auto, off or a number of 1 to 32"
        ):
            concurrent_loras(word)


def test_flag_of_before_is_a_hidden_name_of_the_new_one() -> None:
    """``--pack`` works for one more release, and the help names ``--concurrent-loras`` alone."""
    parser = build_parser("tune")
    assert parser.parse_args(["tune"]).concurrent_loras == "auto"
    assert parser.parse_args(["tune", "--pack", "3"]).concurrent_loras == "3"
    assert parser.parse_args(["tune", "--concurrent-loras", "3"]).concurrent_loras == "3"
    own = argparse.ArgumentParser()
    add_arguments(own)
    assert "--concurrent-loras" in own.format_help()
    assert "--pack" not in own.format_help()
