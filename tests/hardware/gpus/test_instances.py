"""Machines by the names that clouds rent them under."""

from __future__ import annotations

import pytest

from tsplanner.hardware.describe import parse_gpus
from tsplanner.hardware.detect import machine_for
from tsplanner.hardware.gpus.instances import INSTANCES, Instance, instance_by_name

GIB = 1024**3


@pytest.mark.parametrize("one", INSTANCES.values(), ids=lambda one: one.name)
def test_every_machine_has_cards_of_the_catalogue(one: Instance) -> None:
    """And more RAM than one of its cores needs."""
    devices = parse_gpus(one.name)
    assert len(devices) == int(one.gpus.split("x")[0])
    assert one.ram_gib >= one.cpu_count


def test_a_rented_machine_brings_its_ram_and_its_cores() -> None:
    """Nothing of a p4d.24xlarge has to be assumed."""
    machine = machine_for("P4D.24xlarge", None)
    assert machine.name == "p4d.24xlarge"
    assert [device.name for device in machine.devices] == ["A100 SXM4 40GB"] * 8
    assert machine.host.total_bytes == 1152 * GIB
    assert machine.host.cpu_count == 96
    assert not machine.host.assumed


def test_a_name_that_no_cloud_has_is_none() -> None:
    """Cards are described otherwise."""
    assert instance_by_name("p9.huge") is None
