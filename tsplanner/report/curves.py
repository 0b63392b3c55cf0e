"""A run's loss curve as a PNG."""

from __future__ import annotations

import io
from pathlib import Path

from tsplanner import runs
from tsplanner.errors import TsplannerError

CURVE_FILE = "loss.png"


def write_curve(folder: Path, title: str) -> Path | None:
    """Draw metrics.jsonl of a run folder into loss.png; None if there is nothing to draw.

    Raises TsplannerError if matplotlib is missing.
    """
    rows = runs.read_json_lines(folder / "metrics.jsonl")
    training = points(rows, "loss")
    held_out = points(rows, "eval_loss")
    if not training:
        return None
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        raise TsplannerError(
            'Loss curves need matplotlib: install it with pip install "tsplanner[train]", '
            "or leave them out with --no-plots."
        ) from None
    figure, axes = pyplot.subplots(figsize=(7, 4), dpi=120)
    axes.plot(*zip(*training, strict=True), linewidth=1, label="training, each step")
    if held_out:
        axes.plot(*zip(*held_out, strict=True), marker="o", markersize=4, label="held out")
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("cross-entropy a token, nats")
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    pyplot.close(figure)
    path = folder / CURVE_FILE
    runs.write_bytes(path, buffer.getvalue())
    return path


def points(rows: list[dict[str, object]], key: str) -> list[tuple[float, float]]:
    """(step, value) of every line that has the key and a number for it."""
    found = []
    for row in rows:
        step, value = row.get("step"), row.get(key)
        if isinstance(step, int | float) and isinstance(value, int | float):
            found.append((float(step), float(value)))
    return found
