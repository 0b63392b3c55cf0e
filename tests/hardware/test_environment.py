"""The answers of libraries, each asked in a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tsplanner.hardware.environment import library_reports


def reporter(folder: Path, body: str) -> tuple[str, ...]:
    """A stand-in for the child that imports libraries."""
    path = folder / "reporter.py"
    path.write_text("import json, os, sys, time\nfor name in sys.argv[1:]:\n" + body)
    return (sys.executable, str(path))


def test_a_library_that_aborts_its_process_is_named_and_the_rest_is_asked(tmp_path: Path) -> None:
    """One broken native library does not hide the others."""
    answers = library_reports(
        reporter(
            tmp_path,
            "    if name == 'torch': os.abort()\n"
            "    print('noise', flush=True)\n"
            "    print(json.dumps({'asked': name, 'version': '1'}), flush=True)\n",
        )
    )
    assert "ended the process" in answers["torch"]["error"]
    assert all(answer == {"version": "1"} for name, answer in answers.items() if name != "torch")


def test_a_library_that_hangs_is_named(tmp_path: Path) -> None:
    """An import that waits for a device nobody answers for is cut off."""
    answers = library_reports(reporter(tmp_path, "    time.sleep(60)\n"), limit_seconds=0.5)
    assert "took over" in answers["torch"]["error"]


@pytest.mark.slow
def test_the_real_report_names_torch_and_its_build() -> None:
    """The child of this installation answers for torch."""
    torch = library_reports()["torch"]
    assert torch["version"].startswith("2.")
    assert isinstance(torch["architectures"], list)
