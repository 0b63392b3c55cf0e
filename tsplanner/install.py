"""How this very install gets a further part: a command that works where it is printed.

Nobody may be told to install a name that no index knows: the files that the installer left behind
say whether tsplanner came from a folder, a git URL or a wheel.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Container, Iterable
from enum import StrEnum
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any

from tsplanner.errors import TsplannerError, without_passwords

TRAINING_DISTRIBUTIONS = ("torch", "transformers", "peft", "accelerate", "optuna", "safetensors")
TORCH_INDEX_VARIABLE = "TSPLANNER_TORCH_INDEX"
ROOT = Path(__file__).resolve().parents[1]
"""Of a source tree, the folder with pyproject.toml."""


class Extra(StrEnum):
    """The optional parts of pyproject.toml."""

    TRAIN = "train"
    DATA = "data"
    QUANT = "quant"
    DEEPSPEED = "deepspeed"
    FLASH = "flash"
    POSTGRES = "postgres"
    HUB = "hub"
    MCP = "mcp"


TRACING = ("torch", "transformers", "peft", "accelerate")
TRAINING = (*TRACING, "safetensors", "tokenizers")
SEARCHING = (*TRAINING, "optuna", "numpy", "sqlalchemy", "filelock")
"""Modules without which a verb would end in the middle of its work."""


def is_planner_only(installed: Container[str]) -> bool:
    """Whether no training package is among the installed distributions."""
    return not any(name in installed for name in TRAINING_DISTRIBUTIONS)


def missing(packages: Iterable[str]) -> list[str]:
    """Those of some modules that cannot be imported here."""
    return [name for name in packages if find_spec(name) is None]


def require(purpose: str, packages: Iterable[str], extra: Extra = Extra.TRAIN) -> None:
    """Raise TsplannerError with the command that installs what is missing for ``purpose``."""
    gone = missing(packages)
    if gone:
        are = "is" if len(gone) == 1 else "are"
        raise TsplannerError(
            f"{purpose} needs {', '.join(gone)}, which {are} not installed: {install_words(extra)}."
        )


def install_words(extra: Extra) -> str:
    """The command for a part, with what to know before it takes gigabytes."""
    words = install_command(extra)
    brings_torch = extra is Extra.TRAIN and find_spec("torch") is None
    return f"{words} {_cpu_words()}" if brings_torch and not has_nvidia_driver() else words


def _cpu_words() -> str:
    """Where a torch without CUDA comes from on a machine without a GPU."""
    if os.environ.get(TORCH_INDEX_VARIABLE):
        return f"(before it, for a torch without CUDA: {torch_command()})"
    return (
        "(this machine has no NVIDIA driver: for a torch without gigabytes of CUDA, install torch "
        "first, from the CPU index that PyTorch's install page names for pip)"
    )


def torch_command() -> str:
    """The command that installs torch alone from the index of TSPLANNER_TORCH_INDEX."""
    index = os.environ.get(TORCH_INDEX_VARIABLE, "")
    return f"{_installer()} {_quoted('--index-url', without_passwords(index), 'torch')}"


def has_nvidia_driver() -> bool:
    """Whether the driver's library or device can be found."""
    if sys.platform == "win32":
        import ctypes.util

        return ctypes.util.find_library("nvcuda") is not None
    return Path("/dev/nvidia0").exists() or Path("/proc/driver/nvidia/version").exists()


def package_command(name: str) -> str:
    """The command that installs one package which is no part of tsplanner."""
    return f"{_installer()} {_quoted(name)}"


@cache
def install_command(extra: Extra) -> str:
    """The command that adds a part to this install, from where tsplanner came."""
    return f"{_installer()} {_quoted(*_requirements(extra))}"


def _quoted(*words: str) -> str:
    """Words as this system's shell reads them; extras stand in brackets, which it would expand."""
    if os.name == "nt":
        import subprocess  # slow to import, and no other system needs it

        return subprocess.list2cmdline(words)
    return shlex.join(words)


def _installer() -> str:
    """The start of the command, for the environment that runs this very program."""
    if find_spec("pip") is None:  # uv and pipx make environments without one
        return f"uv pip install --python {_quoted(sys.executable)}"
    import shutil

    found = shutil.which("pip")
    if found is not None and Path(found).parent == Path(sys.executable).parent:
        return "pip install"
    return f"{_quoted(sys.executable)} -m pip install"


def _requirements(extra: Extra) -> list[str]:
    """What to install: tsplanner with the part from its origin, else the part's own packages."""
    folder = _installed_as()
    if folder is None:  # started from a source tree
        return ["--editable", f"{ROOT}[{extra}]"]
    return from_origin(_origin(folder), extra) or packages_of(_metadata(folder), extra)


def _installed_as() -> Path | None:
    """The dist-info folder of this install; importlib.metadata would cost a plan 20 ms."""
    for place in dict.fromkeys([str(ROOT), *sys.path]):
        if found := sorted(Path(place or ".").glob("tsplanner-*.dist-info")):
            return found[-1]
    return None


def _origin(folder: Path) -> dict[str, Any]:
    """direct_url.json of an install; empty where it came from an index or cannot be read."""
    try:
        origin = json.loads((folder / "direct_url.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return origin if isinstance(origin, dict) else {}


def _metadata(folder: Path) -> list[str]:
    """The requirements that an install's metadata lists."""
    head = "Requires-Dist: "
    try:
        lines = (folder / "METADATA").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return [line.removeprefix(head) for line in lines if line.startswith(head)]


def from_origin(origin: dict[str, Any], extra: Extra) -> list[str] | None:
    """The requirement that a direct_url.json stands for; None if it is gone or there is none.

    Source: PyPA, "Recording the Direct URL Origin of installed distributions".
    """
    url = without_passwords(str(origin.get("url", "")))
    source = origin.get("vcs_info")
    if isinstance(source, dict):
        # The commit, so that the further part is of the version that runs.
        at = source.get("commit_id") or source.get("requested_revision")
        return [f"tsplanner[{extra}] @ {source.get('vcs', 'git')}+{url}{f'@{at}' if at else ''}"]
    if not url.startswith("file:"):
        return [f"tsplanner[{extra}] @ {url}"] if url else None
    from urllib.parse import urlsplit  # urllib is slow to import, and plan needs none of it
    from urllib.request import url2pathname

    path = Path(url2pathname(urlsplit(url).path))
    if not path.exists():
        return None
    if path.is_file():
        return [f"tsplanner[{extra}] @ {url}"]
    editable = (origin.get("dir_info") or {}).get("editable")
    return [*(["--editable"] if editable else []), f"{path}[{extra}]"]


def packages_of(requires: list[str], extra: Extra) -> list[str]:
    """The packages of a part, as the metadata of an install lists them."""
    rows = [row.partition(";") for row in requires]
    marked = re.compile(rf"""extra\s*==\s*['"]{extra}['"]""")
    return [name.strip().replace(" ", "") for name, _, marker in rows if marked.search(marker)]


C_COMPILERS = ("gcc", "clang", "cc")
"""Commands of which Triton needs one: it compiles a launcher for every kernel."""


def compiles_triton() -> bool:
    """Whether Triton and a C compiler are here; neither is run."""
    return find_spec("triton") is not None and any(map(which, C_COMPILERS))


def installed_version(package: str) -> tuple[int, ...]:
    """The version of an installed package by its numbers; empty: it is not installed."""
    from importlib import metadata

    try:
        return version_numbers(metadata.version(package))
    except metadata.PackageNotFoundError:
        return ()


def version_numbers(text: str) -> tuple[int, ...]:
    """Leading numbers of a version: ``2.13.0+cpu`` is (2, 13, 0)."""
    found = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in found.group().split(".")) if found else ()
