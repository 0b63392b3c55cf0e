"""A 4-bit matrix on this GPU: seconds of its dequantisation, and of the product beside it.

    python benchmarks/speed/four_bit.py --output FILE
    python benchmarks/speed/four_bit.py report benchmarks/data/measurements/four_bit_h200_2026-11-30.json

For the matrices of Qwen3-8B's layer, in NF4 with and without double quantisation. ``report`` prints
what a pass of all 36 layers takes in one direction. --cpu tries the script.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tsplanner.runs import versions, write_json

LAYERS = 36
MATRICES = {
    "q": (4096, 4096),
    "k": (1024, 4096),
    "v": (1024, 4096),
    "o": (4096, 4096),
    "gate": (12288, 4096),
    "up": (12288, 4096),
    "down": (4096, 12288),
}
ROWS = (8192, 16384)
CALLS = 20


def seconds(call: Callable[[], Any], *, cuda: bool) -> float:
    """The mean time of a call, after three others."""
    import torch

    def waited() -> float:
        if cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    for _ in range(3):
        call()
    began = waited()
    for _ in range(CALLS):
        call()
    return (waited() - began) / CALLS


def measure(*, cuda: bool) -> list[dict[str, Any]]:
    """A row a shape and form."""
    import torch
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    device, found = "cuda" if cuda else "cpu", []
    for shape in sorted(set(MATRICES.values())):
        size = shape if cuda else (64, 64)
        weight = 0.02 * torch.randn(size, device=device, dtype=torch.bfloat16)
        for double in (False, True):
            packed, state = quantize_4bit(weight, quant_type="nf4", compress_statistics=double)
            row: dict[str, Any] = {"shape": shape, "double": double}
            row["dequantised"] = seconds(lambda p=packed, s=state: dequantize_4bit(p, s), cuda=cuda)  # type: ignore[misc]
            for rows in ROWS if cuda else (8,):
                states = torch.randn(rows, size[1], device=device, dtype=torch.bfloat16)
                row[f"product_{rows}"] = seconds(lambda s=states, w=weight: s @ w.t(), cuda=cuda)  # type: ignore[misc]
            found.append(row)
    return found


def report(path: Path) -> None:
    """Seconds of a pass of all layers in one direction."""
    document = json.loads(path.read_text())
    for double in (False, True):
        known = {tuple(row["shape"]): row for row in document["rows"] if row["double"] is double}
        layer = [known[shape] for shape in MATRICES.values()]
        unpacked = LAYERS * sum(row["dequantised"] for row in layer)
        said = f"{'nf4-dq' if double else 'nf4'}: {1e3 * unpacked:.1f} ms to dequantise all layers"
        for rows in ROWS:
            products = LAYERS * sum(row[f"product_{rows}"] for row in layer)
            said += f", {unpacked / products:.1%} of the products of {rows} rows"
        print(said)


def main() -> None:
    """Measure, or report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("verb", nargs="?", choices=("run", "report"), default="run")
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--output", type=Path, default=Path("/tmp/four_bit.json"))
    parser.add_argument("--cpu", action="store_true")
    options = parser.parse_args()
    if options.verb == "report":
        report(options.file)
        return
    rows = measure(cuda=not options.cpu)
    write_json(
        options.output, {"date": time.strftime("%Y-%m-%d"), "versions": versions(), "rows": rows}
    )
    print(f"{len(rows)} rows in {options.output}")


if __name__ == "__main__":
    main()
