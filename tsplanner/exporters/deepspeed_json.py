"""DeepSpeed's JSON for a trainer of your own, beside the torchrun line that starts it.

tsplanner's own worker needs no such file: it renders the same configuration from its job.
"""

from __future__ import annotations

import json

from tsplanner.errors import TsplannerError
from tsplanner.exporters import deepspeed
from tsplanner.exporters.launch import ExportFile, ExportOptions, torchrun_script
from tsplanner.planner.plan import Plan

CONFIG = "ds_config.json"


def files(plan: Plan, options: ExportOptions) -> list[ExportFile]:
    """ds_config.json and run.sh.

    Raises:
        TsplannerError: the plan shards nothing.
    """
    if plan.hardware.sharding.zero_stage == 0:
        raise TsplannerError(
            "The plan shards nothing, so DeepSpeed has nothing to configure: export torchrun, or "
            "plan again with --zero-stage 2 or 3."
        )
    text = json.dumps(deepspeed.render(plan), indent=2) + "\n"
    return [ExportFile(CONFIG, text), torchrun_script(plan, options)]
