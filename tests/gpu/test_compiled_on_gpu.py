"""The compiled kernels on a real GPU give what their references give."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(240)]


def test_every_kernel_gives_what_its_reference_gives() -> None:
    """The comparison that Triton's interpreter runs elsewhere, compiled."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.triton_comparison", "cuda"],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=220,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert {"gated_backward", "rotary", "cross_entropy"} <= set(done.stdout.split())
