"""The warm server that trials fork from."""

from __future__ import annotations

from pathlib import Path

import pytest

from memory_models.settings import Optimizer, Quantization
from tests.support import tiny
from tsplanner.processes import SERVER_COMMAND, WarmServer
from tsplanner.tune.runner.server import server_command, server_for

HIDDEN = (*SERVER_COMMAND, "--without", "bitsandbytes,deepspeed")


def test_libraries_that_start_cuda_are_hidden_from_a_plan_without_them(tmp_path: Path) -> None:
    """A server that has started CUDA cannot fork; on a CPU there is nothing to start."""
    assert server_command(tiny.with_hardware(tiny.plan(tmp_path), accelerator="cuda")) == HIDDEN
    assert server_command(tiny.plan(tmp_path)) == SERVER_COMMAND


@pytest.mark.parametrize(
    "hardware",
    [
        {"quantization": Quantization.NF4_DQ},
        {"optimizer": Optimizer.ADAMW_BNB_8BIT},
        {"zero_stage": 2},
    ],
    ids=["quantized", "8-bit optimizer", "ZeRO"],
)
def test_a_plan_that_needs_such_a_library_sees_it(
    tmp_path: Path, hardware: dict[str, object]
) -> None:
    """The imports of each trial are slower, and the trial runs."""
    plan = tiny.with_hardware(tiny.plan(tmp_path), accelerator="cuda", **hardware)
    assert server_command(plan) == SERVER_COMMAND


def test_trials_of_several_processes_have_no_warm_server(tmp_path: Path) -> None:
    """A server forks one process, and torchrun starts several."""
    plan = tiny.plan(tmp_path)
    with server_for(tiny.with_hardware(plan, world_size=2), tmp_path) as server:
        assert server is None
    assert isinstance(server_for(plan, tmp_path), WarmServer)
    assert not (tmp_path / "server.log").exists()
