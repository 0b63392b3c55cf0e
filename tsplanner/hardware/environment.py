"""The environment that ``doctor`` judges: installed libraries, tools and limits of this machine."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from pathlib import Path
from typing import Any

from memory_models.device import Host
from memory_models.frozen import frozen
from tsplanner.hardware.host import read_host
from tsplanner.hardware.nvml import NvmlReading, read_nvml

REPORT_LIMIT_SECONDS = 120.0
"""Limit for importing the training libraries; reading a cold disk takes most of that time."""
REPORT_COMMAND = (sys.executable, "-m", "tsplanner.training.worker.environment_report")
REPORTED = ("torch", "bitsandbytes", "flash_attn", "triton")
"""Libraries that a child process imports, because their versions say too little."""

DISTRIBUTIONS = (
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "optuna",
    "safetensors",
    "bitsandbytes",
    "deepspeed",
    "flash-attn",
    "triton",
    "liger-kernel",
)

SHARED_MEMORY = Path("/dev/shm")


class State(StrEnum):
    """The result of a check."""

    OK = "ok"
    WARN = "warn"
    """The part works, and there is something to know."""
    MISSING = "missing"
    BROKEN = "broken"


@frozen
class Check:
    """One line of ``tsplanner doctor``."""

    name: str
    state: State
    found: str
    """What the check found, in words."""
    fix: str | None = None
    """What to do; None where nothing is to be done."""
    required: bool = False
    """Training on this machine needs this part."""
    for_plans: bool = False
    """Planning needs it, too."""

    @property
    def fails(self) -> bool:
        """Training cannot run here until this is fixed."""
        return self.required and self.state in (State.MISSING, State.BROKEN)


@frozen
class EnvironmentFacts:
    """Everything that the checks judge, so that the checks themselves read nothing."""

    python: tuple[int, int, int]
    reading: NvmlReading
    host: Host
    versions: Mapping[str, str] = field(default_factory=dict)
    """Version of each installed distribution by its name."""
    libraries: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Answers of ``tsplanner.training.worker.environment_report`` by module name."""
    tools: Mapping[str, str] = field(default_factory=dict)
    """Path of each tool (nvcc, g++) that was found."""
    shared_memory_bytes: int | None = None
    """Size of /dev/shm; None where there is none."""
    ds_build_ops: str | None = None
    """Value of DS_BUILD_OPS; None: not set."""


def read_facts(folder: Path = Path()) -> EnvironmentFacts:
    """The facts of this machine; takes as long as ``import torch`` in a child. Raises nothing."""
    tools = {name: shutil.which(name) or _cuda_tool(name) for name in ("nvcc", "g++")}
    return EnvironmentFacts(
        python=sys.version_info[:3],
        reading=read_nvml(),
        host=read_host(folder),
        versions=installed_versions(),
        libraries=library_reports(),
        tools={name: path for name, path in tools.items() if path},
        shared_memory_bytes=_shared_memory_bytes(),
        ds_build_ops=os.environ.get("DS_BUILD_OPS"),
    )


def installed_versions() -> dict[str, str]:
    """Versions of the training libraries that are installed, from their metadata alone."""
    versions = {}
    for name in DISTRIBUTIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def library_reports(
    command: tuple[str, ...] = REPORT_COMMAND, limit_seconds: float = REPORT_LIMIT_SECONDS
) -> dict[str, dict[str, Any]]:
    """What the child that imports the libraries reports about each of them.

    A library that ends the child or hangs gets an ``error``; a second child then imports the
    libraries that are left. Raises nothing.
    """
    answers: dict[str, dict[str, Any]] = {}
    left = [name for name in REPORTED if _installed(name)]
    while left:
        lines, ending = _ask(command, left, limit_seconds)
        answers.update({name: line for name, line in lines.items() if name in left})
        left = [name for name in left if name not in answers]
        if left:
            # The child keeps the order of the list: the first library without a line ended it.
            answers[left.pop(0)] = {"error": ending}
    return answers


def _ask(
    command: tuple[str, ...], names: list[str], limit_seconds: float
) -> tuple[dict[str, dict[str, Any]], str]:
    """The reports by library, and how the child ended."""
    try:
        child = subprocess.run(
            [*command, *names],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limit_seconds,
            check=False,
        )
        output, ending = child.stdout, f"its import ended the process (status {child.returncode})"
    except subprocess.TimeoutExpired as error:
        output, ending = error.stdout or b"", f"its import took over {limit_seconds:.0f} s"
    except OSError as error:
        output, ending = b"", f"no child process: {error.strerror}"
    answers = {}
    for line in output.decode("utf-8", "replace").splitlines():
        # A library may print while it is imported, so only lines of the report's form are read.
        if line.startswith('{"asked"'):
            answer = json.loads(line)
            answers[answer.pop("asked")] = answer
    return answers, ending


def _installed(module: str) -> bool:
    from tsplanner.hardware.detect import is_found

    return is_found(module)


def _cuda_tool(name: str) -> str | None:
    """The path of a tool of the CUDA toolkit that is not on the PATH; None where there is none."""
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    return shutil.which(name, path=os.path.join(home, "bin"))


def _shared_memory_bytes() -> int | None:
    try:
        return shutil.disk_usage(SHARED_MEMORY).total
    except OSError:
        return None
