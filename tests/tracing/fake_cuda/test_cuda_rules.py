"""CUDA's rules on the CPU."""

from __future__ import annotations

import subprocess
import sys

import torch
from torch.nn import functional

from tsplanner.tracing.fake_cuda.cuda_rules import cuda_autocast_answers, cuda_dropout, cuda_norm
from tsplanner.training.kernels import fused_kernels


def test_autocast_widens_what_cuda_widens_and_nothing_else() -> None:
    """In a process of its own, since the lists are for all of it: pow and softmax are fp32."""
    code = (
        "import torch\n"
        "from tsplanner.tracing.fake_cuda.cuda_rules import use_cuda_casts\n"
        "use_cuda_casts()\n"
        "use_cuda_casts()\n"
        "x = torch.ones(2, 2, dtype=torch.bfloat16)\n"
        "with torch.autocast('cpu', torch.bfloat16):\n"
        "    wide = x.softmax(-1, dtype=torch.float64)\n"
        "    found = [x.pow(2), x.softmax(-1), x.sum(), wide, x @ x]\n"
        "print([str(item.dtype).removeprefix('torch.') for item in found])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    expected = ["float32", "float32", "float32", "float64", "bfloat16"]
    assert done.stdout.strip() == str(expected)


def test_questions_about_cudas_autocast_are_answered_with_the_cpus() -> None:
    """Inside the context, and as before after it."""
    with torch.autocast("cpu", torch.bfloat16):
        assert not torch.is_autocast_enabled("cuda")
        with cuda_autocast_answers():
            assert torch.is_autocast_enabled("cuda")
            assert torch.get_autocast_dtype("cuda") is torch.bfloat16
        assert not torch.is_autocast_enabled("cuda")


def test_dropout_keeps_a_mask_of_one_byte_per_element() -> None:
    """Nothing is kept where nothing is dropped."""
    x = torch.ones(64, requires_grad=True)
    with cuda_dropout():
        dropped = functional.dropout(x, 0.5, True)
        assert functional.dropout(x, 0.5, False) is x
        assert functional.dropout(x, 0.0, True) is x
    saved = dropped.grad_fn._saved_result1  # type: ignore[union-attr]
    assert (saved.dtype, saved.numel()) == (torch.bool, 64)


def test_a_fused_norm_makes_its_output_and_a_number_per_row() -> None:
    """The gradient of the weight is made only if the weight is trained."""
    x, weight = torch.zeros(3, 4, 8, dtype=torch.bfloat16), torch.ones(8, dtype=torch.bfloat16)
    plain = fused_kernels.normed
    with cuda_norm():
        out, scale = fused_kernels.normed(x, weight, 1e-6)
        of_x, of_weight = fused_kernels.normed_backward(out, x, weight, scale, need_weight=False)
    assert (out.shape, out.dtype) == (x.shape, x.dtype)
    assert (scale.shape, scale.dtype) == ((3, 4, 1), torch.float32)
    assert (of_x.shape, of_weight) == (x.shape, None)
    assert fused_kernels.normed is plain
