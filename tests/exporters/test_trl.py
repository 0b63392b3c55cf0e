"""What TRL is told of a plan."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.settings import LossKernel, changed
from tests.support.exports import said, written
from tests.support.golden import CASES, FREEZE, MESSAGES, TOKENS, Case, case
from tsplanner.datasets.records import LossOn
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


def test_loss_is_said_in_trls_words() -> None:
    """For dialogues; token ids come with their labels, and packing is off either way."""
    found = case("qwen2.5-7b", rows=MESSAGES)
    keys = ("assistant_only_loss", "completion_only_loss")
    for loss_on, words in (
        (LossOn.ASSISTANT, {"assistant_only_loss": True}),
        (LossOn.LAST, {"completion_only_loss": True}),
        (LossOn.ALL, {"completion_only_loss": False}),
    ):
        plan = replace(found.plan, learning=changed(found.plan.learning, loss_on=loss_on))
        for rows_as, wanted in ((MESSAGES, words), (TOKENS, {})):
            read = said(Case(plan, replace(found.options, rows=rows_as)), "trl")
            assert {key: read[key] for key in keys if key in read} == wanted
            assert (read["packing"], read["padding_free"]) == (False, False)
