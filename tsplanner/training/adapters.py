"""The trained part of a model: PEFT's adapters, the last layers, or all weights."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import nn

from memory_models.settings import ALL_LINEAR, EMBEDDING, HEAD, Dtype, FinetuningType
from tsplanner.errors import TsplannerError, did_you_mean
from tsplanner.planner.plan import Plan
from tsplanner.planner.settings import LearningSettings, training_settings
from tsplanner.training.expert_targets import (
    expert_options,
    expert_targets,
    fused_experts,
    names_of_linears,
)
from tsplanner.training.language_model import (
    decoder,
    text_config,
    unread_layers,
    unread_parameters,
)
from tsplanner.training.targets import is_transposed, linear_names, refusal

ENCODER_MLP = re.compile(r"(?:^|\.)ts_encoder\.mlp\.\d+$")
ADALORA_WARMUP_SHARE = 0.1
"""Share of the steps before AdaLoRA starts to prune ranks."""
ADALORA_FINAL_SHARE = 0.3
"""Share of the steps after the ranks are settled."""
DIVISOR = ".ranknum."
"""Part of the name of AdaLoRA's divisors, of one element each."""
ADALORA_ORTHOGONALITY = 0.5
"""PEFT's default weight of the orthogonality term, for a whole optimizer step."""


def decoder_layers(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """Name and list of the decoder layers; raises TsplannerError if the model has none."""
    count = text_config(model.config).num_hidden_layers
    # A vision tower can have as many layers as the decoder.
    prefix, body = decoder(model)
    lists = [
        (name, module)
        for name, module in body.named_modules(prefix=prefix)
        if isinstance(module, nn.ModuleList) and "ts_encoder" not in name
    ]
    # The decoders of BART's kind count their layers by another key than num_hidden_layers.
    found = [item for item in lists if len(item[1]) == count] or list(filter(_of_layers, lists))
    if not found:
        raise TsplannerError(f"{type(model).__name__} has no list of {count} decoder layers.")
    return min(found, key=lambda item: item[0].count("."))


def _of_layers(item: tuple[str, nn.ModuleList]) -> bool:
    """Whether a list holds what transformers can checkpoint, which are whole layers."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    return len(item[1]) > 0 and all(isinstance(m, GradientCheckpointingLayer) for m in item[1])


def target_pattern(model: nn.Module, targets: tuple[str, ...] | str) -> str:
    """Regular expression for the full names of the linears that get an adapter.

    PEFT would also match the last part of a name alone. But the encoder's linears are called 0, 2,
    4, ..., and "0" is the name of the first decoder layer, too. Raises TsplannerError for a target
    that no linear has. The pattern is empty if the targets mean the experts of a mixture alone.
    """
    prefix, _ = decoder_layers(model)
    known = _known(model)
    outside = [re.escape(name) for part, name in vocabulary_names(model).items() if part in targets]
    if targets == ALL_LINEAR:
        wanted = [name for name in names_of_linears(model, known) if not refusal(model, name)]
    else:
        experts = _expert_names(model, targets)
        wanted = [name for name in _names(targets) if name not in experts]
    wanted = [name for name in wanted if name not in (EMBEDDING, HEAD)]
    for name in wanted:
        if name not in known:
            raise TsplannerError(
                f'lora_target "{name:.60}" is no linear of {type(model).__name__}, which has '
                f"{', '.join(known)}.{did_you_mean(name, known)}"
            )
    inner = "|".join(re.escape(name) for name in wanted if not name.isdigit())
    places = layer_places(model)
    pattern = [rf"{re.escape(prefix)}\.{places}\.(?:.+\.)?(?:{inner})"] if inner else []
    # A number is the name of a linear in a Sequential, and of other modules in other lists.
    every = targets == ALL_LINEAR
    numbered = {
        _of_any_layer(prefix, name) for name in _inside(model) if every and _last(name).isdigit()
    }
    encoder = [re.escape(name) for name in linear_names(model) if ENCODER_MLP.search(name)]
    return "|".join([*pattern, *sorted(numbered), *encoder, *outside])


def _inside(model: nn.Module) -> list[str]:
    """Full names of the linears of the decoder layers."""
    prefix, _ = decoder_layers(model)
    return [name for name in linear_names(model) if name.startswith(f"{prefix}.")]


def vocabulary_names(model: Any) -> dict[str, str]:
    """Full names of the embedding and the output head, by their names in settings."""
    parts = {EMBEDDING: model.get_input_embeddings(), HEAD: model.get_output_embeddings()}
    return {
        part: name
        for name, module in model.named_modules()
        for part, found in parts.items()
        if module is found
    }


def _known(model: nn.Module) -> list[str]:
    """Names that the linears of the decoder layers have."""
    return sorted(set(map(_last, _inside(model))))


def _last(name: str) -> str:
    return name.rsplit(".", 1)[1]


def _of_any_layer(prefix: str, name: str) -> str:
    """The pattern of the full name of a linear, in whichever layer it lies."""
    _, within = name.removeprefix(f"{prefix}.").split(".", 1)
    return rf"{re.escape(prefix)}\.\d+\.{re.escape(within)}"


def layer_places(model: nn.Module) -> str:
    """Regular expression for the numbers of the layers that rows pass through."""
    unread = "|".join(map(str, sorted(unread_layers(model))))
    return rf"(?!(?:{unread})\.)\d+" if unread else r"\d+"


def _names(targets: tuple[str, ...] | str) -> list[str]:
    return targets.split(",") if isinstance(targets, str) else list(targets)


def target_modules(model: nn.Module, targets: tuple[str, ...] | str) -> str | list[str]:
    """``target_pattern``, or the full names themselves where PEFT would take a pattern apart."""
    pattern = target_pattern(model, targets)
    if not fused_experts(model):
        return pattern
    names = {*linear_names(model), *vocabulary_names(model).values()}
    return sorted(name for name in names if re.fullmatch(pattern, name))


def _expert_names(model: nn.Module, targets: tuple[str, ...] | str) -> list[str]:
    if targets == ALL_LINEAR:
        return []
    return expert_targets(model, _names(targets), _known(model))


def adapter_config(plan: Plan, model: nn.Module, total_steps: int) -> Any:
    """PEFT's configuration for an adapter method."""
    from peft import AdaLoraConfig, LoraConfig

    learning = plan.learning
    experts = expert_options(
        model, _expert_names(model, learning.method.lora_target), learning.method
    )
    common: dict[str, Any] = {
        "task_type": "CAUSAL_LM",
        "lora_alpha": learning.method.alpha,
        "lora_dropout": learning.method.lora_dropout,
        "target_modules": target_modules(model, learning.method.lora_target),
        "bias": "none",
        "fan_in_fan_out": any(map(is_transposed, model.modules())),
    }
    names = vocabulary_names(model)
    saved = [names[part] for part in learning.method.modules_to_save]
    # PEFT matches a pattern with the end of a module's full name.
    ranks = {re.escape(names.get(each, each)): rank for each, rank in learning.method.rank_pattern}
    alphas = {re.escape(names.get(each, each)): a for each, a in learning.method.alpha_pattern}
    common |= {"modules_to_save": saved or None}
    if learning.method.finetuning_type is FinetuningType.ADALORA:
        sizes = training_settings(learning, plan.hardware, plan.sequence_length)
        return AdaLoraConfig(
            target_r=learning.method.lora_rank,
            init_r=sizes.method.adapter_rank,
            total_step=total_steps,
            tinit=int(ADALORA_WARMUP_SHARE * total_steps),
            tfinal=int(ADALORA_FINAL_SHARE * total_steps),
            orth_reg_weight=ADALORA_ORTHOGONALITY,
            **common,
        )
    return LoraConfig(
        r=learning.method.lora_rank,
        rank_pattern=ranks | experts.pop("rank_pattern", {}),
        alpha_pattern=alphas | experts.pop("alpha_pattern", {}),
        use_dora=learning.method.finetuning_type is FinetuningType.DORA,
        use_rslora=learning.method.finetuning_type is FinetuningType.RSLORA,
        **common,
        **experts,
    )


@contextlib.contextmanager
def drawn_once() -> Iterator[None]:
    """Keep ``nn.Linear`` from drawing weights that PEFT draws again.

    A new linear draws its matrix, and PEFT (tuners/lora/layer.py, reset_lora_parameters) overwrites
    it. That is two thirds of all random numbers, and a second per adapter on an 8B model.
    """
    plain = nn.Linear.reset_parameters
    nn.Linear.reset_parameters = lambda _: None
    try:
        yield
    finally:
        nn.Linear.reset_parameters = plain


def apply_method(plan: Plan, model: Any, total_steps: int) -> Any:
    """Freeze and wrap ``model`` so that only the method's parameters are trained."""
    method = plan.learning.method.finetuning_type
    if method.uses_adapter:
        from peft import get_peft_model

        # Without ZeRO, PEFT upcasts the adapters to fp32, which keeps small updates. DeepSpeed
        # keeps fp32 masters of half-precision adapters itself; at stage 3 it would leave fp32
        # adapters as they are, and each would read an fp32 copy of its input.
        with drawn_once(), warnings.catch_warnings():
            # PEFT looks for these keys among modules alone, and the experts are parameters.
            warnings.filterwarnings("ignore", message=".*pattern keys did not match.*")
            wrapped = get_peft_model(
                model,
                adapter_config(plan, model, total_steps),
                autocast_adapter_dtype=not plan.hardware.sharding.zero_stage,
            )
        freeze_divisors(wrapped)
        leave_out_base(wrapped)
        return wrapped
    if method is FinetuningType.FREEZE:
        train_last_layers(model, plan.learning)
    else:
        model.requires_grad_(True)
    for parameter in unread_parameters(model):
        # Without a gradient a weight stays as it is, but DDP would wait for it.
        parameter.requires_grad_(False)
    _refuse_fp16_masters(plan, model)
    return model


def leave_out_base(wrapped: Any) -> None:
    """Keep the base's embedding and head out of saved adapters, for they are not trained.

    PEFT saves them, as large as they are, wherever an adapter sits on one of them
    (utils/save_and_load.py, ``save_embedding_layers``). Copies that are trained are always saved.
    """
    wrapped.save_pretrained = partial(wrapped.save_pretrained, save_embedding_layers=False)


def freeze_divisors(model: nn.Module) -> None:
    """Keep the optimizer from AdaLoRA's divisors, which are ranks and no weights.

    PEFT makes them without a gradient (tuners/adalora/layer.py). But where it casts or moves them,
    as on every half-precision base, the ParameterDict takes the new tensor as a trained parameter
    (tuners/tuners_utils.py, cast_adapter_dtype), and the adapter's scale drifts as it is trained.
    """
    for name, parameter in model.named_parameters():
        if DIVISOR in name:
            parameter.requires_grad_(False)


def train_last_layers(model: nn.Module, learning: LearningSettings) -> None:
    """Leave only the last ``freeze_trainable_layers`` decoder layers trainable."""
    model.requires_grad_(False)
    _, layers = decoder_layers(model)
    for layer in list(layers)[-learning.method.freeze_trainable_layers :]:
        layer.requires_grad_(True)


def _refuse_fp16_masters(plan: Plan, model: nn.Module) -> None:
    """Refuse to train fp16 weights under fp16 autocast.

    torch's GradScaler cannot unscale fp16 gradients, and Adam loses small updates in fp16.
    """
    trained_fp16 = any(p.requires_grad and p.dtype == torch.float16 for p in model.parameters())
    if trained_fp16 and plan.hardware.base.autocast is Dtype.FP16:
        raise TsplannerError(
            f"{plan.learning.method.finetuning_type} fine-tuning under fp16 needs its weights in "
            "fp32: use model_dtype fp32, or an adapter method."
        )


def trainable_count(model: nn.Module) -> int:
    """Number of elements that get a gradient."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
