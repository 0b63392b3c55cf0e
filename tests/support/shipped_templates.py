"""The chat templates that packages ship, taken from their wheels and from nowhere else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

WHEELS = ("trl==1.16.0", "axolotl==0.19.0")


@lru_cache
def shipped_templates() -> dict[str, str]:
    """Templates by package and name; the test is skipped where no package can be fetched."""
    with TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "--only-binary=:all:",
        ]
        done = subprocess.run(
            [*command, "-d", folder, *WHEELS], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"the packages cannot be fetched: {done.stderr.strip()[-200:]}")
        found = {}
        for wheel in sorted(Path(folder).glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                for name in archive.namelist():
                    if name.endswith(".jinja"):
                        key = f"{wheel.name.partition('-')[0]}/{Path(name).stem}"
                        found[key] = archive.read(name).decode()
        return found
