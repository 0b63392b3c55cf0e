"""One of several processes that share the base of a plan out; the first prints its bytes."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from tsplanner.planner.files import read_plan
from tsplanner.planner.plan import Plan
from tsplanner.training.adapters import apply_method
from tsplanner.training.base_model.build import build_model
from tsplanner.training.fully_sharded.base import HOST, share_out
from tsplanner.training.fully_sharded.trained import share_out_trained

MOMENTS = ("exp_avg", "exp_avg_sq")


def main() -> None:
    """Share the base out, look at a batch once, and print what is here."""
    torch.set_num_threads(1)
    plan = read_plan(Path(sys.argv[1]))
    dist.init_process_group("gloo")
    if plan.learning.method.trains_base:
        found = trained_bytes(plan)
    else:
        found = {"bytes": frozen_bytes(plan)}
    if dist.get_rank() == 0:
        sys.stdout.write("\n" + json.dumps(found) + "\n")
        sys.stdout.flush()
    dist.barrier()
    os._exit(0)


def trained_bytes(plan: Plan) -> dict[str, int]:
    """Of the weights, and of the moments after a step, where all is trained."""
    model = build_model(plan, HOST)
    share_out_trained(model, HOST, plan.hardware.sharding)
    optimizer = torch.optim.AdamW(model.parameters())
    ids = torch.arange(12).view(1, 12)
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    moments = [values[name] for values in optimizer.state.values() for name in MOMENTS]
    return {"bytes": sum(map(own, model.parameters())), "states": sum(map(own, moments))}


def own(each: Any) -> int:
    """Bytes of a tensor that are here."""
    local = each.to_local() if hasattr(each, "to_local") else each
    return int(local.nbytes)


def frozen_bytes(plan: Plan) -> int:
    """Of the frozen base beside adapters."""
    trained = apply_method(plan, build_model(plan, HOST), 4)
    share_out(trained, HOST, plan.hardware.sharding, fused_loss=True)
    return sum(own(each) for each in trained.parameters() if not each.requires_grad)


if __name__ == "__main__":
    main()
