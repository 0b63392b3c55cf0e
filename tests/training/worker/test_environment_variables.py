"""Variables of the training libraries."""

from __future__ import annotations

import os

import pytest

from tsplanner.training.worker.environment_variables import DEFAULTS, set_defaults


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything else gets its default."""
    for name in DEFAULTS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    set_defaults()
    expected = {**DEFAULTS, "HF_HUB_OFFLINE": "0"}
    assert {name: os.environ[name] for name in DEFAULTS} == expected
    for name, value in expected.items():
        monkeypatch.setenv(name, value)  # so that the fixture takes them back
