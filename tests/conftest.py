"""Lets every test use the tiny model and plan of tests/training/tiny.py."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "training"))

# pytest puts tests/ on the path, where the folder tests/datasets would pass for the library of
# that name; transformers is to find none.
sys.modules["datasets"] = None  # type: ignore[assignment]
