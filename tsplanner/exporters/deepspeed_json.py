"""DeepSpeed's JSON for a user's own trainer, and the torchrun command that starts the trainer.

tsplanner's own worker does not need the file, because it renders the same configuration.
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
