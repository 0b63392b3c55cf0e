"""What doctor finds, judged from facts that the tests make up."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memory_models.device import Device, DeviceProcess, Host
from tsplanner.hardware.describe import parse_gpus
from tsplanner.hardware.environment import Check, EnvironmentFacts, State, library_reports
from tsplanner.hardware.environment_checks import run_checks
from tsplanner.hardware.nvml import NvmlReading

GIB = 1024**3
VERSIONS = {
    "torch": "2.13.0+cu130",
    "transformers": "5.23.0",
    "peft": "0.21.2",
    "accelerate": "1.15.0",
    "optuna": "5.0.0",
    "safetensors": "0.6.2",
}
CUDA_TORCH = {
    "version": "2.13.0+cu130",
    "cuda": "13.0",
    "architectures": ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120"],
    "cuda_available": True,
    "claims_bf16": True,
}
CPU_TORCH = {**CUDA_TORCH, "version": "2.13.0+cpu", "cuda": None, "architectures": []}
HOST = Host(total_bytes=64 * GIB, available_bytes=60 * GIB, cpu_count=16, disk_free_bytes=500 * GIB)


def facts(*, devices: tuple[Device, ...] = (), **more: Any) -> EnvironmentFacts:
    """A machine on which everything required is in order."""
    reading = NvmlReading(
        devices=devices,
        driver_version="580.65.06" if devices else None,
        cuda_version="13.0" if devices else None,
        reason=None if devices else "no NVIDIA driver answers",
    )
    base = EnvironmentFacts(
        python=(3, 11, 7),
        reading=reading,
        host=HOST,
        versions=VERSIONS,
        libraries={"torch": CUDA_TORCH if devices else CPU_TORCH},
        shared_memory_bytes=8 * GIB,
    )
    return replace(base, **more)


def check(name: str, given: EnvironmentFacts) -> Check:
    """The check of that name."""
    return next(each for each in run_checks(given) if each.name == name)


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


@pytest.mark.parametrize("name", ["torch", *list(VERSIONS)[1:]])
def test_a_missing_required_library_fails(name: str) -> None:
    """Training cannot start without it, and the remedy is a command."""
    versions = {key: value for key, value in VERSIONS.items() if key != name}
    libraries = {} if name == "torch" else {"torch": CPU_TORCH}
    found = check(name, facts(versions=versions, libraries=libraries))
    assert found.fails
    assert found.fix == 'pip install "tsplanner[train]"'


def test_an_old_library_fails() -> None:
    """Versions below the tested ones are named with the one that is needed."""
    found = check("transformers", facts(versions={**VERSIONS, "transformers": "4.57.3"}))
    assert found.fails
    assert "5.0 or later" in str(found.fix)


def test_an_old_python_fails() -> None:
    """The interpreter is checked first."""
    assert run_checks(facts(python=(3, 10, 12)))[0].fails


def test_a_cpu_build_of_torch_on_a_gpu_machine_fails() -> None:
    """The most common slip: the GPUs would idle while the CPU trains."""
    found = check("torch", facts(devices=parse_gpus("H200"), libraries={"torch": CPU_TORCH}))
    assert found.fails
    assert "install a CUDA build" in str(found.fix)


@pytest.mark.parametrize(
    ("gpu", "architectures", "runs"),
    [
        ("RTX 4090", ["sm_80", "sm_86", "sm_90"], True),
        ("RTX 3090", ["sm_80"], True),
        ("RTX 5090", ["sm_80", "sm_90"], False),
        ("RTX 5090", ["sm_80", "sm_90", "compute_90"], True),
        ("V100 32GB", ["sm_75", "sm_80", "sm_90"], False),
        ("H200", ["sm_90a"], True),
    ],
)
def test_torch_must_be_built_for_every_gpu(gpu: str, architectures: list[str], runs: bool) -> None:
    """Machine code serves later minor versions of its own major one, portable code all later."""
    torch = {**CUDA_TORCH, "architectures": architectures}
    found = check("torch", facts(devices=parse_gpus(gpu), libraries={"torch": torch}))
    assert found.fails is not runs


def test_a_driver_too_old_for_torch_fails() -> None:
    """Built for the card and still no CUDA: the driver is to blame."""
    torch = {**CUDA_TORCH, "cuda_available": False}
    found = check("torch", facts(devices=parse_gpus("H200"), libraries={"torch": torch}))
    assert found.fails
    assert "driver is older than CUDA 13.0" in str(found.fix)


def test_turing_has_no_bf16_whatever_torch_says() -> None:
    """torch.cuda.is_bf16_supported() counts emulation; compute capability 8.0 is the rule."""
    found = check("bf16", facts(devices=parse_gpus("2x RTX 2080 Ti 22GiB")))
    assert found.state is State.WARN
    assert "sm_75" in found.found
    assert "emulation" in found.found
    assert "fp16" in str(found.fix)
    assert check("bf16", facts(devices=parse_gpus("RTX 3090"))).state is State.OK


@pytest.mark.parametrize(
    ("gpu", "answer", "state"),
    [
        ("RTX 2080 Ti 22GiB", {"version": "2.8.3"}, State.WARN),
        ("RTX 2080 Ti 22GiB", None, State.OK),
        ("RTX 3090", {"version": "2.8.3"}, State.OK),
        ("RTX 3090", {"error": "undefined symbol"}, State.BROKEN),
        ("RTX 3090", None, State.MISSING),
    ],
)
def test_flash_attention_counts_only_from_ampere_on(
    gpu: str, answer: dict[str, Any] | None, state: State
) -> None:
    """FlashAttention 2 can be installed on a Turing machine and still cannot run there."""
    libraries = {"torch": CUDA_TORCH, **({"flash_attn": answer} if answer else {})}
    found = check("flash-attn", facts(devices=parse_gpus(gpu), libraries=libraries))
    assert found.state is state
    assert not found.fails


def test_bitsandbytes_without_its_cuda_library_is_a_warning_on_a_gpu_machine() -> None:
    """It imports, and quantises on the CPU alone."""
    libraries = {
        "torch": CUDA_TORCH,
        "bitsandbytes": {"version": "0.50.2", "library": "libbitsandbytes_cpu.so"},
    }
    assert check("bitsandbytes", facts(libraries=libraries)).state is State.OK
    gpu = facts(devices=parse_gpus("H200"), libraries=libraries)
    assert check("bitsandbytes", gpu).state is State.WARN


def test_deepspeed_says_whether_its_operators_can_be_built() -> None:
    """Optimizer offload needs a compiler at run time."""
    versions = {**VERSIONS, "deepspeed": "0.19.8"}
    given = facts(devices=parse_gpus("H200"), versions=versions, tools={"g++": "/usr/bin/g++"})
    assert check("deepspeed", given).state is State.WARN
    assert "nvcc" in check("deepspeed", given).found
    built = replace(given, tools={"g++": "/usr/bin/g++", "nvcc": "/usr/local/cuda/bin/nvcc"})
    assert check("deepspeed", built).state is State.OK


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


def reporter(folder: Path, body: str) -> tuple[str, ...]:
    """A stand-in for the child that imports libraries."""
    path = folder / "reporter.py"
    path.write_text("import json, os, sys, time\nfor name in sys.argv[1:]:\n" + body)
    return (sys.executable, str(path))


def test_a_library_that_aborts_its_process_is_named_and_the_rest_is_asked(tmp_path: Path) -> None:
    """One broken native library does not hide the others."""
    answers = library_reports(
        reporter(
            tmp_path,
            "    if name == 'torch': os.abort()\n"
            "    print('noise', flush=True)\n"
            "    print(json.dumps({'asked': name, 'version': '1'}), flush=True)\n",
        )
    )
    assert "ended the process" in answers["torch"]["error"]
    assert all(answer == {"version": "1"} for name, answer in answers.items() if name != "torch")


def test_a_library_that_hangs_is_named(tmp_path: Path) -> None:
    """An import that waits for a device nobody answers for is cut off."""
    answers = library_reports(reporter(tmp_path, "    time.sleep(60)\n"), limit_seconds=0.5)
    assert "took over" in answers["torch"]["error"]


@pytest.mark.slow
def test_the_real_report_names_torch_and_its_build() -> None:
    """The child of this installation answers for torch."""
    torch = library_reports()["torch"]
    assert torch["version"].startswith("2.")
    assert isinstance(torch["architectures"], list)
