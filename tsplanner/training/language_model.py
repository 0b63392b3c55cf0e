"""The language model inside a model that also sees: which class loads it, and where it lies.

A vision-language model of transformers is a wrapper around a language model, a vision tower and a
projector between them. Its config keeps the sizes of the language model under ``text_config``. Such
a model is loaded whole, by the class that its published weights are for, because the saved adapter
is used on that class.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from torch import nn


def auto_class(config: Any) -> Any:
    """The class of transformers that builds or loads the whole published model.

    ``AutoModelForCausalLM`` loads some wrappers whole (Gemma 3), of others only the language model
    (Llama 4, Mllama, Qwen3.5), and refuses the rest. ``tsplanner.models.wrappers`` knows the same
    without transformers.
    """
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    seeing = type(config) in AutoModelForImageTextToText._model_mapping
    return AutoModelForImageTextToText if seeing else AutoModelForCausalLM


def text_config(config: Any) -> Any:
    """The config of the language model, which is the whole config of a model of text alone."""
    nested = getattr(config, "get_text_config", None)
    return config if nested is None else nested(decoder=True)


def is_wrapper(model: Any) -> bool:
    """Whether a model is a wrapper around a language model."""
    config = getattr(model, "config", None)
    return config is not None and text_config(config) is not config


def decoder(model: Any) -> tuple[str, nn.Module]:
    """Full name and module of the decoder, which is the whole of a model of text alone."""
    if not is_wrapper(model):
        return "", model
    found = model.get_decoder()
    return next(name for name, module in model.named_modules() if module is found), found


def head_owner(model: Any) -> Any:
    """The module whose forward takes token ids and labels and runs the output head.

    It is the model, or the language model of a wrapper without a body of its own (Llama 4).
    """
    if not is_wrapper(model) or hasattr(model, model.base_model_prefix):
        return model
    return model.get_decoder()


LOGIT_KEYS = ("logit_scale", "lm_head_multiplier", "logits_scaling", "final_logit_softcapping")
"""Keys of a language model's config that change the logits after the head."""


def logit_config(model: Any) -> Any:
    """The config that says how a model changes its logits.

    Some wrappers pass over what their language model's config says of it (Aya Vision over Cohere's
    scale), so only keys that the wrapper's own forward reads are taken.
    """
    config = text_config(model.config)
    owner = head_owner(model)
    if not is_wrapper(owner):
        return config
    code = inspect.unwrap(type(owner).forward).__code__
    read = {*code.co_names, *(each for each in code.co_consts if isinstance(each, str))}
    keys = {key: getattr(config, key, None) for key in LOGIT_KEYS if key in read}
    return SimpleNamespace(model_type=config.model_type, **keys)


def read_text_alone(model: Any) -> None:
    """Prepare a wrapper for rows of text: its loss counts tokens, and its own head is used.

    Trainer passes the number of labels of a whole step only to a model that says that it takes it.
    Wrappers say that they do not, but their loss does; without it a step would weigh each
    micro-batch the same, however few labels it has.
    """
    if not is_wrapper(model):
        return
    model.accepts_loss_kwargs = True
    owner = head_owner(model)
    if owner is not model:
        # Llama 4's wrapper reads a field that its language model's output has not (transformers
        # 5.24, modeling_llama4.py), so that every forward of its own fails.
        # The call and not the module, which would become a part of the model.
        model.forward = owner.__call__


def unread_layers(model: Any) -> frozenset[int]:
    """Decoder layers that rows of text pass by: Mllama's cross-attention to an image."""
    config = text_config(model.config)
    return frozenset(getattr(config, "cross_attention_layers", None) or ())


def forget_unread_layers(model: Any) -> None:
    """Say of a model whose unread layers were taken out that rows pass through all it has."""
    for each in (text_config(model.config), *model.modules()):
        if getattr(each, "cross_attention_layers", None):
            each.cross_attention_layers = []


def unread_parameters(model: Any) -> Iterator[nn.Parameter]:
    """Parameters of a wrapper that rows of text do not reach: tower, projector, unread layers."""
    if not is_wrapper(model):
        return
    prefix, body = decoder(model)
    reached = {id(parameter) for parameter in body.parameters()}
    reached |= {id(parameter) for parameter in model.get_output_embeddings().parameters()}
    passed = tuple(f"{prefix}.layers.{index}." for index in unread_layers(model))
    for name, parameter in model.named_parameters():
        if id(parameter) not in reached or name.startswith(passed):
            yield parameter
