"""What trained weights can be used with: a few lines of Python, vLLM, llama.cpp.

Nothing here was run with vLLM or llama.cpp: what they take was read in their sources (vLLM
lora/peft_helper.py, llama.cpp convert_lora_to_gguf.py).
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from memory_models.frozen import frozen
from memory_models.settings import EMBEDDING, HEAD, Dtype, FinetuningType, Method, Quantization
from tsplanner.console import command
from tsplanner.planner.plan import Plan

DTYPES = {Dtype.FP32: "torch.float32", Dtype.BF16: "torch.bfloat16", Dtype.FP16: "torch.float16"}
VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What ``--max-lora-rank`` takes."""
AS_STORED = '"auto"'
UNTRIED = "not tried here"
LAST = "-last"
"""End of the name of a folder with the weights of the last step."""


@frozen
class Place:
    """Where the weights are, as whoever reads is to name it."""

    weights: str
    base: str
    merged: bool = False
    """The adapter is in its base already."""
    run: str = "RUN"
    """The run's folder."""
    last: bool = False
    """The weights are those of the last step, and others were better."""

    @property
    def is_adapter(self) -> bool:
        """Whether the base has to be loaded beside the weights."""
        return not self.merged


def place_in(plan: Plan, folder: Path, name: str) -> Place:
    """Weights in a run's folder on this machine, by the name of their own."""
    whole = not plan.learning.method.finetuning_type.uses_adapter
    base = plan.model.path or plan.model.name
    last = name.endswith(LAST)
    return Place(weights=str(folder / name), base=base, merged=whole, run=str(folder), last=last)


def shared_place(plan: Plan, place: Place) -> Place:
    """The same for a card that others read: no path of this machine is in it."""
    return replace(place, weights=".", base=plan.model.name, run="RUN")


def code(plan: Plan, place: Place) -> list[str]:
    """Lines of Python that ask the trained model."""
    reads_series = plan.architecture.encoder is not None
    question = _series_question() if reads_series else _question()
    return [*loading(plan, place), "", *question]


def loading(plan: Plan, place: Place) -> list[str]:
    """Those that load it."""
    reads_series = plan.architecture.encoder is not None
    return [
        *_imports(plan, place, reads_series=reads_series),
        "",
        *_loading(plan, place, reads_series=reads_series),
    ]


def _imports(plan: Plan, place: Place, *, reads_series: bool) -> Iterator[str]:
    yield "import torch"
    if place.is_adapter:
        yield "from peft import PeftModel"
    four_bit = ", BitsAndBytesConfig" if _bitsandbytes(plan, place) else ""
    yield f"from transformers import {_class(plan)}, AutoTokenizer{four_bit}"
    if reads_series:
        yield "from tsplanner.datasets.series_encoding import normalised_series, series_prefix"
        yield "from tsplanner.training import chatts"
        yield "from tsplanner.training.batches import series_tensor"


def _class(plan: Plan) -> str:
    seeing = plan.architecture.outside.frozen_linears
    return "AutoModelForImageTextToText" if seeing else "AutoModelForCausalLM"


def _bitsandbytes(plan: Plan, place: Place) -> str:
    """The arguments of transformers' configuration of a base in 4 or 8 bits; empty: it is whole."""
    rounded = plan.hardware.base.quantization
    if not place.is_adapter or rounded is None or plan.hardware.base.multiplies_8bit:
        return ""
    if rounded is Quantization.INT8:
        return "load_in_8bit=True"
    double = rounded is Quantization.NF4_DQ
    return (
        f'load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant={double}, '
        f"bnb_4bit_compute_dtype={_dtype(plan)}"
    )


def _dtype(plan: Plan) -> str:
    return DTYPES[plan.hardware.base.autocast or plan.hardware.base.model_dtype]


def _loading(plan: Plan, place: Place, *, reads_series: bool) -> Iterator[str]:
    if reads_series:
        yield "chatts.register()"
    yield f"tokenizer = AutoTokenizer.from_pretrained({json.dumps(place.weights)})"
    # Whole models are loaded as they are stored.
    more = f", dtype={_dtype(plan) if place.is_adapter else AS_STORED}"
    if not reads_series:
        more += ', device_map="auto"'
    if rounded := _bitsandbytes(plan, place):
        more += f", quantization_config=BitsAndBytesConfig({rounded})"
    source = place.base if place.is_adapter else place.weights
    yield f"model = {_class(plan)}.from_pretrained({json.dumps(source)}{more})"
    if place.is_adapter:
        asked = ".get_base_model()" if reads_series else ""
        yield f"model = PeftModel.from_pretrained(model, {json.dumps(place.weights)}){asked}"


def _question() -> Iterator[str]:
    yield 'messages = [{"role": "user", "content": "Your question"}]'
    yield (
        "inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, "
        'return_tensors="pt", return_dict=True).to(model.device)'
    )
    yield "answer = model.generate(**inputs, max_new_tokens=256)"
    yield (
        'print(tokenizer.decode(answer[0, inputs["input_ids"].shape[1] :], '
        "skip_special_tokens=True))"
    )


def _series_question() -> Iterator[str]:
    yield "series = (1.0, 2.0, 4.0, 3.0, 2.0, 1.0, 0.5, 0.0)"
    yield 'content = f"{series_prefix(series)}<ts><ts/> Where is the maximum?"'
    yield 'messages = [{"role": "user", "content": content}]'
    yield (
        "ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, "
        'return_tensors="pt", return_dict=True)["input_ids"]'
    )
    yield "values = series_tensor([normalised_series(series)]).to(model.dtype)"
    yield "merged = model.merged_inputs(ids, torch.ones_like(ids), values)"
    yield (
        "answer = model.generate(inputs_embeds=merged.inputs_embeds, "
        "attention_mask=merged.attention_mask, max_new_tokens=128)"
    )
    yield "print(tokenizer.decode(answer[0], skip_special_tokens=True))"


def servers(plan: Plan, place: Place) -> list[str]:
    """A sentence on each server: the command, or why it needs the merged model first."""
    if plan.architecture.encoder is not None:
        return [
            "vLLM and llama.cpp know no series by themselves: vLLM reads ChatTS by the plugin that "
            f"is published with it, from merged weights ({UNTRIED}); llama.cpp does not."
        ]
    return [_vllm(plan, place), _llama_cpp(plan, place)]


def _vllm(plan: Plan, place: Place) -> str:
    if not place.is_adapter:
        return f"vLLM: `{shlex.join(['vllm', 'serve', place.weights])}` ({UNTRIED})."
    if why := vllm_refusal(plan.learning.method):
        return f"vLLM takes no such adapter ({why}): {_merge_first(place)}, then vllm serve."
    largest = next(each for each in VLLM_RANKS if each >= plan.learning.method.lora_rank)
    return (
        f"vLLM: `vllm serve {place.base} --enable-lora --max-lora-rank {largest} --lora-modules "
        f"mine={place.weights}`, and ask for the model `mine` ({UNTRIED})."
    )


def _llama_cpp(plan: Plan, place: Place) -> str:
    if not place.is_adapter:
        return f"llama.cpp: `convert_hf_to_gguf.py {place.weights}` ({UNTRIED})."
    method = plan.learning.method
    why = llama_cpp_refusal(method)
    if why:
        return f"llama.cpp converts no such adapter ({why}): {_merge_first(place)} first."
    return (
        f"llama.cpp: `convert_lora_to_gguf.py --base {place.base} {place.weights}`, and "
        f"`llama-server -m BASE.gguf --lora ADAPTER.gguf` ({UNTRIED})."
    )


def _merge_first(place: Place) -> str:
    return f"`{command('merge', place.run)}`"


def vllm_refusal(method: Method) -> str:
    """Why vLLM cannot serve an adapter beside its base; empty: it can, by its sources."""
    if method.finetuning_type not in (FinetuningType.LORA, FinetuningType.RSLORA):
        return str(method.finetuning_type)
    if method.modules_to_save:
        return "whole copies of " + ", ".join(method.modules_to_save)
    if method.rank_pattern or method.alpha_pattern:
        return "ranks or alphas of single targets"
    if method.lora_rank > VLLM_RANKS[-1]:
        return f"rank {method.lora_rank}"
    return ""


def llama_cpp_refusal(method: Method) -> str:
    """Why llama.cpp's converter cannot take an adapter; empty: it can, by its source."""
    if method.finetuning_type is not FinetuningType.LORA:
        return str(method.finetuning_type)
    if method.modules_to_save:
        return "whole copies of " + ", ".join(method.modules_to_save)
    if method.adapts(EMBEDDING) or method.adapts(HEAD):
        return "an adapter on the vocabulary"
    if method.rank_pattern or method.alpha_pattern:
        return "ranks or alphas of single targets"
    return ""
