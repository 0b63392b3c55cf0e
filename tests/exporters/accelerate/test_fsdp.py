"""What accelerate makes of a plan whose base is shared out, and what it cannot take."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memory_models.settings import (
    Dtype,
    FinetuningType,
    LossKernel,
    Optimizer,
    Quantization,
    TrainingSettings,
    changed,
    from_flat,
)
from memory_models.sharding.fully_sharded import gathered_layers, other_slices_bytes, root_bytes
from memory_models.sharding.states import model_states
from memory_models.units import GIB, MIB
from tests.support import tiny
from tests.support.exports import only, said, written
from tests.support.golden import PER_HOST, Case, case
from tests.support.sorts import H200, on_gpus
from tsplanner.errors import TsplannerError
from tsplanner.exporters.trainers import memory
from tsplanner.exporters.trl import running
from tsplanner.models.source import read_model
from tsplanner.planner.plan import Plan

OWN = ("python", "train.py")
NF4 = {"quantization": Quantization.NF4, "upcast_unquantized": False}


def launched(text: str, folder: Path) -> dict[str, str]:
    """The environment that ``accelerate launch`` gives its processes for a file."""
    launch = pytest.importorskip("accelerate.commands.launch")
    from accelerate.utils.launch import (
        prepare_extend_env_parallelism_config,
        prepare_multi_gpu_env,
    )

    file = folder / "accelerate.yaml"
    file.write_text(text, encoding="utf-8")
    asked = launch.launch_command_parser().parse_args(["--config_file", str(file), "train.py"])
    # Where a CPU has no GPUs, it would put the number of these.
    asked.num_processes = 2
    args, _, _ = launch._validate_launch_command(asked)
    assert args.use_fsdp
    found: dict[str, str] = prepare_multi_gpu_env(args)
    if args.use_parallelism_config:
        found = prepare_extend_env_parallelism_config(args, found)
    return found


def test_accelerate_reads_fsdp2_with_every_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its own launcher and plugin: layers wrapped, cut again after forward, whole files."""
    text = only("accelerate", on_gpus(2, fsdp=True), "accelerate.yaml", command=OWN)
    for key, value in launched(text, tmp_path).items():
        monkeypatch.setenv(key, value)
    from accelerate.utils import FullyShardedDataParallelPlugin

    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2
    assert plugin.reshard_after_forward is True
    assert plugin.state_dict_type.name == "FULL_STATE_DICT"
    assert plugin.cpu_ram_efficient_loading is True
    assert plugin.auto_wrap_policy.__name__ == "transformer_auto_wrap_policy"
    assert plugin.transformer_cls_names_to_wrap is None
    assert not plugin.activation_checkpointing


def test_a_copy_for_each_machine_is_a_mesh_of_two_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two machines of two GPUs: two copies, two slices each; one machine alone has no mesh."""
    plan = on_gpus(4, nodes=2, **PER_HOST)
    text = only("accelerate", plan, "accelerate.yaml", command=OWN, nodes=2)
    for key, value in launched(text, tmp_path).items():
        monkeypatch.setenv(key, value)
    from accelerate.parallelism_config import ParallelismConfig

    found = ParallelismConfig()
    assert (found.dp_replicate_size, found.dp_shard_size) == (2, 2)
    assert (found.tp_size, found.cp_size) == (1, 1)
    assert found.fsdp_dim_names == ["dp_replicate", "dp_shard_cp"]
    whole = only("accelerate", on_gpus(4, nodes=2, fsdp=True), "accelerate.yaml", command=OWN)
    assert "parallelism_config" not in whole


def test_our_own_worker_shares_the_base_out_itself() -> None:
    """Under FSDP accelerate would wrap the model a second time."""
    text = only("accelerate", on_gpus(2, fsdp=True), "accelerate.yaml")
    assert "distributed_type: MULTI_GPU" in text
    assert "fsdp_config" not in text
    assert "shares the base out itself" in text


def test_packed_weights_are_called_by_the_arithmetic() -> None:
    """Mixed precision casts what is gathered to that dtype, and bits must not be cast."""
    found = case("qwen2.5-7b", 2, fsdp=True, **NF4)
    assert said(found, "trl")["bnb_4bit_quant_storage"] == "bfloat16"
    assert "fsdp_cpu_ram_efficient_loading: false" in written(found, "trl")["accelerate.yaml"]
    half = {"model_dtype": Dtype.FP16, "autocast": Dtype.FP16}
    narrow = case("qwen2.5-7b", 2, fsdp=True, **NF4, **half)
    assert said(narrow, "axolotl")["bnb_config_kwargs"]["bnb_4bit_quant_storage"] == "float16"
    assert "bnb_4bit_quant_storage" not in said(case("qwen2.5-7b", 2, **NF4), "trl")


def test_what_differs_is_said_where_a_person_reads_it() -> None:
    """Tables of 152,064 x 3,584 x 2 bytes, two of them: 2.0 GiB."""
    for exporter, file in (("trl", "trl.yaml"), ("axolotl", "axolotl.yaml")):
        text = written(case("qwen2.5-7b", 2, fsdp=True), exporter)[file]
        assert "embedding and lm_head (2.0 GiB) for the whole step" in text
        assert "No GPU has run them" in text
    packed = written(case("qwen2.5-7b", 2, fsdp=True, **NF4), "trl")["trl.yaml"]
    assert "Every GPU holds the whole 4-bit base, 5.5 GiB, until FSDP2 has cut it" in packed


def test_a_4_bit_base_that_no_gpu_holds_whole_is_refused() -> None:
    """5.5 GiB come whole before they are cut."""
    found = case("qwen2.5-7b", 2, fsdp=True, **NF4)
    device = replace(H200, free_bytes=5 * GIB)
    machine = replace(found.plan.machine, devices=(device, device))
    short = replace(found.plan, machine=machine)
    with pytest.raises(TsplannerError, match="on every GPU before FSDP2 cuts it"):
        written(Case(short, found.options), "trl")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (case("qwen2.5-7b", 2, fsdp=True, optimizer=Optimizer.ADAFACTOR), "optimizer adafactor"),
        (
            case("qwen2.5-7b", 2, learning={"modules_to_save": ("lm_head",)}, fsdp=True),
            "A trained embed_tokens or lm_head",
        ),
        (case("qwen2.5-vl-7b", 2, fsdp=True), "A vision tower"),
        (
            case(
                "qwen2.5-7b",
                2,
                learning={"finetuning_type": FinetuningType.DORA},
                fsdp=True,
                **NF4,
            ),
            "DoRA on a 4-bit base",
        ),
    ],
)
def test_what_nobody_tried_is_refused_in_a_sentence(changes: Case, says: str) -> None:
    """By each trainer, and for a command of one's own."""
    for exporter in ("trl", "axolotl", "llamafactory"):
        with pytest.raises(TsplannerError, match=says):
            written(changes, exporter)
    with pytest.raises(TsplannerError, match=says):
        only("accelerate", changes.plan, "accelerate.yaml", command=OWN)


def test_series_need_our_own_worker() -> None:
    """The fork's encoder runs for some batches alone, and the others would wait."""
    with pytest.raises(TsplannerError, match="A model of time series was not tried under FSDP2"):
        written(case("chatts-8b", 2, fsdp=True))


QWEN = read_model("qwen2.5-7b").architecture


def settings(**values: Any) -> TrainingSettings:
    """LoRA on two processes, as accelerate wraps it."""
    chosen = {"world_size": 2, "fsdp": True, "fsdp_whole_model": True, **values}
    return from_flat(TrainingSettings, **chosen)


def test_adapters_are_halves_and_tables_are_gathered() -> None:
    """Half of weights and states of 7B's adapters, no buckets; 2 x 152,064 x 3,584 x 2 bytes."""
    wrapped = model_states(QWEN, settings().states)
    own = model_states(QWEN, settings(fsdp_whole_model=False).states)
    assert (wrapped.trained, wrapped.states) == (-(-own.trained // 2), -(-own.states // 2))
    assert wrapped.weights == pytest.approx(own.weights, abs=MIB)
    assert (wrapped.buffers, own.buffers > 0) == (0, True)
    tables = 2 * 152_064 * 3_584 * 2
    assert root_bytes(QWEN, settings().states) == tables
    for loss in (LossKernel.FUSED, LossKernel.PLAIN):
        found = gathered_layers(QWEN, settings(loss_kernel=loss).states)
        assert (found.loss, found.head) == (tables, 0)


def test_a_tied_table_is_one_that_is_cut_and_gathered() -> None:
    """Of 0.5B, whose embedding tsplanner leaves whole: 151,936 x 896 x 2 bytes."""
    small = read_model("qwen2.5-0.5b").architecture
    table = 151_936 * 896 * 2
    assert root_bytes(small, settings().states) == table
    elsewhere = [
        other_slices_bytes(small, settings(fsdp_whole_model=whole).states)
        for whole in (True, False)
    ]
    assert elsewhere[0] - elsewhere[1] == pytest.approx(table / 2, abs=MIB)


def test_the_estimate_is_that_of_slices() -> None:
    """Qwen2.5-7B on two GPUs holds half of 15.2 GB and two layers; DDP holds all of it."""
    shared, whole = (case("qwen2.5-7b", 2, **each).plan for each in ({"fsdp": True}, {}))
    found, before = (
        memory.memory_under(plan, running(plan, plan.architecture), plan.hardware)
        for plan in (shared, whole)
    )
    parts, ddp = ({part.name: part.bytes for part in each.components} for each in (found, before))
    assert ddp["base weights"] == pytest.approx(15.23e9, rel=0.01)
    assert parts["base weights"] == pytest.approx(15.23e9 / 2, rel=0.02)
    assert parts["gathered parameters"] > 2 * 152_064 * 3_584 * 2


def losses(folder: Path, storage: str, method: str, environment: dict[str, str] | None) -> Any:
    """What one process prints, or the first of as many as the plan has."""
    child = ["-m", "tests.support.accelerated_run", str(folder), storage, method]
    command = [sys.executable, *child]
    if environment is not None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        count = environment["PROCESSES"]
        launcher = ["-m", "torch.distributed.run", "--nproc-per-node", count]
        command = [sys.executable, *launcher, "--master-port", str(port), *child]
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **(environment or {})},
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"losses"')]
    assert lines, done.stderr[-3000:]
    return json.loads(lines[0])


def tiny_base(folder: Path) -> Path:
    """The folder of the tiny plan, with weights."""
    import torch

    from tsplanner.training.base_model.build import build_model

    plan: Plan = tiny.plan(folder)
    assert plan.model.path is not None
    build_model(plan, torch.device("cpu")).save_pretrained(plan.model.path)
    return Path(plan.model.path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("storage", "method", "hardware"),
    [
        ("", "lora", {}),
        ("", "dora", {}),
        ("float32", "lora", NF4),
        ("", "lora", {"nodes": 2, "world_size": 4, **PER_HOST}),
    ],
    ids=["plain", "dora", "nf4", "a copy per host"],
)
def test_processes_under_accelerate_learn_from_the_file_what_one_learns(
    tmp_path: Path, storage: str, method: str, hardware: dict[str, Any]
) -> None:
    """Through accelerate's launcher, plugin and wrapping, in fp32 on CPUs."""
    plan = on_gpus(2, fsdp=True)
    nodes = hardware.get("nodes", 1)
    plan = replace(plan, hardware=changed(plan.hardware, **hardware))
    text = only("accelerate", plan, "accelerate.yaml", command=OWN, nodes=nodes)
    environment = launched(text.replace("mixed_precision: bf16", "mixed_precision: 'no'"), tmp_path)
    environment["PROCESSES"] = str(plan.hardware.sharding.world_size)
    folder = tiny_base(tmp_path)
    expected = losses(folder, storage, method, None)["losses"]
    found = losses(folder, storage, method, environment)
    assert found["losses"] == pytest.approx(expected, abs=2e-6)
    assert found["losses"][-1] < found["losses"][0] - 1e-3
    rows, _ = found["slices"]["base_model.model.lm_head.weight"]
    assert rows == 128 // plan.hardware.sharding.slices
    assert any("lora_A" in name for name in found["slices"])
