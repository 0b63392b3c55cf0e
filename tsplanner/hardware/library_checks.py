"""The checks of ``tsplanner doctor`` that judge training libraries."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from memory_models.device import Device
from tsplanner.hardware.environment import Check, EnvironmentFacts, State
from tsplanner.install import Extra, install_words, version_numbers

REQUIRED = {
    "transformers": (5, 0),
    "peft": (0, 18),
    "accelerate": (1, 3),
    "optuna": (5, 0),
    "safetensors": (0, 4),
}
"""Oldest versions that are tested; pyproject.toml requires the same ones."""
# torch is no row of REQUIRED, because a version says too little of its build: a child imports it.
MINIMUM_TORCH = (2, 4)


def dotted(version: tuple[int, ...]) -> str:
    """A version as people write it."""
    return ".".join(map(str, version))


def sm(device: Device) -> str:
    """The compute capability of a device as compilers write it, such as ``sm_75``."""
    return "sm_{}{}".format(*device.compute_capability)


def _torch(facts: EnvironmentFacts) -> Check:
    answer = facts.libraries.get("torch")
    if answer is None:
        return _absent("torch", "torch", install_words(Extra.TRAIN), required=True)
    if "error" in answer:
        return _unusable("torch", answer, "reinstall torch", required=True)
    version = str(answer["version"])
    build = f"built for CUDA {answer['cuda']}" if answer["cuda"] else "built for the CPU"
    found = f"{version}, {build}"
    problem = _torch_problem(answer, facts.reading.devices)
    if version_numbers(version) < MINIMUM_TORCH:
        problem = f"install torch {dotted(MINIMUM_TORCH)} or later"
    state = State.BROKEN if problem else State.OK
    return Check(name="torch", state=state, found=found, fix=problem, required=True)


def _torch_problem(answer: Mapping[str, Any], devices: tuple[Device, ...]) -> str | None:
    """Why this torch cannot use these GPUs, and what to do; None where torch can use them."""
    if not devices:
        return None
    if not answer["cuda"]:
        return "this build ignores the GPUs here: install a CUDA build of torch"
    unfit = [d for d in devices if not _built_for(answer["architectures"], d.compute_capability)]
    if unfit:
        return f"this build has no code for the {unfit[0].name} ({sm(unfit[0])}): install another"
    if not answer["cuda_available"]:
        return f"CUDA does not start: the driver is older than CUDA {answer['cuda']}; update it"
    return None


def _built_for(architectures: list[str], capability: tuple[int, int]) -> bool:
    """Whether a build runs on a GPU.

    Machine code (sm) runs within its major version from its minor version on; portable code
    (compute) on everything later. Source: CUDA C++ Programming Guide, "Binary Compatibility".
    """
    for architecture in architectures:
        found = re.fullmatch(r"(sm|compute)_(\d+)(\d)[a-z]?", architecture)
        if found is None:
            continue
        built = (int(found.group(2)), int(found.group(3)))
        if built <= capability and (found.group(1) == "compute" or built[0] == capability[0]):
            return True
    return False


def _library(name: str, facts: EnvironmentFacts) -> Check:
    """The check of a required library by its version alone."""
    version, minimum = facts.versions.get(name), REQUIRED[name]
    if version is None:
        return _absent(name, name, install_words(Extra.TRAIN), required=True)
    if version_numbers(version) < minimum:
        fix = f"{name} {dotted(minimum)} or later is needed: {install_words(Extra.TRAIN)}"
        return Check(name=name, state=State.BROKEN, found=version, fix=fix, required=True)
    return Check(name=name, state=State.OK, found=version, required=True)


def _absent(name: str, package: str, fix: str, *, required: bool = False) -> Check:
    return Check(
        name=name,
        state=State.MISSING,
        found=f"{package} is not installed",
        fix=fix,
        required=required,
    )


def _unusable(name: str, answer: Mapping[str, Any], fix: str, *, required: bool = False) -> Check:
    return Check(
        name=name,
        state=State.BROKEN,
        found=f"cannot be imported: {answer['error']}",
        fix=fix,
        required=required,
    )


def _bitsandbytes(facts: EnvironmentFacts) -> Check:
    name, answer = "bitsandbytes", facts.libraries.get("bitsandbytes")
    if answer is None:
        fix = f"for QLoRA and 8-bit optimizers: {install_words(Extra.QUANT)}"
        return _absent(name, name, fix)
    if "error" in answer:
        return _unusable(name, answer, "reinstall bitsandbytes to match torch's CUDA build")
    library = answer.get("library") or "no native library"
    found = f"{answer['version']}, {library}"
    if "cuda" not in library and facts.reading.devices:
        fix = "quantised training on the GPU needs its CUDA library: reinstall bitsandbytes"
        return Check(name=name, state=State.WARN, found=found, fix=fix)
    return Check(name=name, state=State.OK, found=found)


def _deepspeed(facts: EnvironmentFacts) -> Check:
    name, version = "deepspeed", facts.versions.get("deepspeed")
    if version is None:
        fix = f"for ZeRO and offload: {install_words(Extra.DEEPSPEED)}"
        return _absent(name, name, fix)
    wanted = ("nvcc", "g++") if facts.reading.devices else ("g++",)
    missing = [tool for tool in wanted if tool not in facts.tools]
    if facts.ds_build_ops == "1":
        version = f"{version}, DS_BUILD_OPS=1"
    if missing:
        fix = f"optimizer offload then uses torch's AdamW; install {' and '.join(missing)}"
        found = f"{version}; its operators cannot be built without {' and '.join(missing)}"
        return Check(name=name, state=State.WARN, found=found, fix=fix)
    return Check(name=name, state=State.OK, found=f"{version}, operators can be built")


def _flash_attn(facts: EnvironmentFacts) -> Check:
    name, answer = "flash-attn", facts.libraries.get("flash_attn")
    able = [device for device in facts.reading.devices if device.has_bf16]
    if answer is None and not able:
        found = "not installed, and no GPU here could run it (compute capability 8.0 and later)"
        return Check(name=name, state=State.OK, found=found)
    if answer is None:
        fix = f"SDPA is as fast in most cases; otherwise {install_words(Extra.FLASH)}"
        return _absent(name, name, fix)
    if "error" in answer:
        return _unusable(
            name, answer, "build it against this torch, or uninstall it; plans then use SDPA"
        )
    if not able:
        found = f"{answer['version']}, but it needs compute capability 8.0 and no GPU here has it"
        return Check(name=name, state=State.WARN, found=found, fix="plans use SDPA instead")
    return Check(name=name, state=State.OK, found=str(answer["version"]))


def _fused_kernels(facts: EnvironmentFacts) -> Check:
    name, answer = "fused kernels", facts.libraries.get("triton")
    liger = facts.versions.get("liger-kernel")
    words = f"liger-kernel {liger}" if liger else "liger-kernel not installed"
    if answer is not None and "error" not in answer:
        return Check(name=name, state=State.OK, found=f"triton {answer['version']}, {words}")
    if answer is not None:
        return _unusable(
            name, answer, "reinstall triton; until then the fused loss runs in plain torch"
        )
    if facts.reading.devices:
        fix = "the fused loss runs in plain torch; triton comes with CUDA builds of torch"
        return Check(name=name, state=State.MISSING, found=f"no triton, {words}", fix=fix)
    found = "no triton; the fused loss runs in plain torch on the CPU"
    return Check(name=name, state=State.OK, found=found)


LIBRARY_CHECKS: tuple[Callable[[EnvironmentFacts], Check], ...] = (
    _torch,
    *(partial(_library, name) for name in REQUIRED),
    _bitsandbytes,
    _deepspeed,
    _flash_attn,
    _fused_kernels,
)
"""In the order of printing."""
