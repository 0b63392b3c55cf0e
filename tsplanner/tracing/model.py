"""The real model of a case, built on ``meta`` without memory; a trace makes its tensors fake."""

from __future__ import annotations

import re
import warnings
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import nn

from memory_models.settings import (
    Attention,
    DecoderKernels,
    LossKernel,
    Quantization,
    TrainingSettings,
)
from tsplanner.errors import TsplannerError
from tsplanner.models.quantized import stored_base
from tsplanner.planner.plan import Plan
from tsplanner.planner.settings import split_settings
from tsplanner.tracing.fake_cuda.attention import flex_attention
from tsplanner.tracing.fake_cuda.liger_kernels import use_liger
from tsplanner.tracing.fake_cuda.quantized import (
    QuantisedLinear,
    follow_bitsandbytes,
    quantise,
    use_stand_ins_in_peft,
)
from tsplanner.tracing.recording.kinds import keep_only
from tsplanner.tracing.records import Subject
from tsplanner.training import adapters
from tsplanner.training.base_model.configuration import (
    DTYPES,
    attention_of,
    configuration_values,
    register_own_models,
)
from tsplanner.training.kernels.compiled.install import use_kernels
from tsplanner.training.kernels.fused_loss import use_fused_loss
from tsplanner.training.language_model import auto_class, read_text_alone
from tsplanner.training.solo.checkpointed_layers import checkpoint_first, require_checkpointing

FLASH, FLEX = "traced_attention", "traced_blocks"
"""Names of the attentions that stand in for flash-attn and flex_attention, which need a GPU.

A name must not contain "flash": transformers (utils/generic.py, is_flash_attention_requested)
looks for that word and would load a kernel of this name from the hub.
"""
DISTRIBUTIONS = {"PIL": "pillow"}
"""Names by which packages are installed, where transformers names their modules."""


class MissingPackageError(TsplannerError):
    """transformers builds this model only with a package that is not installed."""


def build(
    subject: Subject,
    settings: TrainingSettings,
    total_steps: int,
    keep: tuple[int, ...] | None = None,
) -> Any:
    """The model on ``meta``, frozen and wrapped as in a training worker.

    ``keep``: places of the decoder layers that it gets, in this order; None: it gets all.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = base_model(subject, settings, keep)
        if settings.batch.gradient_checkpointing:
            require_checkpointing(model)
        read_text_alone(model)
        if settings.kernels.decoder_kernels is DecoderKernels.LIGER:
            use_liger(model)
        if settings.kernels.loss_kernel is LossKernel.FUSED:
            use_fused_loss(model)
        with torch.device("meta"):
            trained = adapters.apply_method(plan_of(settings), model, total_steps)
        use_kernels(trained, settings.kernels.decoder_kernels)
        follow_bitsandbytes(trained)
        if settings.batch.gradient_checkpointing and not settings.streaming.streams:
            trained.gradient_checkpointing_enable(
                gradient_checkpointing_kwargs={"use_reentrant": False}
            )
            checkpoint_first(trained, settings.batch.checkpointed_layers)
    trained.train()
    return trained


def plan_of(settings: TrainingSettings) -> Plan:
    """The part of a plan that building a model reads."""
    learning, hardware = split_settings(settings)
    found = SimpleNamespace(
        learning=learning, hardware=hardware, sequence_length=settings.sequence_length
    )
    return cast(Plan, found)


def base_model(
    subject: Subject, settings: TrainingSettings, keep: tuple[int, ...] | None = None
) -> Any:
    """The model on ``meta`` before its training method; ``keep``: as in `build`.

    Raises:
        TsplannerError: the installed transformers does not build it, or not with this attention.
    """
    register_own_models()
    config = configuration(subject)
    try:
        with torch.device("meta"):
            model = auto_class(config).from_config(
                config,
                dtype=DTYPES[settings.base.model_dtype],
                attn_implementation=attention_of(
                    config, _attention_name(settings.kernels.attention)
                ),
                trust_remote_code=subject.trust_remote_code,
            )
    except ValueError as error:
        text = str(error).splitlines()[0]
        if "attention implementation" in text:
            raise TsplannerError(
                "This model's code in the installed transformers runs no "
                f"{settings.kernels.attention} attention: set attention eager."
            ) from error
        raise TsplannerError(f"transformers builds no causal model of this: {text}") from error
    except ImportError as error:
        raise MissingPackageError(missing_packages(str(error))) from error
    model.config.use_cache = False
    if keep is not None:
        keep_only(model, keep)
    if settings.base.quantization is not None:
        use_stand_ins_in_peft()
        stored = stored_base(subject.config)
        quantise(model, settings, () if stored is None else stored.kept or ())
        model.is_loaded_in_4bit = settings.base.has_4bit
        model.is_loaded_in_8bit = settings.base.quantization is Quantization.INT8
        model.requires_grad_(False)
    if settings.base.upcasts:
        from peft import prepare_model_for_kbit_training

        model = prepare_model_for_kbit_training(
            model,
            use_gradient_checkpointing=settings.batch.gradient_checkpointing,
            gradient_checkpointing_kwargs={"use_reentrant": False},
        )
    return model


def missing_packages(text: str) -> str:
    """The sentence for the words in which transformers says what a class of a model needs."""
    names = [
        DISTRIBUTIONS.get(name, name) for name in re.findall(r"requires the (\S+) library", text)
    ]
    if not names:
        return f"transformers cannot build this model here: {text.strip().splitlines()[0]}"
    are = "is" if len(names) == 1 else "are"
    return (
        f"transformers builds this model only with {' and '.join(names)}, which {are} not "
        f"installed: pip install {' '.join(names)}."
    )


def configuration(subject: Subject) -> Any:
    """The configuration object of transformers.

    Raises:
        TsplannerError: transformers does not know the model type.
    """
    from transformers import CONFIG_MAPPING, AutoConfig

    if subject.trust_remote_code and subject.folder is not None:
        return AutoConfig.from_pretrained(subject.folder, trust_remote_code=True)
    keys = configuration_values(subject.config)
    model_type = str(subject.config.get("model_type", ""))
    try:
        return AutoConfig.for_model(model_type, **keys)
    except ValueError as error:
        if model_type in CONFIG_MAPPING:
            raise _refused(model_type, error) from error
        own = "auto_map" in subject.config
        hint = "add --trust-remote-code to run the code it ships" if own else "upgrade transformers"
        raise TsplannerError(
            f'The installed transformers has no model of type "{model_type}": {hint}.'
        ) from error
    except Exception as error:  # each configuration class refuses in its own way
        raise _refused(model_type, error) from error


def _refused(model_type: str, error: Exception) -> TsplannerError:
    words = (str(error).strip() or "no message").splitlines()[-1].strip().rstrip(".")
    return TsplannerError(
        f'transformers\' configuration of "{model_type}" refuses these values '
        f"({type(error).__name__}: {words}): compare them with the published config.json."
    )


def _attention_name(attention: Attention) -> str:
    if attention not in (Attention.FLASH_ATTENTION_2, Attention.FLEX_ATTENTION):
        return attention.value
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import AttentionMaskInterface
    from transformers.modeling_utils import AttentionInterface

    flash = attention is Attention.FLASH_ATTENTION_2
    name, function = (FLASH, sdpa_attention_forward) if flash else (FLEX, flex_attention)
    AttentionInterface.register(name, function)
    # They get no mask here; with a mask scaled dot-product attention would count as another kernel.
    AttentionMaskInterface.register(name, lambda *_, **__: None)
    return name


def parameter_counts(model: nn.Module) -> tuple[int, int]:
    """Number of elements of the base model without adapters, and of the trained elements."""
    total = sum(p.numel() for name, p in model.named_parameters() if not is_adapter(name))
    for module in model.modules():
        if isinstance(module, QuantisedLinear):
            total += module.elements - module.weight.numel()
    return total, adapters.trainable_count(model)


def is_adapter(name: str) -> bool:
    """Whether PEFT gave a parameter its name."""
    return any(part in name for part in ("lora_", ".modules_to_save.", adapters.DIVISOR))
