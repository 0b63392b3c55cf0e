"""A trace against a real run of the same small model on the CPU: the same bytes come and go.

Both run without autocast, in fp32, with eager attention: there the CPU's kernels make the tensors
that CUDA's make. The real run has no mode active, so autograd adds gradients in place as it likes;
its bytes are what PyTorch's own profiler saw.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.skipif(find_spec("peft") is None, reason="needs the training libraries"),
]
SCRIPT = Path(__file__).parents[1] / "support" / "real_run.py"
STATES_OF_RANDOMNESS = 3 * 5120
"""Checkpointing keeps the CPU generator's state, 5056 bytes a block, in host memory."""
SINGLE_NUMBERS = 2048
"""Counters and scalars that the mode computes for real and that live on the host."""
CASES: dict[str, dict[str, object]] = {
    "lora": {},
    "lora kept": {"gradient_checkpointing": False},
    "lora kept fused": {"gradient_checkpointing": False, "loss_kernel": "fused"},
    "full": {"finetuning_type": "full"},
    "full kept accumulated": {
        "finetuning_type": "full",
        "gradient_checkpointing": False,
        "gradient_accumulation_steps": 2,
    },
    "adalora kept": {"finetuning_type": "adalora", "gradient_checkpointing": False},
    "freeze": {"finetuning_type": "freeze"},
    "full tied": {"finetuning_type": "full", "tied": True},
}


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, int]]:
    """Peak and remaining bytes of every case, traced and real, from one process."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), json.dumps(CASES)],
        check=False,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("name", CASES)
def test_trace_and_real_run_peak_at_the_same_bytes(
    name: str, found: dict[str, dict[str, int]]
) -> None:
    """Births and deaths of tensors are those of a real run, to a few numbers a block."""
    case = found[name]
    kept = CASES[name].get("gradient_checkpointing") is False
    allowed = SINGLE_NUMBERS + (0 if kept else STATES_OF_RANDOMNESS)
    assert abs(case["traced_peak"] - case["real_peak"]) <= allowed
    assert abs(case["traced_left"] - case["real_left"]) <= SINGLE_NUMBERS
