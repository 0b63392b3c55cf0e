"""Which causal model types can be streamed: losses and gradients beside those of a resident base.

python benchmarks/reliability/streamed_families.py [TYPE ...] [--seconds 40]

Builds four small layers of every causal type of the installed transformers, adapts the linears of
its layers, runs three micro-batches one after the other, then the same three layer by layer from
host memory, and compares the losses and every gradient. A line per type: equal, off by so much,
refused in the worker's words, or not built here.
"""

from __future__ import annotations

import argparse
import os
import signal
import warnings
from collections.abc import Callable
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from benchmarks.collect.family_configs import tiny_config
from tsplanner.errors import TsplannerError
from tsplanner.training.adapters import decoder_layers
from tsplanner.training.base_model.configuration import configuration_values
from tsplanner.training.streaming.feed import WeightFeed
from tsplanner.training.streaming.layer_inputs import LayerInputs
from tsplanner.training.streaming.layer_major import LayerMajor
from tsplanner.training.streaming.regions import Region
from tsplanner.training.streaming.slabs import Slab, plain_homes
from tsplanner.training.targets import linear_names

CPU = torch.device("cpu")
PASSES, TOKENS, RANK = 3, 40, 2
SLOW = frozenset({"blt"})
"""Types whose own code draws weights for minutes within one call, which no alarm interrupts."""


def without_dropout(config: dict[str, Any]) -> dict[str, Any]:
    """The config without dropout, for the two runs draw in unlike order here."""
    dropped = {key for key in config if "dropout" in key or key.endswith("_pdrop")}
    return {key: 0.0 if key in dropped else value for key, value in config.items()}


def adapted(kind: str) -> tuple[Any, Any]:
    """A small model of a type, and the same with adapters whose values are no zeros."""
    config = without_dropout(tiny_config(kind))
    torch.manual_seed(0)
    found = AutoConfig.for_model(str(config["model_type"]), **configuration_values(config))
    model = AutoModelForCausalLM.from_config(found).float()
    model.config.use_cache = False
    prefix, _ = decoder_layers(model)
    names = [name for name in linear_names(model) if name.startswith(f"{prefix}.")]
    trained = get_peft_model(model, LoraConfig(r=RANK, target_modules=names))
    for parameter in trained.parameters():
        if parameter.requires_grad:
            parameter.data.normal_(0, 0.05)
    trained.train()
    return model, trained


def streamed(model: Any, trained: Any) -> LayerMajor:
    """All layers in host memory."""
    prefix, layers = decoder_layers(model)
    slabs = {}
    for index, layer in enumerate(layers):
        own = [each for name, each in layer.named_parameters() if "lora_" not in name]
        slabs[index] = Slab(plain_homes(own), CPU)
        slabs[index].adopt(Region(slabs[index].size, lock=False))
    stack = model.get_submodule(prefix.rpartition(".")[0])
    return LayerMajor(trained, list(layers), stack, WeightFeed(slabs, CPU), LayerInputs(CPU, 0))


def gradients(model: Any) -> dict[str, Tensor]:
    """The gradients of the adapters, which are then forgotten."""
    found = {
        name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None
    }
    model.zero_grad()
    return found


def compare(kind: str) -> str:
    """What becomes of a type, in a few words."""
    model, trained = adapted(kind)
    rows = [torch.randint(3, 300, (1, TOKENS)) for _ in range(PASSES)]

    def one(row: Tensor) -> Callable[[], float]:
        def run() -> float:
            loss = trained(input_ids=row, labels=row).loss / PASSES
            loss.backward()
            return float(loss)

        return run

    passes = [one(row) for row in rows]
    losses = [each() for each in passes]
    expected = gradients(trained)
    found = streamed(model, trained).train(passes)
    other = gradients(trained)
    if set(other) != set(expected):
        return f"other gradients: {len(other)} of {len(expected)}"
    off = max(float((other[name] - expected[name]).abs().max()) for name in expected)
    return "equal" if found == losses and off == 0 else f"off by {off:.1e}"


def main() -> None:
    """Compare every type within its time."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", help="model types [all causal ones]")
    parser.add_argument("--seconds", type=int, default=40, help="time of one type [40]")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)

    def late(*_: Any) -> None:
        raise TimeoutError("took too long")

    signal.signal(signal.SIGALRM, late)
    counts: dict[str, int] = {}
    for kind in options.kinds or [*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES]:
        if kind in SLOW and kind not in options.kinds:
            continue
        signal.alarm(options.seconds)
        try:
            said = compare(kind)
        except TsplannerError as error:
            said = f"refused: {error}"
        except Exception as error:  # models of every sort fail in every way
            said = f"not built: {type(error).__name__}: {str(error).splitlines()[:1]}"
        signal.alarm(0)
        sort = said.split(" ")[0].rstrip(":")
        counts[sort] = counts.get(sort, 0) + 1
        print(f"{kind:28s} {said[:160]}", flush=True)
    print(", ".join(f"{count} {sort}" for sort, count in counts.items()))


if __name__ == "__main__":
    main()
