"""What the verb refuses, prints and leaves on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.verb import tune


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--trials", "0"),
        ("--learning-rate", "1e-3..1e-5"),
        ("--learning-rate=-1..1", ""),
        ("--learning-rate", "1e-3..inf"),
        ("--lora-rank", ""),
        ("--lora-rank", "8,-4"),
        ("--epochs", "0"),
        ("--storage", "mysql://host/db"),
    ],
)
def test_range_that_is_none_ends_before_anything_is_made(
    tmp_path: Path, flag: str, value: str
) -> None:
    """One sentence, status 2, no run folder."""
    words = [flag] if "=" in flag else [flag, value]
    done = tune(tmp_path, "--run-folder", "run", *words)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert flag.partition("=")[0] in done.stderr
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "saves").exists()
