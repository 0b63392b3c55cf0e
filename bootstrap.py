"""Set up everything in .venv, then run one thing. Needs Python 3.11 or later and nothing else.

    python3 bootstrap.py demo      plan and tune the embedded default, say where to look
    python3 bootstrap.py test      the default tests
    python3 bootstrap.py quality   style, types, layers
    python3 bootstrap.py setup     only set up

A second run finds .venv as it was and starts at once; --fresh sets up again.
"""

from __future__ import annotations

import argparse
import ctypes.util
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
STAMP = VENV / "tsplanner-setup"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
TORCH = "torch>=2.4,<2.14"
CPU_BUILDS = ("torch==2.13.0+cpu", "torch==2.12.0+cpu", "torch==2.11.0+cpu")
INDEX_VARIABLE = "TSPLANNER_TORCH_INDEX"

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
    parser.add_argument("what", choices=["demo", "test", "quality", "setup"])
    parser.add_argument("--fresh", action="store_true", help="set up again")
    parser.add_argument("rest", nargs="*", help="arguments for pytest, after --")
    options = parser.parse_args()
    if sys.version_info < (3, 11):  # noqa: UP036 this script is what an older Python meets first
        print("tsplanner needs Python 3.11 or later.", file=sys.stderr)
        return 1
    set_up(fresh=options.fresh)
    return {"demo": demo, "test": test, "quality": quality, "setup": lambda _: 0}[options.what](
        options.rest
    )


def set_up(*, fresh: bool) -> None:
    """Make .venv with the package, its training extras and the development tools."""
    wanted = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    if not fresh and STAMP.is_file() and STAMP.read_text() == wanted:
        return
    print("Setting up .venv (once; some minutes) …", flush=True)
    venv.create(VENV, with_pip=True, clear=True)
    pip("install", "--quiet", "--upgrade", "pip>=25.1")
    install_torch()
    pip("install", "--quiet", "--editable", f"{ROOT}[train,quant]")
    pip("install", "--quiet", "--group", f"{ROOT / 'pyproject.toml'}:dev")
    STAMP.write_text(wanted)


def install_torch() -> None:
    """PyTorch with CUDA where there is an NVIDIA driver, the CPU build elsewhere."""
    index = os.environ.get(INDEX_VARIABLE)
    if index:
        pip("install", "--quiet", "--index-url", index, TORCH)
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
    """The default tests."""
    return subprocess.call([str(PYTHON), "-m", "pytest", *rest], cwd=ROOT)


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
