"""One optimizer step on fake tensors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from memory_models.settings import Dtype, Optimizer, TrainingSettings, from_flat
from tests.support.shrunk import config_of
from tsplanner.tracing.fake_cuda.storages import Kind, Phase, StorageLog
from tsplanner.tracing.fake_cuda.tensors import TraceMode
from tsplanner.tracing.model import build
from tsplanner.tracing.records import Subject
from tsplanner.tracing.step import Step, takes_loss_arguments
from tsplanner.tracing.trace import prepared, run_once


class Plain(nn.Module):
    """A model whose forward takes ids alone."""

    def forward(self, input_ids: Any) -> Any:
        """Nothing else."""


class Passing(nn.Module):
    """A model that passes on what it does not know."""

    def forward(self, input_ids: Any, **options: Any) -> Any:
        """Anything else too."""


class Wrapped:
    """An adapter around a model."""

    def get_base_model(self) -> nn.Module:
        """The model within."""
        return Passing()


@pytest.mark.parametrize(("model", "expected"), [(Plain(), False), (Passing(), True)])
def test_the_count_of_labels_goes_to_models_that_take_it(model: nn.Module, expected: bool) -> None:
    """As Trainer decides, by the forward's signature."""
    assert takes_loss_arguments(model) is expected
    assert takes_loss_arguments(Wrapped())


def step_of(accumulation: int) -> Step:
    """A LoRA step of a small Llama in fp32."""
    settings = from_flat(
        TrainingSettings,
        model_dtype=Dtype.FP32,
        autocast=None,
        sequence_length=32,
        gradient_accumulation_steps=accumulation,
        optimizer=Optimizer.ADAMW_TORCH,
    )
    return prepared(
        build(Subject(config=config_of("llama")), settings, 3), settings, TraceMode(StorageLog())
    )


def test_a_step_ends_with_states_and_without_gradients() -> None:
    """AdamW keeps two moments per trained element, in fp32, and a counter per tensor."""
    step = step_of(1)
    loaded = step.storages.alive_bytes()
    left = run_once(step)
    trained = [item for item in step.model.parameters() if item.requires_grad]
    states = sum(2 * 4 * item.numel() for item in trained)
    assert states <= left - loaded <= states + 8 * len(trained)
    assert all(item.grad is None for item in trained)
    assert step.storages.phase is Phase.FORWARD
    assert {storage.kind for storage in step.storages.known} >= {Kind.INPUTS, Kind.GRADIENTS}


def test_micro_batches_from_the_third_on_are_not_run() -> None:
    """They repeat the second: except for the inputs, three take the same events as two."""
    counts = []
    for accumulation in (2, 3):
        step = step_of(accumulation)
        run_once(step)
        inputs = [item for item in step.storages.known if item.kind is Kind.INPUTS]
        counts.append((len(step.storages.known) - len(inputs), len(inputs)))
    (two, few), (three, more) = counts
    assert more > few
    assert three - two <= 8  # counting the third one's labels
    assert not torch.is_grad_enabled() or step.model.training
