"""Points of a curve from lines that a worker wrote."""

from __future__ import annotations

from tsplanner.report.records.metric_lines import points


def test_what_cannot_be_drawn_is_left_out() -> None:
    """Infinity, a text and a line of something else."""
    lines: list[dict[str, object]] = [
        {"step": 1, "loss": 2.5},
        {"step": 2, "loss": float("inf")},
        {"step": 3, "eval_loss": 1.0},
        {"step": "4", "loss": 1.0},
    ]
    assert points(lines, "loss") == ((1.0, 2.5),)
