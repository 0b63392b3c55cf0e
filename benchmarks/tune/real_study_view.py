"""What real studies come to, in lines: differences on fresh seeds, intervals, the worse ones."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

T_95 = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57}
"""Quantile of Student's distribution for a 95 % interval, by degrees of freedom."""


def half_width(differences: Sequence[float]) -> float | None:
    """Half of the 95 % interval of a mean over seeds; None of one seed or of infinite losses."""
    count = len(differences)
    if count < 2 or not all(map(math.isfinite, differences)):
        return None
    quantile = T_95.get(count - 1, 2.2)
    return quantile * statistics.stdev(differences) / math.sqrt(count)


def summary(document: dict[str, Any]) -> tuple[list[str], int]:
    """A line a study, then the figures of the bars; and how many studies were worse."""
    lines, worse, covered, told = [], 0, 0, 0
    for seed, study in document["studies"].items():
        if "chosen_fresh" not in study:
            lines.append(f"seed {seed}: not finished")
            continue
        tune, chosen, contest = study["tune"], study["chosen_fresh"], study["challenger_fresh"]
        worse += chosen["mean"] > 0
        words = "default" if tune["is_default"] else settings(tune["learning"])
        words += f"; on fresh seeds {chosen['mean']:+.4f}"
        if "covered" in study:
            told, covered = told + 1, covered + study["covered"]
            interval = f"{tune['difference']:+.4f} ± {tune['half_width']:.4f}"
            seen = f"{contest['mean']:+.4f}{around(contest['half_width'])}"
            side = "covers" if study["covered"] else "MISSES"
            words += f"; report {interval} {side} the candidate's {seen}"
        if "cold_tpe" in study:
            best = study["cold_tpe"]
            words += f"; cold TPE {settings(best['learning'])} {best['mean']:+.4f}"
        lines.append(f"seed {seed}: {words}   ({tune['seconds']:.0f} s)")
    lines.append(f"worse than the baseline: {worse}; intervals that cover: {covered} of {told}")
    return lines, worse


def settings(learning: dict[str, Any]) -> str:
    """Rank, rate and epochs."""
    rate = f"{learning['learning_rate']:.1e}"
    return f"r{learning['lora_rank']} {rate} {learning['num_train_epochs']} epochs"


def around(half: float | None) -> str:
    """A half width, if there is one."""
    return "" if half is None else f" ± {half:.4f}"
