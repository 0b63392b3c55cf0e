"""One of several processes that share the base of a plan out; the first prints its bytes."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from tsplanner.planner.files import read_plan
from tsplanner.training.adapters import apply_method
from tsplanner.training.fully_sharded.base import HOST, share_out
from tsplanner.training.model import build_model


def main() -> None:
    """Share the base out, look at a batch once, and print what is here."""
    torch.set_num_threads(1)
    plan = read_plan(Path(sys.argv[1]))
    dist.init_process_group("gloo")
    trained = apply_method(plan, build_model(plan, HOST), 4)
    share_out(trained, HOST, plan.hardware.sharding, fused_loss=True)
    frozen = [each for each in trained.parameters() if not each.requires_grad]
    own = sum(
        each.to_local().nbytes if hasattr(each, "to_local") else each.nbytes for each in frozen
    )
    if dist.get_rank() == 0:
        sys.stdout.write("\n" + json.dumps({"bytes": own}) + "\n")
        sys.stdout.flush()
    dist.barrier()
    os._exit(0)


if __name__ == "__main__":
    main()
