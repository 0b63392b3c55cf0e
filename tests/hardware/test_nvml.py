"""Reading GPUs through a stand-in for NVML."""

from __future__ import annotations

import os

import pytest

from tests.support.fake_nvml import ANSWERS, SLICED, FakeCard, FakeNvml
from tsplanner.hardware.nvml import read_devices, read_nvml

GIB = 1024**3


def test_a_card_is_read_with_what_is_free_now() -> None:
    """Free memory is the driver's word of this moment; rates are the catalogue's."""
    nvml = FakeNvml(FakeCard())
    reading = read_nvml(nvml, {})
    (device,) = reading.devices
    assert device.name == "NVIDIA H200"
    assert (device.total_bytes, device.free_bytes) == (141 * GIB, 139 * GIB)
    assert device.compute_capability == (9, 0)
    assert device.matrix_flops_per_second == 989.4e12
    assert device.memory_bytes_per_second == 4.8e12
    assert device.uuid == "GPU-aaaa"
    assert (reading.driver_version, reading.cuda_version) == ("580.65.06", "13.2")
    assert reading.reason is None
    assert reading.link is None
    assert nvml.open == 0


def test_an_idle_card_is_not_taken_for_pcie_1() -> None:
    """Cards fall back to PCIe 1 while idle: generation 5 with 16 lanes is 63 GB/s."""
    (device,) = read_devices(FakeNvml(FakeCard(generations=(1, 5))), {})
    assert device.host_link_bytes_per_second == pytest.approx(63.008e9)
    (narrow,) = read_devices(FakeNvml(FakeCard(generations=(3, None), lanes=8)), {})
    assert narrow.host_link_bytes_per_second == pytest.approx(7.88e9)


def test_names_may_be_bytes() -> None:
    """Old libraries answer bytes."""
    (device,) = read_devices(FakeNvml(FakeCard(name=b"Tesla T4", total=15 * GIB)), {})
    assert device.name == "Tesla T4"
    assert device.matrix_flops_per_second == 65e12


def test_what_a_card_does_not_answer_is_absent() -> None:
    """Every call may be unsupported: the catalogue fills in or the field is None."""
    silent = FakeCard(
        name="NVIDIA Unheard Of",
        capability=None,
        generations=(None, None),
        lanes=None,
        running=None,
    )
    (device,) = read_devices(FakeNvml(silent), {})
    assert device.compute_capability == (0, 0)
    assert device.matrix_flops_per_second is None
    assert device.memory_bytes_per_second is None
    assert device.host_link_bytes_per_second is None
    assert device.processes == ()


def test_a_card_that_does_not_say_its_memory_is_left_out_with_a_reason() -> None:
    """Without memory there is nothing to plan for."""
    reading = read_nvml(FakeNvml(FakeCard(total=None)), {})
    assert reading.devices == ()
    assert "how much memory" in str(reading.reason)


INDISPENSABLE = ("nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetMemoryInfo")


@pytest.mark.parametrize("call", list(ANSWERS))
def test_no_single_unsupported_call_is_an_error(call: str) -> None:
    """Whatever one driver does not know, the rest of the machine is read."""
    nvml = FakeNvml(
        SLICED, FakeCard(nvlinks=["switch"]), FakeCard(uuid="GPU-b", nvlinks=["switch"])
    )
    nvml.unsupported.add(call)
    nothing = call in (
        "nvmlDeviceGetCount",
        "nvmlDeviceGetHandleByIndex",
        "nvmlDeviceGetMemoryInfo",
    )
    assert (len(read_devices(nvml, {})) == 0) == nothing


def test_no_driver_is_no_error() -> None:
    """A machine without a driver has no GPUs, and doctor can say why."""
    reading = read_nvml(FakeNvml(driver=None), {})
    assert reading.devices == ()
    assert "no NVIDIA driver answers" in str(reading.reason)


def test_other_processes_on_the_card_are_named() -> None:
    """Who holds memory is told, this process left out, and containers hide how much."""
    running = [(os.getpid(), GIB), (1, 2 * GIB), (2**22 + 1, None)]
    (device,) = read_devices(FakeNvml(FakeCard(running=running)), {})
    first, second = device.processes
    assert (first.pid, first.used_bytes) == (1, 2 * GIB)
    assert first.name != ""
    assert (second.pid, second.name, second.used_bytes) == (2**22 + 1, "unknown", None)
