"""What each launcher's own reader makes of its files."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.support.sorts import SORTS, cpu, on_gpus, second_card
from tsplanner.errors import TsplannerError, UsageError
from tsplanner.exporters import deepspeed
from tsplanner.exporters.launch import ExportOptions, spread
from tsplanner.exporters.registry import render
from tsplanner.exporters.sbatch import slurm_time
from tsplanner.planner.plan import Plan


def only(name: str, plan: Plan, file: str, **options: object) -> str:
    """The text of one file of an export."""
    found = render(name, plan, ExportOptions(**options))  # type: ignore[arg-type]
    return next(each.text for each in found if each.name == file)


def directives(text: str) -> dict[str, str]:
    """What Slurm reads: ``#SBATCH --key=value`` lines before the first command."""
    found = {}
    for line in text.splitlines():
        if line.startswith("#SBATCH "):
            key, _, value = line.removeprefix("#SBATCH --").partition("=")
            found[key] = value
        elif line and not line.startswith("#"):
            break
    return found


@pytest.mark.parametrize(
    ("ranks", "micro", "nodes", "expected"),
    [
        # 32 = 1 rank x 2 x 16: two machines halve the accumulation
        (1, 2, 2, (2, 2, 8)),
        # 32 = 8 ranks x 4 x 1: on four machines a rank has one row left
        (8, 4, 4, (32, 1, 1)),
        # 32 = 4 ranks x 8 x 1: two machines leave 4 rows a rank
        (4, 8, 2, (8, 4, 1)),
    ],
)
def test_machines_share_the_effective_batch(
    ranks: int, micro: int, nodes: int, expected: tuple[int, int, int]
) -> None:
    """Accumulation shrinks first, then the micro-batch; the product stays 32."""
    hardware = spread(on_gpus(ranks, micro_batch_size=micro), nodes).hardware
    assert (
        hardware.sharding.world_size,
        hardware.batch.micro_batch_size,
        hardware.batch.gradient_accumulation_steps,
    ) == expected


@pytest.mark.parametrize(("ranks", "nodes"), [(1, 3), (8, 8)])
def test_machines_that_cannot_share_the_batch_are_refused(ranks: int, nodes: int) -> None:
    """32 rows are not shared by 3 ranks, nor by 64."""
    with pytest.raises(TsplannerError, match=rf"cannot be shared by {ranks * nodes} ranks"):
        spread(on_gpus(ranks), nodes)


def test_a_plan_for_the_cpu_stays_on_one_machine() -> None:
    """It runs in one process."""
    with pytest.raises(TsplannerError, match="leave out --nodes"):
        spread(cpu(), 2)


@pytest.mark.slow
@pytest.mark.parametrize("nodes", [1, 2])
def test_torchrun_reads_its_line(nodes: int) -> None:
    """The parser of torch itself finds ranks, machines, module and job."""
    from torch.distributed.run import get_args_parser

    text = only("torchrun", on_gpus(2), "run.sh", nodes=nodes)
    words = shlex.split(text.splitlines()[-1].removeprefix("exec torchrun "))
    found = get_args_parser().parse_args(words)
    assert found.nproc_per_node == "2"
    assert found.standalone is (nodes == 1)
    assert found.nnodes == ("1:1" if nodes == 1 else "2")
    assert found.rdzv_backend == ("static" if nodes == 1 else "c10d")
    assert (found.module, found.training_script) == (True, "tsplanner.training.worker")
    assert found.training_script_args == ["job.json"]


@pytest.mark.parametrize(("chosen", "seen"), [(None, "1"), ("5", "5")])
@pytest.mark.parametrize(
    ("name", "file"), [("torchrun", "run.sh"), ("accelerate", "accelerate.sh")]
)
def test_only_the_plans_cards_are_seen(
    name: str, file: str, chosen: str | None, seen: str, tmp_path: Path
) -> None:
    """Unless the caller chose others; Slurm and clouds hand cards out themselves."""
    text = re.sub(r"exec .*", 'echo "$CUDA_VISIBLE_DEVICES"', only(name, second_card(), file))
    (tmp_path / file).write_text(text, encoding="utf-8")
    environment = {key: each for key, each in os.environ.items() if "CUDA" not in key}
    if chosen is not None:
        environment["CUDA_VISIBLE_DEVICES"] = chosen
    done = subprocess.run(
        ["bash", str(tmp_path / file)], check=True, env=environment, capture_output=True, text=True
    )
    assert done.stdout == f"{seen}\n"
    assert "CUDA_VISIBLE_DEVICES" not in only(name, on_gpus(2), file)


def test_a_card_of_this_machine_is_named_by_its_own_number() -> None:
    """Another order of devices cannot mislead it; on several machines positions count."""
    plan = second_card()
    devices = tuple(
        replace(device, uuid=f"GPU-{place}") for place, device in enumerate(plan.machine.devices)
    )
    here = replace(plan, machine=replace(plan.machine, devices=devices))
    assert "planned=GPU-1\n" in only("torchrun", here, "run.sh")
    assert "planned=1\n" in only("torchrun", here, "run.sh", nodes=2)


def test_torchrun_on_several_machines_asks_where_they_meet() -> None:
    """A machine cannot know the others' names."""
    assert '"${RDZV_ENDPOINT:?' in only("torchrun", on_gpus(2), "run.sh", nodes=2)


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


def test_the_deepspeed_file_is_what_the_worker_itself_uses() -> None:
    """One source for both."""
    plan = SORTS["ZeRO-3"]
    assert json.loads(only("deepspeed", plan, "ds_config.json")) == deepspeed.render(plan)


def test_deepspeed_is_refused_where_nothing_is_sharded() -> None:
    """And the next thing to type is named."""
    with pytest.raises(TsplannerError, match="export torchrun, or plan again with --zero-stage"):
        render("deepspeed", on_gpus(2), ExportOptions())


def test_slurm_is_asked_for_machines_cards_and_time() -> None:
    """The tiny plan: 1 s + 50 % + half an hour for loading is 31 minutes, asked as 40."""
    text = only("sbatch", on_gpus(4), "train.sbatch", nodes=2)
    assert directives(text) == {
        "job-name": "tiny",
        "nodes": "2",
        "ntasks-per-node": "1",
        "cpus-per-task": "16",
        "mem": "1G",
        "time": "0-00:40:00",
        "output": "slurm-%j.log",
        "gpus-per-node": "4",
    }
    assert re.search(r'srun .*torchrun --nnodes 2 --rdzv-backend c10d .*"\$\{hosts\[0\]\}', text)


def test_slurm_is_asked_for_no_card_on_a_cpu() -> None:
    """A queue refuses cards that are not used."""
    assert "gpus-per-node" not in directives(only("sbatch", cpu(), "train.sbatch"))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1, "0-00:10:00"), (600, "0-00:10:00"), (601, "0-00:20:00"), (90_000, "1-01:00:00")],
)
def test_slurm_times_are_rounded_up(seconds: float, text: str) -> None:
    """Ten minutes at least, days before hours."""
    assert slurm_time(seconds) == text


def test_slurm_needs_a_limit_where_the_length_is_unknown() -> None:
    """Without a dataset nobody knows; a limit that is given is taken."""
    with pytest.raises(TsplannerError, match="give --time-limit"):
        render("sbatch", SORTS["no dataset"], ExportOptions())
    text = only("sbatch", SORTS["no dataset"], "train.sbatch", time_limit_seconds=7200)
    assert directives(text)["time"] == "0-02:00:00"


def test_skypilot_rents_the_plans_cards() -> None:
    """By the catalogue's name, as many a machine as ranks, with what the plan needs installed."""
    task = yaml.safe_load(only("skypilot", on_gpus(8), "task.yaml", nodes=2))
    assert task["resources"] == {"accelerators": "H200:8"}
    assert task["num_nodes"] == 2
    assert task["file_mounts"] == {path: path for path in task["file_mounts"]}
    assert "[train]" in task["setup"]
    assert "--nnodes 2" in task["run"]
    assert "SKYPILOT_NODE_IPS" in task["run"]


@pytest.mark.parametrize(
    ("sort", "extras"),
    [
        ("ZeRO-3", "[train,deepspeed]"),
        ("quantised", "[train,quant]"),
        ("8-bit optimizer", "[train,quant]"),
        ("flash", "[train,flash]"),
    ],
)
def test_skypilot_installs_what_the_plan_needs(sort: str, extras: str) -> None:
    """Optional parts are optional."""
    assert extras in yaml.safe_load(only("skypilot", SORTS[sort], "task.yaml"))["setup"]


def test_skypilot_on_a_cpu_asks_for_cores() -> None:
    """No accelerator."""
    task = yaml.safe_load(only("skypilot", cpu(), "task.yaml"))
    assert task["resources"] == {"cpus": "2+"}


def test_skypilot_refuses_cards_that_no_cloud_has() -> None:
    """Mixed machines, and cards without a name there."""
    with pytest.raises(TsplannerError, match="machines with one kind of card"):
        render("skypilot", SORTS["two kinds of cards"], ExportOptions())
    plan = on_gpus(1)
    device = replace(plan.machine.devices[0], name="NVIDIA GeForce RTX 2080 Ti")
    turing = replace(plan, machine=replace(plan.machine, devices=(device,)))
    with pytest.raises(TsplannerError, match="SkyPilot has no name for the NVIDIA GeForce"):
        render("skypilot", turing, ExportOptions())


def test_an_unknown_exporter_gets_the_one_that_was_meant() -> None:
    """And the list of all of them."""
    with pytest.raises(UsageError, match=r'no exporter "sbtach"\. Did you mean "sbatch"\?'):
        render("sbtach", on_gpus(1), ExportOptions())
