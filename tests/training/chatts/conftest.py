"""What every test of ChatTS needs."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tsplanner.training import chatts  # noqa: E402


@pytest.fixture(autouse=True)
def seed_and_register():
    """Make weights repeatable and the classes known."""
    torch.manual_seed(0)
    chatts.register()
