"""What TRL is told of a plan."""

from __future__ import annotations

import pytest

from memory_models.settings import LossKernel
from tests.support.exports import said, written
from tests.support.golden import CASES, FREEZE, case
from tsplanner.errors import TsplannerError
from tsplanner.exporters.trl import running


def test_trl_freezes_nothing() -> None:
    """Trl sft trains an adapter or everything; axolotl names what stays trained."""
    frozen = case("llama-3.2-1b", learning={"finetuning_type": FREEZE})
    with pytest.raises(TsplannerError, match="trl sft has no freeze"):
        said(frozen, "trl")
    # 16 blocks, the last two of them
    assert said(frozen, "axolotl")["unfrozen_parameters"] == [
        r"^model\.layers\.14\.",
        r"^model\.layers\.15\.",
    ]


def test_trl_runs_on_a_cpu_with_words_of_its_own() -> None:
    """No allocator of CUDA is set there."""
    found = CASES["trl"]["cpu"]
    assert said(found, "trl")["use_cpu"] is True
    assert "PYTORCH_CUDA_ALLOC_CONF" not in written(found, "trl")["trl.sh"]
    on_a_gpu = CASES["trl"]["lora"]
    assert "use_cpu" not in said(on_a_gpu, "trl")
    assert "expandable_segments:True" in written(on_a_gpu, "trl")["trl.sh"]


def test_trl_prepares_no_base_and_computes_its_loss_in_chunks() -> None:
    """Its memory is estimated so."""
    plan = CASES["trl"]["qlora"].plan
    under = running(plan, plan.architecture)
    assert (under.upcast_unquantized, under.loss_kernel) == (False, LossKernel.FUSED)
    assert said(CASES["trl"]["qlora"], "trl")["use_bnb_nested_quant"] is True
