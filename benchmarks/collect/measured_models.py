"""Writes how many runs of each preset and family were measured, for ``tsplanner models``.

    python benchmarks/collect/measured_models.py > tsplanner/models/known/measured.json

It counts the runs of every file of benchmarks/data/measurements/ that a GPU wrote; the name of the
file says which. Files of forecasts count for nothing. tests/models/known/test_listing.py compares
the table with these files.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GPU = re.compile(r"_(h200)(?:x\d)?_")
"""The part of a file's name that says on which GPU it was measured."""
FORECASTS = ("predicted_", "foretold_")
"""How the names of files begin that hold what was expected of runs."""


def runs(document: object) -> Iterator[str]:
    """The model of every run in a decoded file."""
    if isinstance(document, dict):
        model = document.get("model")
        if isinstance(model, str):
            yield model
        for value in document.values():
            yield from runs(value)
    elif isinstance(document, list):
        for value in document:
            yield from runs(value)


def config_of(model: str) -> Path | None:
    """The config.json of a preset, or of a shape in the repository; None: it is neither."""
    for path in (ROOT / "configs" / "models" / model / "config.json", ROOT / model):
        if path.is_file() and path.suffix == ".json":
            return path
    return None


def table() -> dict[str, object]:
    """The whole table: runs by GPU, then by preset and by family."""
    presets: dict[str, Counter[str]] = {}
    families: dict[str, Counter[str]] = {}
    for file in sorted((ROOT / "benchmarks" / "data" / "measurements").glob("*.json")):
        found = GPU.search(file.name)
        if found is None or file.name.startswith(FORECASTS):
            continue
        gpu = found[1].upper()
        for model in runs(json.loads(file.read_text(encoding="utf-8"))):
            path = config_of(model)
            if path is None:
                continue
            family = json.loads(path.read_text(encoding="utf-8"))["model_type"]
            families.setdefault(gpu, Counter())[family] += 1
            if path.name == "config.json":
                presets.setdefault(gpu, Counter())[model] += 1
    return {"presets": _sorted(presets), "families": _sorted(families)}


def _sorted(counts: dict[str, Counter[str]]) -> dict[str, dict[str, int]]:
    return {gpu: dict(sorted(counter.items())) for gpu, counter in sorted(counts.items())}


if __name__ == "__main__":
    print(json.dumps(table(), indent=1))
