"""The same hardware under other learning settings."""

from __future__ import annotations

import pytest

from memory_models.settings import changed
from tests.support.toy_request import HOPPER, request
from tsplanner.errors import TsplannerError
from tsplanner.planner.rank import choose
from tsplanner.planner.replan import replan


def test_replanning_keeps_the_hardware_and_estimates_anew() -> None:
    """The search changes what is learned; the machine's settings stay as planned."""
    plan = choose(request("qwen2.5-0.5b", HOPPER)).plan
    learning = changed(plan.learning, lora_rank=64, num_train_epochs=1)
    found = replan(plan, learning)
    assert found.hardware == plan.hardware
    assert found.learning == learning
    assert found.model.parameters_trainable == 8 * plan.model.parameters_trainable
    assert found.memory.process_bytes.expected > plan.memory.process_bytes.expected
    assert found.time.total_steps * 3 == plan.time.total_steps


def test_replanning_to_a_rank_the_model_cannot_have_says_so() -> None:
    """Qwen2.5-0.5B's keys are 128 wide."""
    plan = choose(request("qwen2.5-0.5b", HOPPER)).plan
    with pytest.raises(TsplannerError, match="These settings cannot run: lora_rank 129 is above"):
        replan(plan, changed(plan.learning, lora_rank=129))
