"""Triton's kernels run by its interpreter, in a process of its own, where Triton is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="needs Triton")


def interpreted(module: str) -> str:
    """What a module prints under Triton's interpreter, which is chosen at import."""
    found = subprocess.run(
        [sys.executable, "-m", module],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert found.returncode == 0, found.stderr[-2000:]
    return found.stdout
