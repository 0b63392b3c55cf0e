"""Build the model of a plan, from a folder of weights or with random weights on the device.

Random weights serve probes and demonstrations, because speed and memory do not depend on values.
They come from a fixed seed, so that an adapter can be loaded onto the base that it was trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from memory_models.settings import Attention, DecoderKernels, Dtype, LossKernel, Quantization
from tsplanner.errors import TsplannerError
from tsplanner.install import Extra, install_command
from tsplanner.models.quantized import is_kept, stored_base
from tsplanner.planner.plan import ModelRef, Plan
from tsplanner.planner.settings import HardwareSettings
from tsplanner.reading import decoded, read_text
from tsplanner.training.eight_bit import loading as eight_bit
from tsplanner.training.language_model import auto_class, text_config

DTYPES = {Dtype.FP32: torch.float32, Dtype.BF16: torch.bfloat16, Dtype.FP16: torch.float16}
FLOAT_TAG = "__float__"
BASE_SEED = 0
"""Seed of random base weights; the plan's seed is for the adapter and the data."""


def training_device(hardware: HardwareSettings) -> torch.device:
    """The device of this process; raises TsplannerError if the plan's GPU is not here."""
    if hardware.accelerator == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise TsplannerError(
            "The plan is for a GPU and PyTorch sees none here: make a plan for this machine "
            "(tsplanner plan --cpu), or install PyTorch with CUDA."
        )
    from os import environ

    device = torch.device("cuda", int(environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


def build_model(plan: Plan, device: torch.device) -> Any:
    """The base model in ``model_dtype`` (quantised if the plan says so) on ``device``.

    Raises TsplannerError: a package is missing, or the checkpoint does not fit its config.
    """
    config = ready_config(plan)
    if plan.model.has_weights:
        model = read_weights(plan, config, device, own_quantization(plan))
    else:
        model = _initialise(plan, config, device)
    if plan.hardware.base.multiplies_8bit:
        eight_bit.replace_rounded(model, DTYPES[plan.hardware.base.model_dtype])
    ready_base(model, plan)
    if plan.hardware.base.upcasts:
        from peft import prepare_model_for_kbit_training

        model = prepare_model_for_kbit_training(
            model,
            use_gradient_checkpointing=plan.hardware.batch.gradient_checkpointing,
            gradient_checkpointing_kwargs={"use_reentrant": False},
        )
    return model


def ready_config(plan: Plan) -> Any:
    """The configuration of a plan's model, once what its base needs is known to be there.

    Raises TsplannerError: a package is missing.
    """
    register_own_models()
    _check_packages(plan.hardware)
    config = model_config(plan.model)
    use_stored_form(config, plan)
    return config


def ready_base(model: Any, plan: Plan) -> None:
    """Mark a base whose weights are there as one that adapters are trained on."""
    model.config.use_cache = False
    if plan.hardware.base.quantization is not None:
        # A quantised base is never trained; PEFT's preparation would say so, where it is called.
        model.requires_grad_(False)
        keep_packed(model, compute_dtype(plan.hardware))


def keep_packed(model: nn.Module, dtype: torch.dtype) -> None:
    """Keep 4-bit weights as they are through evaluations, and dequantise them to one dtype.

    On a CPU with AVX512-BF16 bitsandbytes repacks a 4-bit weight for inference as soon as it is
    evaluated. Training goes on after an evaluation, and then fails on the repacked weight. And it
    dequantises a weight to the dtype that was packed, then casts the whole matrix to the dtype of
    the product.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
            module.weight.quant_state.dtype = dtype


def use_stored_form(config: Any, plan: Plan) -> None:
    """Let transformers load weights that are stored quantised as the plan was sized for.

    Packed matrices of bitsandbytes compute in the plan's dtype, not in the one that their config
    names; other forms are dequantised. Weights that are not there have no form.
    """
    stored = stored_base(plan.model.config)
    if stored is None:
        return
    # The text part of a model of text alone is the config itself.
    both = {id(found): found for found in (config, text_config(config))}
    for holder in filter(_stored_in, both.values()):
        given = dict(holder.quantization_config)
        if stored.quantization is None:
            holder.quantization_config = {**given, "dequantize": True}
        else:
            dtype = str(compute_dtype(plan.hardware)).removeprefix("torch.")
            holder.quantization_config = {**given, "bnb_4bit_compute_dtype": dtype}
        if not plan.model.has_weights:
            del holder.quantization_config


def _stored_in(config: Any) -> bool:
    return isinstance(getattr(config, "quantization_config", None), dict)


def register_own_models() -> None:
    """Register the models that ship with tsplanner with transformers' Auto classes."""
    from tsplanner.training import chatts

    chatts.register()


def model_config(model: ModelRef) -> Any:
    """The configuration object of transformers for a plan's model."""
    from transformers import AutoConfig

    if model.has_weights or model.trust_remote_code:
        found = AutoConfig.from_pretrained(model.path, trust_remote_code=model.trust_remote_code)
        if model.trust_remote_code or found.model_type == model.config.get("model_type"):
            return found
    keys = configuration_values(model.config)
    return AutoConfig.for_model(str(model.config.get("model_type", model.model_type)), **keys)


def configuration_values(config: Mapping[str, object]) -> dict[str, Any]:
    """The keys of a decoded config.json that a configuration class takes.

    transformers writes infinity as ``{"__float__": "Infinity"}`` (configuration_utils.py).
    """
    return {key: _as_float(value) for key, value in config.items() if key != "model_type"}


def _as_float(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {FLOAT_TAG}:
            return float(value[FLOAT_TAG])
        return {key: _as_float(inner) for key, inner in value.items()}
    return [_as_float(inner) for inner in value] if isinstance(value, list) else value


def load_tokenizer(model: ModelRef) -> Any | None:
    """The model's tokenizer with a padding token; None if the plan names no folder."""
    folder = model.tokenizer or model.path
    if folder is None:
        return None
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=model.trust_remote_code)
    except (OSError, ValueError) as error:
        raise TsplannerError(
            f"No tokenizer could be read from {folder}: put tokenizer.json there, "
            "or name its folder with --tokenizer."
        ) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if not getattr(tokenizer, "chat_template", None):
        tokenizer.chat_template = processors_template(Path(folder))
    return tokenizer


def processors_template(folder: Path) -> str | None:
    """The chat template of a model that also sees, which only its processor reads; None: none."""
    path = folder / "chat_template.json"
    if not path.is_file():
        return None
    found = decoded(read_text(path))
    return found.get("chat_template") if isinstance(found, dict) else None


def _check_packages(hardware: HardwareSettings) -> None:
    from importlib.util import find_spec

    kernels = hardware.kernels
    if kernels.decoder_kernels is DecoderKernels.LIGER or kernels.loss_kernel is LossKernel.LIGER:
        raise TsplannerError(
            "The plan names Liger's kernels, which tsplanner sizes and does not run: plan again "
            "with --kernels fused and --loss-kernel fused."
        )
    if hardware.base.needs_bitsandbytes and find_spec("bitsandbytes") is None:
        raise TsplannerError(
            f"Quantisation {hardware.base.quantization} needs bitsandbytes: "
            f"install it with {install_command(Extra.QUANT)}."
        )
    if hardware.sharding.zero_stage and find_spec("deepspeed") is None:
        raise TsplannerError(
            f"ZeRO stage {hardware.sharding.zero_stage} needs deepspeed: "
            f"install it with {install_command(Extra.DEEPSPEED)}."
        )


def quantization_config(hardware: HardwareSettings) -> Any | None:
    """How transformers quantises each matrix as it loads it; None without quantisation."""
    if hardware.base.quantization is None:
        return None
    if hardware.base.multiplies_8bit:
        return eight_bit.quantization_config(hardware.base.quantization)
    from transformers import BitsAndBytesConfig

    if hardware.base.quantization is Quantization.INT8:
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=hardware.base.quantization is Quantization.NF4_DQ,
        bnb_4bit_compute_dtype=compute_dtype(hardware),
    )


def compute_dtype(hardware: HardwareSettings) -> torch.dtype:
    """Dtype of the matrix products."""
    return DTYPES[hardware.base.autocast or hardware.base.model_dtype]


def own_quantization(plan: Plan) -> Any | None:
    """How transformers quantises what a folder stores; None: it does not, or the folder says it."""
    return quantization_config(plan.hardware) if stored_base(plan.model.config) is None else None


def read_weights(
    plan: Plan,
    config: Any,
    device: torch.device,
    quantiser: Any | None,
    dtype: torch.dtype | str | None = None,
) -> Any:
    """The model of a folder; ``quantiser``: what transformers is told of its quantisation.

    ``dtype``: other than the plan's.

    Raises TsplannerError: the checkpoint does not fit its config.
    """
    # Under ZeRO-3 transformers shards plain weights as it reads them and refuses a device map.
    shards = plan.hardware.sharding.zero_stage == 3 and not plan.hardware.partitions_packed
    placement: dict[str, Any] = {} if shards else {"device_map": {"": device}}
    model, info = auto_class(config).from_pretrained(
        plan.model.path,
        config=config,
        dtype=dtype or DTYPES[plan.hardware.base.model_dtype],
        attn_implementation=attention_of(config, plan.hardware.kernels.attention.value),
        # A folder that is stored quantised brings its own; transformers takes no second one.
        quantization_config=quantiser,
        trust_remote_code=plan.model.trust_remote_code,
        # A pickle can run code while it is read.
        use_safetensors=True,
        output_loading_info=True,
        **placement,
    )
    if not shards:  # where transformers shards, each process loads only its shards
        refuse_other_keys(info, str(plan.model.path))
    if stored_base(plan.model.config) is not None:
        cast_whole_parameters(model, DTYPES[plan.hardware.base.model_dtype])
    return model


def attention_of(config: Any, wanted: str) -> str:
    """The attention that a model runs by transformers' name: eager if its code runs no sdpa.

    BLOOM, gpt-oss and models without any attention run eager alone, and so does a wrapper around
    such a language model (PaliGemma 2).
    """
    from transformers import AutoModel

    inner = text_config(config)
    known = (
        auto_class(config)._model_mapping.get(type(config), None),
        AutoModel._model_mapping.get(type(inner), None),
    )
    # Nothing is known of code that a model ships.
    runs_sdpa = all(getattr(each, "_supports_sdpa", True) for each in known)
    return Attention.EAGER.value if wanted == Attention.SDPA and not runs_sdpa else wanted


def cast_whole_parameters(model: nn.Module, dtype: torch.dtype) -> None:
    """Cast the parameters that are not packed to one dtype.

    transformers loads a folder that is stored quantised in the dtypes of its files, whatever it is
    asked for, and only the biases of packed matrices in the dtype that it was asked for.
    """
    for parameter in model.parameters():
        if type(parameter) is nn.Parameter and parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)


def runs_eager(model: Any) -> bool:
    """Whether a model was built with eager attention."""
    return str(model.config._attn_implementation) == Attention.EAGER.value


def refuse_other_keys(info: dict[str, Any], folder: str) -> None:
    """Refuse a checkpoint that lacks weights of the model or has weights that the model lacks.

    transformers only logs a warning and fills missing weights with random values. Raises
    TsplannerError with the first key.
    """
    for sort, words in (("missing_keys", "lacks"), ("unexpected_keys", "holds, unread,")):
        if keys := sorted(info[sort]):
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise TsplannerError(
                f"The checkpoint in {folder} {words} {keys[0]}{more}: its config.json belongs to "
                "another model, or a file of it is missing; fetch it again."
            )


def _initialise(plan: Plan, config: Any, device: torch.device) -> Any:
    hardware = plan.hardware
    if hardware.base.quantization is None:
        torch.manual_seed(BASE_SEED)
        # ZeRO-3 shards each module while it is built, and its context moves the shards to the
        # device.
        return from_config(hardware, config, None if hardware.sharding.zero_stage == 3 else device)
    return drawn_model(plan, config, device, device)


def drawn_model(plan: Plan, config: Any, device: torch.device, place: torch.device) -> Any:
    """A model of random weights that are drawn and packed on ``device``, one module at a time, and
    go to ``place``.
    """
    stored = stored_base(plan.model.config)
    kept = () if stored is None else stored.kept or ()
    torch.manual_seed(BASE_SEED)
    model = from_config(plan.hardware, config, torch.device("meta"))
    for name, _ in drawn_modules(model, plan.hardware, device, kept):
        module = model.get_submodule(name)
        # What stands above others is named before them, when they are still empty.
        if place != device and not any(module.children()):
            module.to(place)
    model.tie_weights()
    model.requires_grad_(False)
    mark_packed(model, plan.hardware)
    return model


def mark_packed(model: Any, hardware: HardwareSettings) -> None:
    """Say of a model whose linears were packed one by one what transformers says of its own."""
    if not hardware.base.needs_bitsandbytes:
        return
    four_bit = hardware.base.quantization is not Quantization.INT8
    # PEFT and transformers ask these flags, which `from_pretrained` would have set.
    model.is_loaded_in_4bit, model.is_loaded_in_8bit = four_bit, not four_bit
    model.quantization_method = "bitsandbytes"


def drawn_modules(
    model: Any, hardware: HardwareSettings, device: torch.device, kept: Sequence[str] = ()
) -> Iterator[tuple[str, nn.Module]]:
    """Every module of a model on the meta device, once it is drawn and quantised on ``device``."""
    packed = packed_linears(model, hardware, kept)
    for name, module in materialised(model, device):
        if id(module) in packed:
            model.set_submodule(name, quantised(module, hardware, device))
            # The list of the loop keeps the module alive, so its matrix is freed here: all matrices
            # together may not fit.
            module._parameters.clear()
        yield name, module


def packed_linears(model: Any, hardware: HardwareSettings, kept: Sequence[str] = ()) -> set[int]:
    """Which linears of a model are quantised, by the ids of the modules.

    The head stays as it is, because transformers does not quantise the head of a checkpoint.
    """
    if hardware.base.quantization is None:
        return set()
    if hardware.base.multiplies_8bit:
        return {id(module) for _, module in eight_bit.eight_bit_linears(model)}
    head = model.get_output_embeddings()
    return {
        id(module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not head and not is_kept(name, kept)
    }


def from_config(hardware: HardwareSettings, config: Any, device: torch.device | None) -> Any:
    """A model with random weights on ``device``; None: where torch makes tensors by itself."""
    from contextlib import nullcontext

    with nullcontext() if device is None else device:
        return auto_class(config).from_config(
            config,
            dtype=DTYPES[hardware.base.model_dtype],
            attn_implementation=attention_of(config, hardware.kernels.attention.value),
        )


def materialised(model: nn.Module, device: torch.device) -> Iterator[tuple[str, nn.Module]]:
    """Every module of a model on the meta device, once it has memory and values on ``device``."""
    owners: dict[str, Any] = {"": model}
    for name, module in list(model.named_modules()):
        # A tower draws its initial values in a way of its own.
        own = hasattr(module, "_init_weights")
        owners[name] = module if own else owners[name.rpartition(".")[0]]
        _materialise(owners[name], module, device)
        yield name, module


def _materialise(owner: Any, module: nn.Module, device: torch.device) -> None:
    """Give the direct tensors of one module memory on the device and its owner's initial values."""
    tensors = [*module._parameters.values(), *module._buffers.values()]
    if all(tensor is None or not tensor.is_meta for tensor in tensors):
        return
    module.to_empty(device=device, recurse=False)
    for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
        # transformers' initialisers (initialization.py) pass over a tensor with this mark set.
        tensor._is_hf_initialized = False
    module._is_hf_initialized = False
    owner._init_weights(module)


def quantised(
    linear: nn.Linear, hardware: HardwareSettings, device: torch.device, outliers: float = 0.0
) -> nn.Module:
    """The layer with the quantised weight of ``linear``; the caller frees the full matrix.

    ``outliers``: from which value on LLM.int8 multiplies a column in half precision; 0: never.
    """
    if hardware.base.multiplies_8bit:
        return eight_bit.rounded(linear, hardware.base.quantization)
    import bitsandbytes as bnb

    shape = (linear.in_features, linear.out_features, linear.bias is not None)
    with torch.device("meta"):
        layer = (
            bnb.nn.Linear8bitLt(*shape, has_fp16_weights=False, threshold=outliers)
            if hardware.base.quantization is Quantization.INT8
            else bnb.nn.Linear4bit(
                *shape,
                compute_dtype=compute_dtype(hardware),
                compress_statistics=hardware.base.quantization is Quantization.NF4_DQ,
                quant_type="nf4",
            )
        )
    weight = linear.weight.data
    if hardware.base.quantization is Quantization.INT8:
        # bitsandbytes quantises a matrix on its way to the device, int8 only from the CPU.
        packed = bnb.nn.Int8Params(weight.cpu(), requires_grad=False, has_fp16_weights=False)
    else:
        packed = bnb.nn.Params4bit(
            weight,
            requires_grad=False,
            compress_statistics=hardware.base.quantization is Quantization.NF4_DQ,
            quant_type="nf4",
        )
    layer.weight = packed.to(device)
    layer.bias = linear.bias
    return layer
