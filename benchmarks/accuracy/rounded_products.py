"""How far rounded products are from whole ones: fp8, int8 and NF4 on a real model's own tensors.

    python benchmarks/accuracy/rounded_products.py run --model DIR --dataset ROWS --output FILE
    python benchmarks/accuracy/rounded_products.py report FILE

``run`` passes 512 tokens of text through SmolLM2-135M (benchmarks/tune/smollm2.py) on the CPU, takes
what every linear of a decoder layer reads and the gradient of its result, and multiplies both
through each form: y = x W^T and dx = g W. Relative distance from the products in fp32; for the
8-bit forms with a scale per output row of W, as the worker has it, and with one per matrix.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from tsplanner.runs import versions, write_json

TOKENS = 512


def run(options: argparse.Namespace) -> None:
    """Measure and write."""
    import torch
    from torch import Tensor
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tsplanner.training.eight_bit.arithmetic import Rows, multiply, quantise_rows
    from tsplanner.training.eight_bit.forms import FP8, INT8, LARGEST

    model: Any = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    text = "\n\n".join(options.dataset.read_text("utf-8").splitlines()[:60])
    ids = tokenizer(text, return_tensors="pt").input_ids[:, :TOKENS]
    seen: dict[str, list[Tensor]] = {}

    def watch(name: str) -> Any:
        def hook(_: Any, inputs: Any, output: Tensor) -> None:
            seen[name] = [inputs[0].detach()[0]]
            output.register_hook(lambda gradient: seen[name].append(gradient.detach()[0]))

        return hook

    for name, module in model.named_modules():
        if name.startswith("model.layers.") and isinstance(module, torch.nn.Linear):
            module.register_forward_hook(watch(name))
    model(input_ids=ids, labels=ids).loss.backward()

    def per_matrix(weight: Tensor, form: torch.dtype) -> Rows:
        scale = weight.abs().max() / LARGEST[form]
        values = weight / scale
        values = values.round() if form is INT8 else values
        return Rows(values.to(form), scale.expand(len(weight), 1).contiguous())

    def apart(found: Tensor, wanted: Tensor) -> float:
        return round(float((found - wanted).norm() / wanted.norm()), 5)

    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for name, (x, gradient) in seen.items():
        weight = model.get_submodule(name).weight.detach()
        y, of_x = x @ weight.t(), gradient @ weight
        for label, form in (("fp8", FP8), ("int8", INT8)):
            for scales, stored in (
                ("row", quantise_rows(weight, form)),
                ("matrix", per_matrix(weight, form)),
            ):
                to = found[f"{label}, a scale per {scales}"]
                turned = Rows(stored.values.t().contiguous(), stored.scale.new_ones(len(of_x.T), 1))
                back = quantise_rows(gradient, form, stored.scale.view(-1))
                to["W"].append(apart(stored.whole(torch.float32), weight))
                to["y"].append(apart(multiply(quantise_rows(x, form), stored, torch.float32), y))
                to["dx"].append(apart(multiply(back, turned, torch.float32), of_x))
        _four_bit(found["nf4, double scales"], weight, (x, y), (gradient, of_x))
    document = {
        "date": time.strftime("%Y-%m-%d"),
        "versions": versions(),
        "device": "CPU",
        "model": options.model.name,
        "tokens": int(ids.shape[1]),
        "linears": len(seen),
        "apart": found,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.output, document)
    report(document)


def _four_bit(to: dict[str, list[float]], weight: Any, forward: Any, back: Any) -> None:
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    packed, state = quantize_4bit(weight.contiguous(), quant_type="nf4", compress_statistics=True)
    whole = dequantize_4bit(packed, state).float()
    pairs = {"W": (whole, weight), "y": (forward[0] @ whole.t(), forward[1])}
    pairs["dx"] = (back[0] @ whole, back[1])
    for name, (found, wanted) in pairs.items():
        to[name].append(round(float((found - wanted).norm() / wanted.norm()), 5))


def report(document: dict[str, Any]) -> None:
    """Median and worst distance of each form over the linears."""
    print(f"{document['model']}, {document['linears']} linears, {document['tokens']} tokens")
    for form, parts in document["apart"].items():
        words = [
            f"{name} {statistics.median(values):.3f} ({max(values):.3f})"
            for name, values in parts.items()
        ]
        print(f"{form:24s} " + "   ".join(words))


def main() -> None:
    """Run or report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    measured = verbs.add_parser("run")
    measured.add_argument("--model", type=Path, required=True)
    measured.add_argument("--dataset", type=Path, required=True)
    measured.add_argument("--output", type=Path, required=True)
    shown = verbs.add_parser("report")
    shown.add_argument("file", type=Path)
    options = parser.parse_args()
    if options.verb == "report":
        report(json.loads(options.file.read_text()))
    else:
        run(options)


if __name__ == "__main__":
    main()
