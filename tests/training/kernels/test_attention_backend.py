"""Which attention kernels PyTorch may choose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from memory_models.settings import changed
from tests.support import tiny
from tsplanner.planner.plan import no_dataset
from tsplanner.training.kernels.attention_backend import choose_attention_backend


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """The switch is PyTorch's own, so every test puts it back."""
    before = torch.backends.cuda.cudnn_sdp_enabled()
    yield
    torch.backends.cuda.enable_cudnn_sdp(before)


def test_rows_of_many_lengths_do_without_the_kernel_that_plans_for_each(tmp_path: Path) -> None:
    """CuDNN stays where all micro-batches have one width, also after a job without it."""
    plan = tiny.plan(tmp_path)
    uneven = replace(plan, dataset=changed(no_dataset(512), quantiles=(64, 200, 512)))
    choose_attention_backend(uneven)
    assert not torch.backends.cuda.cudnn_sdp_enabled()
    choose_attention_backend(replace(plan, dataset=no_dataset(512)))
    assert torch.backends.cuda.cudnn_sdp_enabled()
