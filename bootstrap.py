"""Set up everything in .venv, then run one thing. Needs Python 3.11 or later and nothing else.

    python3 bootstrap.py demo      plan and tune the embedded default, say where to look
    python3 bootstrap.py test      the default tests
    python3 bootstrap.py quality   style, types, layers
    python3 bootstrap.py setup     only set up
    python3 bootstrap.py lock      write the file of versions and hashes anew

A second run finds .venv as it was and starts at once; --fresh sets up again. A .venv that something
else made is never touched. Where there is a file of hashes for this platform, nothing but torch is
installed that does not have its hash.
"""

from __future__ import annotations

import argparse
import ctypes.util
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
MARKER = VENV / "tsplanner-setup"
"""Says that this script made the folder, and from which files."""
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
VERSION = f"py{sys.version_info[0]}{sys.version_info[1]}"
PLATFORM = f"{sys.platform}-{platform.machine().lower()}-{VERSION}"
LOCK = ROOT / "locked" / f"{PLATFORM}.txt"
"""Versions with hashes of everything but torch, whose build depends on the machine."""
TORCH = "torch>=2.4,<2.14"
CPU_BUILDS = ("torch==2.13.0+cpu", "torch==2.12.0+cpu", "torch==2.11.0+cpu")
INDEX_VARIABLE = "TSPLANNER_TORCH_INDEX"
GROUPS_PIP = (25, 1)
"""Oldest pip that installs dependency groups; only needed where there is no file of hashes."""
LINUX = sys.platform == "linux"
MOST_TEST_PROCESSES = 8
"""Each holds PyTorch, and some tests start trainings of their own."""
GROUPS = ("dev", "docs")
"""Dependency groups that .venv has."""
BUILD = ("hatchling>=1.25", "editables")
"""Builds the package itself; without isolation, so that its version is locked, too."""

APART = ("tsplanner", "torch", "triton")
"""Never in the file of hashes: the package itself, and what depends on the machine."""

CHECKS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy",),
    ("lint-imports",),
    ("interrogate", "memory_models", "tsplanner", "tests"),
)


def main() -> int:
    """Set up, run, return the status of what ran."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["demo", "test", "quality", "setup", "lock"])
    parser.add_argument("--fresh", action="store_true", help="set up again")
    parser.add_argument("rest", nargs="*", help="arguments for pytest, after --")
    options = parser.parse_args()
    if sys.version_info < (3, 11):  # noqa: UP036 this script is what an older Python meets first
        print("tsplanner needs Python 3.11 or later.", file=sys.stderr)
        return 1
    set_up(fresh=options.fresh)
    verbs = {"demo": demo, "test": test, "quality": quality, "setup": lambda _: 0, "lock": lock}
    return verbs[options.what](options.rest)


def set_up(*, fresh: bool) -> None:
    """Make .venv with the package, its training extras and the development tools."""
    wanted = fingerprint()
    if not MARKER.is_file():
        refuse_foreign()
    elif not fresh and MARKER.read_text(encoding="utf-8") == wanted:
        return
    print("Setting up .venv (once; some minutes) …", flush=True)
    if fresh or not MARKER.is_file():
        venv.create(VENV, with_pip=True, clear=fresh)
    MARKER.write_text("unfinished", encoding="utf-8")
    if LOCK.is_file():
        install_locked()
    else:
        install_newest()
    MARKER.write_text(wanted, encoding="utf-8")


def fingerprint() -> str:
    """A hash of the files that say what belongs into .venv."""
    found = hashlib.sha256((ROOT / "pyproject.toml").read_bytes())
    found.update(LOCK.read_bytes() if LOCK.is_file() else b"")
    return found.hexdigest()


def refuse_foreign() -> None:
    """End with a sentence if .venv holds something that this script did not make."""
    if VENV.is_symlink() or (VENV.exists() and (not VENV.is_dir() or any(VENV.iterdir()))):
        raise SystemExit(
            f"{VENV} was not made by this script and is left alone: move it away, or install into "
            f"it yourself with  {PYTHON} -m pip install --editable '{ROOT}[train,quant]'"
        )


def install_locked() -> None:
    """Everything by its hash, then torch, then the package itself without its requirements."""
    pip("install", "--quiet", "--no-deps", "--require-hashes", "--requirement", str(LOCK))
    install_torch()
    pip("install", "--quiet", "--no-deps", "--no-build-isolation", "--editable", str(ROOT))


def install_newest() -> None:
    """The newest versions that pyproject.toml allows, for a platform without a file of hashes."""
    print(f"No versions with hashes for {PLATFORM}: the newest that fit are taken.", flush=True)
    if pip_version() < GROUPS_PIP:
        pip("install", "--quiet", "--upgrade", "pip>=25.1,<27")
    install_torch()
    pip("install", "--quiet", "--editable", f"{ROOT}[train,quant]")
    pip("install", "--quiet", *groups())


def groups() -> list[str]:
    """Pip's words for the dependency groups."""
    return [word for name in GROUPS for word in ("--group", f"{ROOT / 'pyproject.toml'}:{name}")]


def pip_version() -> tuple[int, ...]:
    """The first two numbers of the version of pip in .venv."""
    said = subprocess.run(
        [str(PYTHON), "-m", "pip", "--version"], check=True, capture_output=True, text=True
    ).stdout
    return tuple(int(part) for part in said.split()[1].split(".")[:2])


def install_torch() -> None:
    """PyTorch with CUDA where there is an NVIDIA driver, the CPU build elsewhere."""
    index = os.environ.get(INDEX_VARIABLE)
    if index:
        # That index is asked for torch alone; what torch needs comes from the usual one.
        pip("install", "--quiet", "--no-deps", "--index-url", index, TORCH)
        pip("install", "--quiet", TORCH)
        return
    if has_nvidia_driver():
        pip("install", "--quiet", TORCH)
        return
    for build in CPU_BUILDS:
        if pip("install", "--quiet", build, check=False, quiet=True) == 0:
            return
    if brings_cuda():
        raise SystemExit(
            "No NVIDIA driver is here, but the torch that pip would take brings gigabytes of CUDA "
            f"packages. Set {INDEX_VARIABLE} to the CPU index that PyTorch's install page names "
            "for pip, and run this again."
        )
    pip("install", "--quiet", TORCH)


def lock(_: list[str]) -> int:
    """Write the file of versions and hashes for this platform, of what .venv resolves to."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        pip(
            *("install", "--quiet", "--dry-run", "--ignore-installed", "--report", str(report)),
            *(f"{ROOT}[train,quant]", *groups(), *BUILD),
        )
        packages = json.loads(report.read_text(encoding="utf-8"))["install"]
    LOCK.parent.mkdir(exist_ok=True)
    LOCK.write_text(locked(packages), encoding="utf-8")
    return 0


def locked(packages: list[dict[str, Any]]) -> str:
    """A requirements file of what pip's report lists, but for the package itself and torch."""
    lines = []
    for package in packages:
        name = package["metadata"]["name"].lower().replace("_", "-")
        hashes = package["download_info"].get("archive_info", {}).get("hashes", {})
        # A CUDA build of torch brings packages of its own, which belong to the machine as it does.
        if name in APART or (name.startswith(("nvidia-", "cuda-")) and name != "nvidia-ml-py"):
            continue
        version = package["metadata"]["version"]
        lines.append(f"{name}=={version} --hash=sha256:{hashes['sha256']}\n")
    return (
        f"# What bootstrap.py installs on {PLATFORM}, each file by its hash; torch apart.\n"
        "# Written by: python3 bootstrap.py lock\n" + "".join(sorted(lines))
    )


def has_nvidia_driver() -> bool:
    """Whether the driver's library can be found."""
    if sys.platform == "win32":
        return ctypes.util.find_library("nvcuda") is not None
    return Path("/dev/nvidia0").exists() or Path("/proc/driver/nvidia/version").exists()


def brings_cuda() -> bool:
    """Ask pip, without installing, whether torch's packages include CUDA."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        status = pip("install", "--quiet", "--dry-run", "--report", str(report), TORCH, check=False)
        if status != 0:
            return False
        packages = json.loads(report.read_text())["install"]
    names = [package["metadata"]["name"].lower() for package in packages]
    return any(name.startswith(("nvidia-", "cuda-")) for name in names)


def pip(*arguments: str, check: bool = True, quiet: bool = False) -> int:
    """Run pip in .venv; returns its status."""
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", *arguments]
    output = subprocess.DEVNULL if quiet else None
    status = subprocess.call(command, stdout=output, stderr=output)
    if check and status:
        raise SystemExit(f"pip {' '.join(arguments)} failed with status {status}.")
    return status


def demo(_: list[str]) -> int:
    """Plan and tune the embedded default; the run lies under saves/."""
    for arguments in (["plan"], ["tune", "--trials", "8"]):
        print(f"\n$ tsplanner {' '.join(arguments)}", flush=True)
        status = subprocess.call([str(PYTHON), "-m", "tsplanner", *arguments], cwd=ROOT)
        if status:
            return status
    print("\n$ tsplanner report", flush=True)
    return subprocess.call([str(PYTHON), "-m", "tsplanner", "report"], cwd=ROOT)


def test(rest: list[str]) -> int:
    """The default tests, a process for each core; ``-n 0`` runs them in one."""
    cores = min(MOST_TEST_PROCESSES, len(os.sched_getaffinity(0)) if LINUX else os.cpu_count() or 1)
    side_by_side = ["-n", str(cores), "--dist", "loadfile"] if cores > 1 else []
    return subprocess.call([str(PYTHON), "-m", "pytest", *side_by_side, *rest], cwd=ROOT)


def quality(_: list[str]) -> int:
    """Style, types, layers, docstrings; all of them, even if one fails."""
    worst = 0
    for check in CHECKS:
        print(f"$ {' '.join(check)}", flush=True)
        status = subprocess.call([str(BIN / check[0]), *check[1:]], cwd=ROOT)
        worst = max(worst, abs(status))
    return worst


if __name__ == "__main__":
    sys.exit(main())
