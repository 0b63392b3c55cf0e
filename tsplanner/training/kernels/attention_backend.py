"""The kernel that PyTorch's ``scaled_dot_product_attention`` may choose."""

from __future__ import annotations

import torch

from tsplanner.planner.forecast import batch_widths
from tsplanner.planner.plan import Plan


def choose_attention_backend(plan: Plan) -> None:
    """Leave out cuDNN's attention, which PyTorch prefers on Hopper, where widths differ.

    cuDNN makes an execution plan for every new length: 0.06 s for forward and 0.07 s for backward
    on an H200 (torch 2.11, cuDNN 9.19). Flash attention makes none. A 7B LoRA on rows of 24 to
    2,048 tokens ran its 9 steps of 16 micro-batches in 23 s instead of 35 s. Batches of one width
    keep cuDNN, whose kernel itself is faster from 2,048 tokens on.
    """
    one_width = len(set(batch_widths(plan.dataset, plan.hardware))) == 1
    torch.backends.cuda.enable_cudnn_sdp(one_width)
