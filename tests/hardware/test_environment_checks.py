"""What doctor says of a machine."""

from __future__ import annotations

from dataclasses import replace

from memory_models.device import DeviceProcess
from tests.support.environment import HOST, check, facts
from tsplanner.hardware.describe import parse_gpus
from tsplanner.hardware.environment import EnvironmentFacts, State
from tsplanner.hardware.environment_checks import run_checks
from tsplanner.hardware.nvml import NvmlReading

GIB = 1024**3


def test_a_cpu_machine_with_the_libraries_is_ready() -> None:
    """No GPU, no DeepSpeed, no bitsandbytes: training on the CPU still runs."""
    checks = run_checks(facts())
    assert not any(each.fails for each in checks)
    assert check("nvidia driver", facts()).state is State.MISSING
    assert check("bitsandbytes", facts()).state is State.MISSING


def test_everything_that_is_not_ok_says_what_to_do() -> None:
    """A finding without a remedy helps nobody."""
    bare = EnvironmentFacts(python=(3, 9, 1), reading=NvmlReading(reason="none"), host=HOST)
    for each in run_checks(bare):
        assert each.state is State.OK or each.fix


def test_an_old_python_fails() -> None:
    """The interpreter is checked first."""
    assert run_checks(facts(python=(3, 10, 12)))[0].fails


def test_turing_has_no_bf16_whatever_torch_says() -> None:
    """torch.cuda.is_bf16_supported() counts emulation; compute capability 8.0 is the rule."""
    found = check("bf16", facts(devices=parse_gpus("2x RTX 2080 Ti 22GiB")))
    assert found.state is State.WARN
    assert "sm_75" in found.found
    assert "emulation" in found.found
    assert "fp16" in str(found.fix)
    assert check("bf16", facts(devices=parse_gpus("RTX 3090"))).state is State.OK


def test_a_gpu_in_use_is_told_with_its_user() -> None:
    """Plans count what is free now, so who holds the rest is worth a line."""
    (device,) = parse_gpus("H200")
    user = DeviceProcess(pid=77, name="python", used_bytes=None)
    found = check("gpus", facts(devices=(replace(device, processes=(user,)),)))
    assert found.state is State.WARN
    assert "python (77)" in str(found.fix)


def test_small_limits_are_warnings() -> None:
    """A container's memory limit, its 64 MiB of shared memory and a full disk are named."""
    host = replace(
        HOST, available_bytes=2 * GIB, disk_free_bytes=GIB, memory_limited_by="cgroup v2"
    )
    given = facts(host=host, shared_memory_bytes=64 * 1024**2)
    for name in ("memory", "shared memory", "disk"):
        assert check(name, given).state is State.WARN
    assert "cgroup v2 limit" in check("memory", given).found
    assert check("shared memory", facts(shared_memory_bytes=None)).state is State.OK
