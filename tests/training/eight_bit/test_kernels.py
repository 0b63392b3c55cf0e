"""Where the kernels of Triton run; their values are compared on a GPU (tests/gpu)."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from shutil import which

import pytest

from tsplanner import install
from tsplanner.training.eight_bit import kernels

FOLDER = Path(kernels.__file__).parent


@pytest.fixture(autouse=True)
def _fresh() -> None:
    kernels.available.cache_clear()


def test_kernels_need_triton_and_a_compiler_of_c() -> None:
    """Neither is asked for anything else."""
    wanted = find_spec("triton") is not None and any(map(which, ("gcc", "clang", "cc")))
    assert kernels.available() is wanted


def test_without_a_compiler_plain_pytorch_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton compiles a launcher for every kernel."""
    monkeypatch.setattr(install, "which", lambda _: None)
    assert not kernels.available()


def test_only_the_programs_import_triton() -> None:
    """Importing the other modules needs no Triton."""
    found = [
        path.stem for path in FOLDER.glob("*.py") if "import triton" in path.read_text("utf-8")
    ]
    assert found == ["triton_programs"]
