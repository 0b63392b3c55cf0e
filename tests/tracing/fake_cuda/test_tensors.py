"""What is computed while tracing, and what is only measured."""

from __future__ import annotations

import torch

from tsplanner.tracing.fake_cuda.shapes import ShapeTensor, without_values
from tsplanner.tracing.fake_cuda.storages import Kind, Phase, StorageLog
from tsplanner.tracing.fake_cuda.tensors import TraceMode


def test_whole_numbers_are_computed_and_floats_are_not() -> None:
    """Token ids decide shapes; weights and activations have no values."""
    with TraceMode(StorageLog()):
        ids = torch.arange(6) + 1
        made = torch.zeros(2, 3)
    assert ids.tolist() == [1, 2, 3, 4, 5, 6]
    assert isinstance(made, ShapeTensor)
    assert made.shape == (2, 3)


def test_a_real_mask_decides_how_long_the_result_is() -> None:
    """Two of four positions carry a label."""
    hidden = without_values(torch.zeros(4, 8))
    mask = torch.tensor([True, False, True, False])
    with TraceMode(StorageLog()):
        assert hidden[mask].shape == (2, 8)


def test_what_an_operator_makes_is_followed_and_a_view_is_not() -> None:
    """[2, 3] x [3, 5] in fp32 is 40 bytes."""
    log = StorageLog()
    left, right = without_values(torch.zeros(2, 3)), without_values(torch.zeros(3, 5))
    with TraceMode(log):
        product = left @ right
        view = product.t()
    assert log.events == [(0, 40)]
    assert view.shape == (5, 2)


def test_each_of_two_threads_takes_half_of_the_workspace_at_its_first_product() -> None:
    """Forward and backward have a cuBLAS handle each; later products take nothing."""
    log = StorageLog()
    left, right = without_values(torch.zeros(2, 3)), without_values(torch.zeros(3, 5))
    with TraceMode(log, workspace_bytes=200):
        for phase in (Phase.FORWARD, Phase.BACKWARD, Phase.BACKWARD):
            log.phase = phase
            del phase
            _ = left @ right
    workspaces = [storage for storage in log.known if storage.kind is Kind.WORKSPACE]
    assert [(storage.bytes, storage.phase) for storage in workspaces] == [
        (100, Phase.FORWARD),
        (100, Phase.BACKWARD),
    ]


def test_memory_inside_an_operator_is_given_back() -> None:
    """The gradient of a softmax over 12 fp32 scores makes their product first: 48 bytes."""
    log = StorageLog()
    scores = without_values(torch.zeros(3, 4))
    with TraceMode(log):
        made = torch.ops.aten._softmax_backward_data(scores, scores, -1, torch.float32)
    assert made.shape == (3, 4)
    assert log.events == [(0, 48), (1, 48), (1, 0)]
