"""What is no causal language model, by name: one sentence with the nearest thing that works."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path

from tsplanner.errors import TsplannerError, did_you_mean, named
from tsplanner.models.known.model_types import Kind, model_types
from tsplanner.trust import FLAG, is_granted


class WrongModelError(TsplannerError):
    """What lies there is something else than a causal language model that can be trained."""


DECODER = "take a decoder, such as the preset qwen3-0.6b"
WHAT_IT_IS: Mapping[Kind, tuple[str, str]] = {
    Kind.ENCODER: ("an encoder, which fills masks and predicts no next token", DECODER),
    Kind.ENCODER_DECODER: ("an encoder-decoder", DECODER),
    Kind.AUDIO: ("a model of speech or sound", "give the text model that it was built on"),
    Kind.VISION: ("a model of images", "give a language model"),
    Kind.SERIES: ("a forecaster of time series", "to ask questions about series, take chatts-8b"),
    Kind.PART: ("a part of a larger model", "give the config.json of the whole model"),
}

HEADS: Mapping[str, str] = {
    "ForSequenceClassification": "a classifier or reward model",
    "ForTokenClassification": "a classifier of tokens",
    "ForQuestionAnswering": "a model that marks answers in a text",
    "ForMultipleChoice": "a classifier of choices",
    "ForMaskedLM": "a model that fills masks",
    "RewardModel": "a reward model",
    "ForScore": "a reward model",
    "ForTextEncoding": "a text encoder",
    "ForEmbedding": "an embedding model",
    "BiModel": "an embedding model",
    "WithValueHead": "a policy with a value head",
}
"""Parts of names in ``architectures``, each with what such a model is."""

SHIPS_CODE: Mapping[str, str] = {
    "internlm": "a copy converted to Llama's names",
    "internlm2": "a copy converted to Llama's names, or internlm3",
    "phi4mm": "the copy for transformers' own phi4_multimodal",
    "phi3small": "the preset phi-3-mini, phi-3-medium or phi-4",
    "phi-msft": "today's repository of the same model (model_type phi)",
    "mixformer-sequential": "today's repository of the same model (model_type phi)",
    "chatglm": "the repository whose name ends in -hf (model_type glm)",
    "qwen": "Qwen 1.5 or later, such as the preset qwen2.5-7b",
    "baichuan": "a Llama-like model of that size, such as the preset llama-2-7b",
    "RefinedWeb": "today's repository of the same model (model_type falcon)",
    "RefinedWebModel": "today's repository of the same model (model_type falcon)",
    "Yi": "today's repository of the same model (model_type llama)",
    "stablelm_epoch": "today's repository of the same model (model_type stablelm)",
    "hf_olmo": "the repository whose name ends in -hf (model_type olmo)",
    "hunyuan": "today's repository of the same model (model_type hunyuan_v1_dense)",
    "deepseek": "deepseek_v2 or deepseek_v3",
    "minicpm": "minicpm3",
    "internvl_chat": "the repository whose name ends in -hf (model_type internvl)",
    "llava_llama": "the llava-hf repository of the same model",
    "llava_qwen2": "the llava-hf repository of the same model",
    "llava_mistral": "the llava-hf repository of the same model",
}
"""Types whose code their repositories ship, with the nearest thing that transformers has."""

DIFFUSION = frozenset({"llada", "llada2_moe", "Dream", "dream", "sdar", "diffullama"})
"""Types of language models that denoise masked text and predict no next token."""


def refuse_other_models(values: Mapping[str, object], source: str, *, own: Collection[str]) -> None:
    """Refuse a config that describes no causal language model, or one that ships its own code.

    ``own``: model types that tsplanner itself has code for.

    Raises:
        WrongModelError: says what the model is, and what to take instead.
    """
    why = _other_format(values)
    if why is None and values.get("model_type") not in own:
        why = _own_code(values) or _other_kind(values) or _no_kind(values, own)
    if why is None:
        why = _other_head(values)
    if why is not None:
        raise WrongModelError(f"{source}: {why}.")


def _other_format(values: Mapping[str, object]) -> str | None:
    """Configs of other libraries, which have no ``model_type``."""
    if values.get("_diffusers_version") or values.get("_class_name"):
        what = values.get("_class_name")
        name = f" ({named(what)})" if isinstance(what, str) else ""
        return f"this is a part of a diffusers pipeline{name}, no language model: give one"
    if values.get("model_type"):
        return None
    if "peft_type" in values:
        return f"this is an adapter's own config, no model: {_its_base(values)}"
    if "n_layers" in values and "dim" in values:
        return (
            "this is a params.json of the original weights: give the folder that was converted "
            "for transformers, which has a config.json with a model_type"
        )
    if "text_cfg" in values or "model_cfg" in values or "pretrained_cfg" in values:
        return "this is a config of timm or open_clip, no language model: give one"
    return (
        "it has no model_type, by which transformers knows what to build: give the config.json "
        "that save_pretrained wrote"
    )


def _own_code(values: Mapping[str, object]) -> str | None:
    """Types that no version of transformers builds by itself."""
    kind = values.get("model_type")
    if not isinstance(kind, str):
        return None
    if kind in DIFFUSION:
        return (
            f"{named(kind)} is a diffusion model of text, which predicts no next token: {DECODER}"
        )
    ships = isinstance(values.get("auto_map"), dict) or kind in SHIPS_CODE
    if kind in model_types().kind_of or not ships or is_granted():
        return None
    nearest = SHIPS_CODE.get(kind)
    instead = f"take {nearest}" if nearest else "take a model that transformers has"
    return (
        f"model_type {named(kind)} is built by code that the repository ships, not by "
        f"transformers: {instead}, or add {FLAG} to run that code after reading it"
    )


def _no_kind(values: Mapping[str, object], own: Collection[str]) -> str | None:
    """Types that no library has: mostly a slip of the pen. A newer transformers may have more."""
    kind = values.get("model_type")
    known = model_types()
    if not isinstance(kind, str) or kind in known.kind_of or is_granted() or _is_newer():
        return None
    return (
        f"model_type {named(kind)} has no reader.{did_you_mean(kind, own)} transformers "
        f"{known.transformers} has no such type either, so that no trace can stand in"
    )


def _is_newer() -> bool:
    """Whether the installed transformers is newer than the table of its types."""
    from importlib import metadata

    try:
        installed = metadata.version("transformers")
    except metadata.PackageNotFoundError:
        return False
    return _numbers(installed) > _numbers(model_types().transformers)


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: (5, 24)."""
    parts = version.split(".")[:2]
    return tuple(int(part) if part.isdigit() else 0 for part in parts)


def _other_kind(values: Mapping[str, object]) -> str | None:
    """Types of transformers that are built for something else."""
    # BERT and its kin become causal by this flag, and a decoder half is a model of its own.
    if values.get("is_decoder") is True and values.get("is_encoder_decoder") is not True:
        return None
    return what_it_is(values.get("model_type"), _architectures(values))


def what_it_is(model_type: object, architectures: str = "") -> str | None:
    """What a type is that no causal language model is of, and what to take; None: it may be one."""
    kind = model_types().kind_of.get(model_type) if isinstance(model_type, str) else None
    if kind is None or kind not in WHAT_IT_IS:
        return None
    what, instead = WHAT_IT_IS[kind]
    return f"{named(model_type)} is {what}{architectures}: {instead}"


def _other_head(values: Mapping[str, object]) -> str | None:
    """A causal type that was saved with another head, or with none."""
    name, classes = values.get("model_type"), _classes(values)
    for written in classes:
        for head, what in HEADS.items():
            if head in written:
                return (
                    f"{named(written)} is {what}, whose head predicts no next token: "
                    f"{_its_base(values)}, or train it with transformers' own Trainer"
                )
    headless = bool(classes) and all(written.endswith("Model") for written in classes)
    headless = headless and not any("LMHead" in written for written in classes)
    if values.get("use_bidirectional_attention") is True or (headless and _untied(values)):
        shown = f"{named(classes[0])} is" if classes else f"this {named(str(name))} is"
        return (
            f"{shown} an embedding model, saved without an output head: {_its_base(values)}, or "
            "train it with sentence-transformers"
        )
    return None


def _untied(values: Mapping[str, object]) -> bool:
    """Whether the head is a matrix of its own, which a model saved without a head lacks."""
    said = values.get("tie_word_embeddings")
    if isinstance(said, bool):
        return not said
    return values.get("model_type") in model_types().untied_by_default


def _classes(values: Mapping[str, object]) -> list[str]:
    found = values.get("architectures")
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def _architectures(values: Mapping[str, object]) -> str:
    found = _classes(values)
    return f" ({named(found[0])})" if found else ""


def _its_base(values: Mapping[str, object]) -> str:
    """What to give instead: the model that the config says it was made from, if it says so."""
    for key in ("base_model_name_or_path", "_name_or_path"):
        name = values.get(key)
        if isinstance(name, str) and name.strip():
            return f"give its base, {named(name)}"
    return "give the causal model that it was made from"


def refuse_other_folder(folder: Path) -> None:
    """Refuse a folder (or a file) without a config.json by what it holds instead.

    Raises:
        WrongModelError: it holds an adapter, GGUF files, a pipeline or original weights.
    """
    adapter = folder / "adapter_config.json"
    if adapter.is_file():
        raise WrongModelError(f"{folder} is an adapter, no model: {_base_of(adapter)}.")
    if (folder / "model_index.json").is_file():
        raise WrongModelError(
            f"{folder} is a diffusers pipeline, no language model: give a language model."
        )
    if (folder / "params.json").is_file():
        raise WrongModelError(
            f"{folder} holds original weights (params.json): give the folder that was converted "
            "for transformers, which has a config.json."
        )
    found = sorted(path.name for path in folder.glob("*.gguf"))
    if found:
        raise refusal_of_gguf(folder / found[0])


def refusal_of_gguf(path: Path) -> WrongModelError:
    """The error for a GGUF file, or for a folder that holds nothing else."""
    return WrongModelError(
        f"{path} is GGUF, a format for inference: give the repository that it was converted from, "
        "which has a config.json and safetensors."
    )


def _base_of(adapter: Path) -> str:
    """The base that an adapter_config.json names, as an instruction."""
    try:
        values = json.loads(adapter.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        values = {}
    named_base = _its_base(values if isinstance(values, dict) else {})
    return f"{named_base}, or merge the adapter with PEFT's merge_and_unload first"
