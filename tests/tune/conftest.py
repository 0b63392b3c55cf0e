"""What the tests of searches start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.verb import run_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder beside the tiny plan's data."""
    return run_folder(tmp_path)


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test measures stays in the test's own folder."""
    monkeypatch.setenv("TSPLANNER_STATE", str(tmp_path / "state"))
