"""What SkyPilot reads of a plan."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from tests.support.exports import only
from tests.support.sorts import SORTS, cpu, on_gpus
from tsplanner.errors import TsplannerError
from tsplanner.exporters.launch import ExportOptions
from tsplanner.exporters.registry import render


def test_skypilot_rents_the_plans_cards() -> None:
    """By the catalogue's name, one per process, with everything installed that the plan needs."""
    task = yaml.safe_load(only("skypilot", on_gpus(8), "task.yaml", nodes=2))
    assert task["resources"] == {"accelerators": "H200:8"}
    assert task["num_nodes"] == 2
    assert task["file_mounts"] == {path: path for path in task["file_mounts"]}
    assert "[train]" in task["setup"]
    assert "--nnodes 2" in task["run"]
    assert "SKYPILOT_NODE_IPS" in task["run"]


@pytest.mark.parametrize(
    ("sort", "extras"),
    [
        ("ZeRO-3", "[train,deepspeed]"),
        ("quantised", "[train,quant]"),
        ("8-bit optimizer", "[train,quant]"),
        ("flash", "[train,flash]"),
    ],
)
def test_skypilot_installs_what_the_plan_needs(sort: str, extras: str) -> None:
    """Optional parts are optional."""
    assert extras in yaml.safe_load(only("skypilot", SORTS[sort], "task.yaml"))["setup"]


def test_skypilot_on_a_cpu_asks_for_cores() -> None:
    """No accelerator."""
    task = yaml.safe_load(only("skypilot", cpu(), "task.yaml"))
    assert task["resources"] == {"cpus": "2+"}


def test_skypilot_refuses_cards_that_no_cloud_has() -> None:
    """Mixed machines, and cards without a name there."""
    with pytest.raises(TsplannerError, match="machines with one kind of card"):
        render("skypilot", SORTS["two kinds of cards"], ExportOptions())
    plan = on_gpus(1)
    device = replace(plan.machine.devices[0], name="NVIDIA GeForce RTX 2080 Ti")
    turing = replace(plan, machine=replace(plan.machine, devices=(device,)))
    with pytest.raises(TsplannerError, match="SkyPilot has no name for the NVIDIA GeForce"):
        render("skypilot", turing, ExportOptions())
