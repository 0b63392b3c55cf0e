"""Measurements that are committed name no folder of the machine that made them."""

from __future__ import annotations

import re

from benchmarks.collect.portable import PACKAGES, ROOT, portable

MEASUREMENTS = ROOT / "benchmarks" / "data" / "measurements"
CHECKOUT = re.compile(r'"/[^"\s]*/(?:configs|benchmarks|tsplanner|memory_models)/')
"""A path to a checkout, wherever it lay."""


def test_paths_begin_below_the_checkout_and_below_the_packages() -> None:
    """Everything else stays as it was, other paths too."""
    trace = 'File "/opt/some/lib/python3.12/site-packages/torch/_ops.py", line 3'
    given = {
        "path": f"{ROOT.as_posix()}/configs/models",
        "error": [trace],
        "rows": "/tmp/rows",
        "n": 3,
    }
    assert portable(given) == {
        "path": "configs/models",
        "error": ['File "torch/_ops.py", line 3'],
        "rows": "/tmp/rows",
        "n": 3,
    }


def test_no_committed_measurement_names_a_checkout_or_a_folder_of_packages() -> None:
    """Nor what a machine's user called them."""
    found = [
        path.name
        for path in sorted(MEASUREMENTS.glob("*.json"))
        for text in (path.read_text(encoding="utf-8"),)
        if CHECKOUT.search(text) or PACKAGES.search(text)
    ]
    assert found == []
