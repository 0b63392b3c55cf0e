"""On a GPU: the kernels round and scale as plain PyTorch does, and tensor cores multiply so."""

from __future__ import annotations

import pytest
import torch

from tsplanner.training.eight_bit import arithmetic, kernels
from tsplanner.training.eight_bit.arithmetic import Rows
from tsplanner.training.eight_bit.forms import FP8, INT8

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(240)]
FORMS = pytest.mark.parametrize("form", [FP8, INT8], ids=["fp8", "int8"])


def on_gpu(*shape: int, seed: int = 0) -> torch.Tensor:
    """Random numbers in bf16 on the GPU."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).bfloat16().cuda()


def on_cpu(rows: Rows) -> Rows:
    """The same rows where plain PyTorch multiplies them."""
    return Rows(rows.values.cpu(), rows.scale.cpu())


@FORMS
@pytest.mark.parametrize("width", [96, 1000, 4096])
def test_rows_are_rounded_as_on_the_cpu(form: torch.dtype, width: int) -> None:
    """Scales to fp32's rounding; a value may differ where it lies between two."""
    matrix, columns = on_gpu(33, width), on_gpu(width, seed=1).float().abs()
    for factors in (None, columns):
        found = on_cpu(arithmetic.quantise_rows(matrix, form, factors))
        wanted = arithmetic.quantise_rows(
            matrix.cpu(), form, None if factors is None else factors.cpu()
        )
        torch.testing.assert_close(found.scale, wanted.scale, rtol=1e-6, atol=0)
        other = found.values.float() != wanted.values.float()
        assert float(other.float().mean()) < 1e-3


@FORMS
@pytest.mark.parametrize("rows", [3, 33, 512])
def test_tensor_cores_multiply_the_same_values(form: torch.dtype, rows: int) -> None:
    """Within bf16's rounding, for few rows too, which are filled up."""
    left = arithmetic.quantise_rows(on_gpu(rows, 256), form)
    right = arithmetic.quantise_rows(on_gpu(128, 256, seed=1), form)
    found = arithmetic.multiply(left, right, torch.bfloat16).cpu()
    wanted = arithmetic.multiply(on_cpu(left), on_cpu(right), torch.float32)
    assert found.shape == wanted.shape
    torch.testing.assert_close(found.float(), wanted, rtol=2**-7, atol=2**-7 * 16)


@FORMS
@pytest.mark.parametrize("shape", [(16, 16), (96, 64), (4096, 1040)], ids=str)
def test_values_are_turned(form: torch.dtype, shape: tuple[int, int]) -> None:
    """To the bit, in tiles that the sides do not fill as well."""
    values = arithmetic.quantise_rows(on_gpu(*shape), form).values
    found = arithmetic.turned(values)
    assert found.is_contiguous()
    assert torch.equal(found.view(torch.int8), values.view(torch.int8).t())


def test_sums_are_scaled_by_rows_and_columns() -> None:
    """[3, 1500] int32 sums, which take two programs per row."""
    sums = torch.randint(-(10**6), 10**6, (3, 1500), dtype=torch.int32).cuda()
    left, right = torch.rand(3, 1).cuda(), torch.rand(1500, 1).cuda()
    found = kernels.scaled(sums, left, right, torch.bfloat16)
    wanted = sums.float() * left * right.t()
    torch.testing.assert_close(found.float(), wanted, rtol=2**-8, atol=1e-3)
