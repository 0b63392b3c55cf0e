"""The two forms of 8-bit values, and what their products ask for."""

from __future__ import annotations

import torch

FP8, INT8 = torch.float8_e4m3fn, torch.int8
LARGEST = {FP8: 448.0, INT8: 127.0}
"""The largest value of each form."""
SMALLEST_SCALE = 2.0**-100
"""A row of zeros gets this scale."""
FEWEST_ROWS = 32
"""cuBLAS multiplies no fewer than 17 rows in int8, so fewer rows are filled up."""
