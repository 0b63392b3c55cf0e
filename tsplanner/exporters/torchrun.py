"""torchrun: one script that starts every process of a machine."""

from __future__ import annotations

from tsplanner.exporters.launch import ExportFile, ExportOptions, torchrun_script
from tsplanner.planner.plan import Plan


def files(plan: Plan, options: ExportOptions) -> list[ExportFile]:
    """run.sh; a person starts it on each of several machines, with RDZV_ENDPOINT set."""
    return [torchrun_script(plan, options)]
