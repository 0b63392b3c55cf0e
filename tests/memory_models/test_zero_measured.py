"""The formula against tensors that are really there: two ranks on the CPU under DeepSpeed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from memory_models.settings import (
    FinetuningType,
    Optimizer,
    Quantization,
    TrainingSettings,
    effective_settings,
    from_flat,
)
from memory_models.sharding.states import model_states
from tests.support.sharded_model import CONFIG
from tsplanner.models.source import read_architecture

SCRIPT = Path(__file__).parents[1] / "support" / "sharded_run.py"


def live_bytes(stage: int, method: str, folder: Path) -> int:
    """Bytes of the first rank's tensors after two steps."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    paths = [str(SCRIPT.parents[2]), os.environ.get("PYTHONPATH", "")]
    ranks = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(stage), method, str(folder)],
            env={
                **os.environ,
                **common,
                "RANK": str(rank),
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": os.pathsep.join(path for path in paths if path),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    ends = [process.communicate(timeout=200) for process in ranks]
    assert all(process.returncode == 0 for process in ranks), ends[0][1][-2000:]
    return int(json.loads(ends[0][0].splitlines()[-1])["live"])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_what_stays_on_a_rank_is_what_deepspeed_holds(
    stage: int, method: str, tmp_path: Path
) -> None:
    """Within 1 %: the formula rounds tensors up as a GPU's allocator does."""
    pytest.importorskip("deepspeed")
    settings = from_flat(
        TrainingSettings,
        finetuning_type=FinetuningType(method),
        world_size=2,
        zero_stage=stage,
        optimizer=Optimizer.ADAMW_TORCH,
    )
    architecture = read_architecture(dict(CONFIG), name="tiny", source="tiny")
    expected = model_states(architecture, effective_settings(settings).states).device
    assert live_bytes(stage, method, tmp_path) == pytest.approx(expected, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("form", [Quantization.NF4, Quantization.NF4_DQ])
def test_a_4_bit_base_is_partitioned_and_its_constants_are_not(
    form: Quantization, tmp_path: Path
) -> None:
    """Within 0.1 %, once the code books of 28 matrices are taken as they are on a CPU: 64 bytes,
    and 1,024 with double quantisation; the formula counts a block of 512 bytes for each book.
    """
    pytest.importorskip("deepspeed")
    pytest.importorskip("bitsandbytes")
    settings = from_flat(
        TrainingSettings,
        quantization=form,
        world_size=2,
        zero_stage=3,
        optimizer=Optimizer.ADAMW_TORCH,
    )
    architecture = read_architecture(dict(CONFIG), name="tiny", source="tiny")
    expected = model_states(architecture, effective_settings(settings).states).device
    counted, real = {"nf4": (512, 64), "nf4-dq": (2 * 512, 64 + 1024)}[form]
    found = live_bytes(3, form, tmp_path)
    assert found == pytest.approx(expected - 28 * (counted - real), rel=0.001)
