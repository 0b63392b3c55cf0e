"""An environment as ``pip install .`` makes it, without any training package in sight."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CORE = ("jinja2", "markupsafe", "msgspec", "nvidia-ml-py", "psutil", "PyYAML")
CORE_OF_RICH = ("rich", "markdown-it-py", "mdurl", "Pygments")


def core_environment(folder: Path) -> Path:
    """Make the environment in ``folder``; returns its Python."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    answer = subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True)
    packages = Path(answer.stdout.strip())
    for name in (*CORE, *CORE_OF_RICH):
        _link(name, packages)
    for package in ("tsplanner", "memory_models"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, packages / package, ignore=ignored)
    shutil.copytree(ROOT / "configs", packages / "tsplanner" / "_configs")
    info = packages / "tsplanner-0.2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: tsplanner\nVersion: 0.2.0\n")
    origin = {"url": "https://host/tsplanner.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}}
    (info / "direct_url.json").write_text(json.dumps(origin))
    return python


def _link(name: str, packages: Path) -> None:
    """Link what a distribution installed, as it lies in the environment of the tests."""
    found = metadata.distribution(name)
    for top in {file.parts[0] for file in found.files or () if not file.parts[0].startswith(".")}:
        target = packages / top
        if not target.exists():
            target.symlink_to(Path(str(found.locate_file(top))))


def clean_environment(**more: str) -> dict[str, str]:
    """This process's variables without any that would let other packages in."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return {**kept, **more}


def is_possible() -> bool:
    """Whether this system makes environments out of links."""
    return sys.platform != "win32" and sysconfig.get_path("purelib") is not None
