"""What recorded runs would need of machines under the trainer that made them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tsplanner.errors import TsplannerError
from tsplanner.planner.experiments.recorded import Experiment, read_experiment
from tsplanner.planner.experiments.replayed import as_recorded, experiment_subject
from tsplanner.planner.gather.requests import Subject, plan_request

GIB = 2**30
SIX = {
    "chatts-14b_rtx-6000_lora-r16": (65, 1.718),
    "chatts-14b_rtx-6000_lora-r16-20251228": (60, 1.609),
    "chatts-14b_rtx-2080-ti_qlora-r8": (78, 0.582),
    "chatts-14b_rtx-2080-ti_lora-r8-zero3": (42, 0.569),
    "chatts-8b_rtx-6000_lora-r8": (156, 0.934),
    "chatts-8b_rtx-2080-ti_qlora-r8": (78, 0.984),
}


def on(experiment: Experiment, machine: str, folder: Path):
    """Estimate a run under its own trainer on a shipped machine."""
    subject = experiment_subject(experiment, Subject(machine=machine))
    return as_recorded(experiment, plan_request(subject, folder))


@pytest.mark.parametrize("name", list(SIX)[:2])
def test_14b_in_fp16_under_ddp_cannot_be_on_24_gib_cards(name, tmp_path):
    """27.85 GiB of weights and 0.75 of rotary caches stand on each card: it needs 48 GiB ones."""
    found = read_experiment(name)
    small = on(found, "2x-quadro-rtx-6000-24gib", tmp_path)
    large = on(found, "2x-rtx-6000-ada-48gib", tmp_path)

    assert small.weight_bytes / GIB == pytest.approx(28.60, abs=0.005)
    assert small.needs_bytes > 24 * GIB
    assert (small.fits, large.fits) == (False, True)
    assert large.upper_bytes < large.free_bytes


@pytest.mark.parametrize("name", [name for name in SIX if "qlora" in name])
def test_two_2080_ti_work_with_22_gib_and_not_with_11(name, tmp_path):
    """Rebuilt cards hold the 4-bit base and all logits, those as sold do not."""
    found = read_experiment(name)

    assert on(found, "2x-rtx-2080-ti-22gib", tmp_path).fits
    assert not on(found, "2x-rtx-2080-ti-11gib", tmp_path).fits


def test_parameter_offload_is_what_makes_room_and_optimizer_offload_is_not(tmp_path):
    """ZeRO-3 of 14B on two 2080 Ti: 0.1 GB by the optimizer's states, over 10 GiB by parameters."""
    found = read_experiment("chatts-14b_rtx-2080-ti_lora-r8-zero3")
    neither = replace(found, pins=found.pins.with_(offload_param=False, offload_optimizer=False))
    optimizer = replace(found, pins=found.pins.with_(offload_param=False))
    param = replace(found, pins=found.pins.with_(offload_optimizer=False))
    needs = {
        key: on(run, "2x-rtx-2080-ti-22gib", tmp_path).needs_bytes
        for key, run in (("none", neither), ("optimizer", optimizer), ("param", param))
    }

    assert abs(needs["none"] - needs["optimizer"]) < 0.15e9
    assert needs["none"] - needs["param"] > 10 * GIB
    assert not on(neither, "2x-rtx-2080-ti-11gib", tmp_path).fits


def test_a_model_that_is_too_short_for_the_record_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """OPT has 2,048 learned positions, and the recorded rows are longer."""
    experiment = read_experiment("chatts-8b_rtx-6000_lora-r8")
    subject = experiment_subject(experiment, Subject(model="opt-125m"))
    with pytest.raises(TsplannerError, match=r"opt-125m on .* cannot run the recorded settings"):
        as_recorded(experiment, plan_request(subject, tmp_path))
