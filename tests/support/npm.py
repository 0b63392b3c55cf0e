"""Packages of npm that tests use: a page is built and looked at with them."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
from functools import cache
from pathlib import Path

import pytest

AXE = "axe-core@4.10.3"


@cache
def _fetched(name: str) -> Path | None:
    if shutil.which("npm") is None:
        return None
    folder = Path(tempfile.mkdtemp(prefix="tsplanner-npm-"))
    line = ["npm", "pack", "--silent", name]
    done = subprocess.run(
        line, check=False, cwd=folder, capture_output=True, text=True, timeout=120
    )
    if done.returncode:
        return None
    (archive,) = folder.glob("*.tgz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    return folder / "package"


def package(name: str) -> Path:
    """The unpacked folder of ``name@version``; the test is skipped where npm cannot fetch it."""
    found = _fetched(name)
    if found is None:
        pytest.skip(f"npm cannot fetch {name}")
    return found
