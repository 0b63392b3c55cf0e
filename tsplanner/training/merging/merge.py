"""Base and adapter as one model, written as safetensors beside what its base's folder has.

Every sum W + B A is made in fp32 and rounded once. The logits that count are those of the files:
what was written is loaded again and asked.
"""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from memory_models.settings import Dtype
from tsplanner.errors import TsplannerError
from tsplanner.planner.plan import ModelRef
from tsplanner.reading import decoded, read_text
from tsplanner.training.base_model.configuration import DTYPES
from tsplanner.training.merging import compared
from tsplanner.training.merging.plain_base import device_of, loaded, plan_here, whole_matrices
from tsplanner.training.merging.records import Merged, MergeRequest, bound
from tsplanner.training.solo.tokenizer_files import copy_tokenizer

MOST_BYTES_PER_FILE = "5GB"
WEIGHTS = "*.safetensors"
NAMES = {Dtype.FP32: "float32", Dtype.BF16: "bfloat16", Dtype.FP16: "float16"}
"""As config.json writes them."""
Tell = Callable[[str], None]


def merge(request: MergeRequest, tell: Tell) -> Merged:
    """Merge, write and check; ``tell`` is called with what has been done.

    Raises TsplannerError: the adapter does not belong to the base, or what was written is another
    model than base and adapter.
    """
    device, model_ref = device_of(request), request.plan.model
    plan = plan_here(request, model_ref, quantised=True)
    base = loaded(plan, device)
    rows, from_dataset = compared.rows_to_check(request.plan, base.config)
    without = compared.logits_of(base, rows)
    tell("base loaded")
    adapted = with_adapter(base, request.adapter)
    before = compared.logits_of(adapted, rows)
    tell("adapter asked")
    if request.plan.hardware.base.quantization is not None:
        base = adapted.unload()
        whole_matrices(base, DTYPES[request.dtype])
        adapted = with_adapter(base, request.adapter)
    output = Path(request.output)
    write(merged(adapted, DTYPES[request.dtype]), request, output)
    del base, adapted
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    tell("written")
    again = loaded(plan_here(request, written_model(model_ref, output), quantised=False), device)
    found = compared.compared(
        before, compared.logits_of(again, rows), without, from_dataset=from_dataset
    )
    if not found.difference <= bound(request):
        raise TsplannerError(
            f"The merged model is not the adapted one: its logits are off by {found.difference:.1%}"
            f" of their size, more than {bound(request):.1%}; nothing was kept."
        )
    files = list(output.glob(WEIGHTS))
    return Merged(compared=found, files=len(files), bytes=sum(f.stat().st_size for f in files))


def with_adapter(base: Any, folder: str) -> Any:
    """The base with the saved adapter on it.

    Raises TsplannerError: the adapter is of another base.
    """
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(base, folder).eval()
    except (RuntimeError, ValueError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise TsplannerError(
            f"The adapter in {folder} does not fit its base ({first:.200}): train it again."
        ) from error


def merged(adapted: Any, dtype: torch.dtype) -> Any:
    """The model without PEFT's modules; raises TsplannerError for weights that are no numbers."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [each for each in adapted.modules() if isinstance(each, BaseTunerLayer)]
    untie(adapted, layers)
    try:
        for layer in layers:
            _merge_in_fp32(layer)
        model = adapted.merge_and_unload(safe_merge=True)
    except (ValueError, NotImplementedError) as error:
        raise TsplannerError(f"This adapter cannot be merged: {error}") from error
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    # Copies of embedding and head were trained in fp32.
    for part in (model.get_input_embeddings(), model.get_output_embeddings()):
        if part is not None:
            part.to(dtype)
    return model


def untie(adapted: Any, layers: list[Any]) -> None:
    """Give the head a weight of its own where an adapter sits on an embedding that it shares."""
    model = adapted.get_base_model()
    parts = [model.get_input_embeddings(), model.get_output_embeddings()]
    if None in parts or not any(part in layers for part in parts):
        return
    inner = [getattr(part, "base_layer", part) for part in parts]
    if inner[0].weight.data_ptr() == inner[1].weight.data_ptr():
        inner[1].weight = nn.Parameter(inner[1].weight.detach().clone(), requires_grad=False)


def _merge_in_fp32(layer: Any) -> None:
    weight = getattr(layer.get_base_layer(), "weight", None)
    # The parameters of fused experts are merged as they are.
    if not isinstance(weight, nn.Parameter) or not weight.is_floating_point():
        return
    dtype = weight.dtype
    weight.data = weight.data.float()
    layer.merge(safe_merge=True)
    base = layer.get_base_layer()
    base.weight.data = base.weight.data.to(dtype)


def write(model: Any, request: MergeRequest, output: Path) -> None:
    """Weights in several files, the base's own config without its quantisation, the tokenizer."""
    tied = getattr(model.config, "tie_word_embeddings", False) and shares_head(model)
    model.save_pretrained(output, max_shard_size=MOST_BYTES_PER_FILE)
    config = written_config(request, tied=bool(tied))
    (output / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    for file in output.glob(WEIGHTS):
        # safetensors leaves its files to their owner alone, whatever the umask says.
        file.chmod((output / "config.json").stat().st_mode & 0o777)
    copy_tokenizer(request.plan, output)
    for code in Path(str(request.plan.model.path)).glob("*.py"):
        # A model that ships its own code needs it wherever it is loaded.
        shutil.copyfile(code, output / code.name)


def shares_head(model: Any) -> bool:
    """Whether embedding and head are one tensor."""
    parts = [model.get_input_embeddings(), model.get_output_embeddings()]
    if None in parts:
        return False
    one, other = (part.weight.data_ptr() for part in parts)
    return bool(one == other)


def written_config(request: MergeRequest, *, tied: bool) -> dict[str, Any]:
    """The config.json of the base for what was written."""
    found = decoded(read_text(Path(str(request.plan.model.path)) / "config.json"))
    if not isinstance(found, dict):
        raise TsplannerError(f"{request.plan.model.path}/config.json is no object.")
    for part in (found, found.get("text_config")):
        if not isinstance(part, dict):
            continue
        part.pop("quantization_config", None)
        if not tied:
            part["tie_word_embeddings"] = False
        for key in ("torch_dtype", "dtype"):
            if key in part:
                part[key] = NAMES[request.dtype]
    if not {"torch_dtype", "dtype"} & set(found):
        found["dtype"] = NAMES[request.dtype]
    return found


def written_model(model: ModelRef, output: Path) -> ModelRef:
    """The model that was written, as a plan names one."""
    config = decoded(read_text(output / "config.json"))
    return replace(model, path=str(output), config=config)
