"""What 8-bit products would gain: each group of GPUs with its own best plan."""

from __future__ import annotations

from dataclasses import replace

from memory_models.settings import FinetuningType, Quantization
from tests.support.rig import TURING
from tests.support.toy_request import HOPPER, request, with_free
from tsplanner.planner.plan import Verdict
from tsplanner.planner.rank import choose
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.space.eight_bit_alternatives import eight_bit_alternatives
from tsplanner.planner.space.waves import evaluate_all


def found_for(asked: PlanRequest) -> dict[int, list[str]]:
    """The verdicts on the 8-bit plans by the number of GPUs that they use."""
    choice = choose(asked)
    evaluated, _ = evaluate_all(asked)
    found: dict[int, list[str]] = {}
    for each in eight_bit_alternatives(asked, choice.best, evaluated):
        assert each.hardware.base.quantization in (Quantization.FP8, Quantization.W8A8)
        found.setdefault(each.hardware.sharding.world_size, []).append(each.verdict)
    return found


def test_half_the_base_spares_checkpoints_that_the_plain_plan_needs() -> None:
    """7B on 22 GiB: 14 layers checkpointed in fp16, none in 8 bits."""
    asked = request("qwen2.5-7b", TURING, length=2048)
    choice = choose(asked)
    assert choice.plan.hardware.batch.checkpointed_layers == 14
    evaluated, _ = evaluate_all(asked)
    found = eight_bit_alternatives(asked, choice.best, evaluated)
    (fits,) = [each for each in found if each.verdict is Verdict.FITS]
    assert not fits.hardware.batch.gradient_checkpointing


def test_a_base_that_only_fits_in_8_bits_is_tried_on_every_group_of_gpus() -> None:
    """14B on 24 GiB cards: whole it has to be sharded, in 8 bits it fits each card."""
    card = with_free(replace(HOPPER, name="card", total_bytes=24 * 2**30), 23)
    found = found_for(request("qwen2.5-14b", card, card, length=512))
    assert set(found) == {1, 2}
    assert all(Verdict.FITS in verdicts for verdicts in found.values())


def test_nothing_is_added_where_rounding_is_allowed_or_the_base_is_trained() -> None:
    """There 8-bit products are candidates, or there are none."""
    asked = request("qwen2.5-0.5b", HOPPER)
    assert found_for(replace(asked, allow_rounding=True)) == {}
    assert found_for(request("qwen2.5-0.5b", HOPPER, finetuning_type=FinetuningType.FULL)) == {}
