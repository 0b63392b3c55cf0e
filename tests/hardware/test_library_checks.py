"""What doctor says of the training libraries."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.environment import CPU_TORCH, CUDA_TORCH, VERSIONS, check, facts
from tsplanner.hardware.describe import parse_gpus
from tsplanner.hardware.environment import State
from tsplanner.hardware.library_checks import dotted, sm
from tsplanner.install import Extra, install_words


@pytest.mark.parametrize("name", ["torch", *list(VERSIONS)[1:]])
def test_a_missing_required_library_fails(name: str) -> None:
    """Training cannot start without it, and the remedy is a command."""
    versions = {key: value for key, value in VERSIONS.items() if key != name}
    libraries = {} if name == "torch" else {"torch": CPU_TORCH}
    found = check(name, facts(versions=versions, libraries=libraries))
    assert found.fails
    assert found.fix == install_words(Extra.TRAIN)


def test_an_old_library_fails() -> None:
    """Versions below the tested ones are named with the one that is needed."""
    found = check("transformers", facts(versions={**VERSIONS, "transformers": "4.57.3"}))
    assert found.fails
    assert "5.0 or later" in str(found.fix)


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


def test_versions_and_architectures_are_written_as_people_write_them() -> None:
    """Dots between numbers; sm and two digits, or three from 10.0 on."""
    assert dotted((5, 0)) == "5.0"
    turing, blackwell = parse_gpus("RTX 2080 Ti 22GiB + B200")
    assert (sm(turing), sm(blackwell)) == ("sm_75", "sm_100")
