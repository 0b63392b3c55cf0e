"""What accelerate's own loader reads of a plan."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.support.exports import only
from tests.support.sorts import SORTS


@pytest.mark.parametrize(
    ("sort", "distributed", "precision", "processes"),
    [
        ("cpu", "NO", "no", 1),
        ("one GPU", "NO", "bf16", 1),
        ("fp16", "NO", "fp16", 1),
        ("eight GPUs", "MULTI_GPU", "bf16", 8),
        ("ZeRO-2 with optimizer offload", "DEEPSPEED", "bf16", 4),
        ("ZeRO-3 with parameter offload", "DEEPSPEED", "bf16", 1),
    ],
)
def test_accelerate_reads_its_configuration(
    sort: str, distributed: str, precision: str, processes: int, tmp_path: Path
) -> None:
    """The loader of accelerate itself takes every key and finds what was planned."""
    config = pytest.importorskip("accelerate.commands.config.config_args")
    path = tmp_path / "accelerate.yaml"
    path.write_text(only("accelerate", SORTS[sort], "accelerate.yaml"), encoding="utf-8")
    found = config.load_config_from_file(str(path))
    assert found.distributed_type == distributed
    assert found.mixed_precision == precision
    assert (found.num_processes, found.num_machines) == (processes, 1)
    assert found.use_cpu is (sort == "cpu")


@pytest.mark.parametrize("sort", [name for name in SORTS if name.startswith("ZeRO")])
def test_accelerate_and_deepspeed_say_the_same(sort: str) -> None:
    """Stage, offload and accumulation in accelerate's words are those of the JSON."""
    plan = SORTS[sort]
    found = yaml.safe_load(only("accelerate", plan, "accelerate.yaml"))["deepspeed_config"]
    zero = json.loads(only("deepspeed", plan, "ds_config.json"))["zero_optimization"]
    assert found["zero_stage"] == zero["stage"] == plan.hardware.sharding.zero_stage
    assert (found["offload_param_device"] == "cpu") is ("offload_param" in zero)
    assert (found["offload_optimizer_device"] == "cpu") is ("offload_optimizer" in zero)
    assert found["gradient_accumulation_steps"] == plan.hardware.batch.gradient_accumulation_steps
