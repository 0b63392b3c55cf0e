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


FAMILIES = (
    *("apertus", "bamba", "biogpt", "bitnet", "bloom", "codegen", "cohere2", "deepseek_v2"),
    *("deepseek_v3", "ernie4_5", "exaone4", "falcon", "falcon_h1", "gemma3n_text", "glm4"),
    *("gpt2", "gpt_neo", "gpt_oss", "gptj", "granite", "granitemoe", "granitemoehybrid"),
    *("hunyuan_v1_dense", "lfm2", "llama4_text", "mamba2", "mpt", "nemotron", "nemotron_h"),
    *("olmo2", "olmo3", "persimmon", "phi", "phimoe", "qwen2_moe", "qwen3_next", "smollm3"),
    *("stablelm", "starcoder2", "xglm"),
)
"""Types without a formula: plain decoders, mixtures, latent attention, Mamba and its hybrids."""
CHECKPOINTED = ("deepseek_v3", "falcon", "gpt2", "lfm2", "llama4_text", "mamba2", "phi")
LAYERS_TIMES_RANDOMNESS = 6 * 5120
"""Four checkpointed layers keep the generator's state, twice while one is run again."""


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, int]]:
    """Peak and remaining bytes of every case, traced and real, from one process."""
    return both(CASES, timeout=200)


@pytest.fixture(scope="module")
def families() -> dict[str, dict[str, int]]:
    """The same of one tiny model of every family."""
    cases: dict[str, dict[str, object]] = {
        family: {"family": family, "gradient_checkpointing": False} for family in FAMILIES
    }
    cases |= {f"{family} again": {"family": family} for family in CHECKPOINTED}
    return both(cases, timeout=1200)


def both(cases: dict[str, dict[str, object]], *, timeout: float) -> dict[str, dict[str, int]]:
    """Bytes of some cases, traced and real."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), json.dumps(cases)],
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_without_a_formula_keeps_the_bytes_that_a_real_run_keeps(
    family: str, families: dict[str, dict[str, int]]
) -> None:
    """LoRA on all linears: what is kept for backward is most of the peak, and equal to 0.05 %."""
    case = families[family]
    assert abs(case["traced_peak"] - case["real_peak"]) <= SINGLE_NUMBERS
    assert abs(case["traced_left"] - case["real_left"]) <= SINGLE_NUMBERS


@pytest.mark.slow
@pytest.mark.parametrize("family", CHECKPOINTED)
def test_a_family_that_is_checkpointed_runs_again_what_a_real_run_does(
    family: str, families: dict[str, dict[str, int]]
) -> None:
    """The difference is the state of the CPU's generator, which a GPU keeps in host memory."""
    case = families[f"{family} again"]
    difference = case["real_peak"] - case["traced_peak"]
    assert -SINGLE_NUMBERS <= difference <= LAYERS_TIMES_RANDOMNESS + SINGLE_NUMBERS


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
