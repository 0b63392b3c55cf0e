"""8-bit products of a frozen linear on this GPU: their values, their parts' seconds, their memory.

    python benchmarks/speed/eight_bit.py --output FILE
    python benchmarks/speed/eight_bit.py --cpu --output FILE

For the matrices of Qwen3-8B's layer and several numbers of rows: the bf16 product beside the 8-bit
one, forward and backward, and the parts of it (rounding the rows, transposing the values, the bare
product). Values are compared with the same 8-bit values multiplied in fp32. The bytes that one
product takes beside its result are compared with what the memory model says of it. --cpu runs the
script on small matrices without a GPU, for which its figures say nothing.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tsplanner.runs import versions, write_json
from tsplanner.training.eight_bit import arithmetic, kernels
from tsplanner.training.eight_bit.arithmetic import Rows
from tsplanner.training.eight_bit.forms import FP8, INT8
from tsplanner.training.eight_bit.linear import EightBitLinear, EightBitMatrix

SHAPES = {"q": (4096, 4096), "k": (1024, 4096), "gate": (12288, 4096), "down": (4096, 12288)}
ROWS = (2048, 8192, 16384)
SMALL = {"q": (64, 64), "down": (64, 192)}
FORMS = {"fp8": FP8, "w8a8": INT8}
CALLS = 10


def seconds(call: Callable[[], Any]) -> float:
    """The mean time of a call, after two others."""
    for _ in range(2):
        call()
    _wait()
    began = time.perf_counter()
    for _ in range(CALLS):
        call()
    _wait()
    return (time.perf_counter() - began) / CALLS


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_beside(call: Callable[[], Tensor]) -> int | None:
    """Bytes that a call takes at its peak beside its result; None without a GPU."""
    if not torch.cuda.is_available():
        return None
    call()
    _wait()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    result = call()
    _wait()
    return torch.cuda.max_memory_allocated() - before - result.nbytes


def apart(found: Tensor, wanted: Tensor) -> float:
    """Relative distance of two tensors."""
    return float((found.float() - wanted.float()).norm() / wanted.float().norm())


def in_fp32(left: Rows, right: Rows) -> Tensor:
    """The product of the same values, each in fp32."""
    return (left.values.float() @ right.values.float().t()) * left.scale * right.scale.t()


def rounding(matrix: Tensor, form: torch.dtype) -> dict[str, Any]:
    """How the kernel's values differ from plain PyTorch's on the same device."""
    found = arithmetic.quantise_rows(matrix, form)
    available, kernels.available = kernels.available, lambda: False
    try:
        wanted = arithmetic.quantise_rows(matrix, form)
    finally:
        kernels.available = available
    differs = found.values.float() != wanted.values.float()
    return {
        "share_of_other_values": float(differs.float().mean()),
        "scales_apart": apart(found.scale, wanted.scale),
        "whole_apart": apart(found.whole(torch.float32), wanted.whole(torch.float32)),
    }


def measure(sides: tuple[int, int], rows: int, form: torch.dtype, device: str) -> dict[str, Any]:
    """Values, seconds and bytes of one matrix for so many rows."""
    out, width = sides
    plain = nn.Linear(width, out, bias=False, dtype=torch.bfloat16, device=device)
    plain.requires_grad_(False)
    x = torch.randn(rows, width, device=device).bfloat16()
    gradient = torch.randn(rows, out, device=device).bfloat16()
    stored = arithmetic.quantise_rows(plain.weight.detach(), form)
    matrix = EightBitMatrix(EightBitLinear(plain, stored, torch.bfloat16))
    left = arithmetic.quantise_rows(x, form)
    back = arithmetic.quantise_rows(gradient, form, stored.scale.view(-1))
    turned = Rows(arithmetic.turned(stored.values), stored.scale.new_ones(width, 1))
    operations = 2 * rows * out * width
    timed = {
        "bf16": lambda: x @ plain.weight.t(),
        "bf16_back": lambda: gradient @ plain.weight,
        "whole": lambda: matrix.product(x),
        "whole_back": lambda: matrix.product_back(gradient),
        "rounding": lambda: arithmetic.quantise_rows(x, form),
        "rounding_back": lambda: arithmetic.quantise_rows(gradient, form, stored.scale.view(-1)),
        "transposing": lambda: arithmetic.turned(stored.values),
        "transposing_by_torch": lambda: stored.values.t().contiguous(),
        "product": lambda: arithmetic.multiply(left, stored, torch.bfloat16),
        "product_back": lambda: arithmetic.multiply(back, turned, torch.bfloat16),
    }
    taken = {name: seconds(call) for name, call in timed.items()}
    return {
        "out": out,
        "in": width,
        "rows": rows,
        "seconds": taken,
        "tflops": {name: operations / taken[name] / 1e12 for name in ("bf16", "product", "whole")},
        "from_fp32": apart(matrix.product(x), in_fp32(left, stored)),
        "from_fp32_back": apart(matrix.product_back(gradient), in_fp32(back, turned)),
        "from_bf16": apart(matrix.product(x), x @ plain.weight.t()),
        "rounding": rounding(x, form),
        "bytes_beside": peak_beside(lambda: matrix.product(x)),
        "bytes_beside_said": rows * (width + 4 + (4 * out if form is INT8 else 0)),
        "bytes_beside_back": peak_beside(lambda: matrix.product_back(gradient)),
        "bytes_beside_back_said": rows * (out + 4 + (4 * width if form is INT8 else 0))
        + out * width,
    }


def without_transposing(device: str, form: torch.dtype) -> str:
    """What the product says to values that lie by rows where it wants them by columns."""
    left = torch.ones(64, 64, device=device).to(form)
    right = torch.ones(64, 64, device=device).to(form)
    scale = torch.ones(64, 1, device=device)
    try:
        if form is INT8:
            torch._int_mm(left, right)
        else:
            torch._scaled_mm(
                left, right, scale_a=scale, scale_b=scale.t(), out_dtype=torch.bfloat16
            )
    except RuntimeError as error:
        return str(error).splitlines()[0]
    return "multiplies"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    device = "cpu" if options.cpu else "cuda"
    document: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "versions": versions(),
        "device": "CPU" if options.cpu else torch.cuda.get_device_name(),
        "fused_rounding": not options.cpu and kernels.available(),
    }
    for name, form in FORMS.items():
        rows = [
            {"matrix": part, **measure(sides, count, form, device)}
            for part, sides in (SMALL if options.cpu else SHAPES).items()
            for count in ((40,) if options.cpu else ROWS)
        ]
        document[name] = {"untransposed": without_transposing(device, form), "rows": rows}
        for row in rows:
            taken = row["seconds"]
            print(
                f"{name:5s} {row['matrix']:5s} {row['rows']:6d} rows: {taken['bf16'] / taken['whole']:.2f}x "
                f"forward, {taken['bf16_back'] / taken['whole_back']:.2f}x back; from fp32 "
                f"{row['from_fp32']:.1e}; beside {row['bytes_beside']} said {row['bytes_beside_said']}, "
                f"back {row['bytes_beside_back']} said {row['bytes_beside_back_said']}"
            )
        print(name, "without transposing:", document[name]["untransposed"])
    write_json(options.output, document)


if __name__ == "__main__":
    main()
