"""What a config.json says of weights that are stored quantised, and what our worker does with them.

``quantization_config`` is never ignored: each method that transformers names is trained on as it is
stored, dequantised while it is loaded, or refused by name. To add a method, add a row to
``METHODS``. Source: transformers, utils/quantization_config.py and quantizers/.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum

from memory_models.architecture import Architecture, Linear, Role
from memory_models.frozen import frozen
from memory_models.settings import FinetuningType, Quantization, changed
from tsplanner.errors import TsplannerError, UsageError, named
from tsplanner.models.config import Config

KEY = "quantization_config"


class Use(StrEnum):
    """What our worker does with a base that is stored by a method."""

    AS_STORED = "as_stored"
    """It loads the packed matrices and trains adapters on them."""
    DEQUANTIZED = "dequantized"
    """It loads the matrices as plain ones, in the dtype of the plan."""
    REFUSED = "refused"


@frozen
class StorageMethod:
    """A ``quant_method`` of transformers."""

    label: str
    """As people call it."""
    use: Use = Use.REFUSED
    why: str = ""
    """Why our worker does not train on it, as a clause; empty: it does."""


def _of_package(label: str, package: str) -> StorageMethod:
    """A method whose matrices only the kernels of a package multiply."""
    return StorageMethod(
        label=label, why=f"its matrices need the kernels of {package}, which this worker has not"
    )


def _for_inference(label: str) -> StorageMethod:
    """A method that transformers marks as not trainable."""
    return StorageMethod(label=label, why="transformers loads it for inference alone")


METHODS: Mapping[str, StorageMethod] = {
    "bitsandbytes": StorageMethod(label="bitsandbytes", use=Use.AS_STORED),
    "fp8": StorageMethod(label="FP8", use=Use.DEQUANTIZED),
    "mxfp8": StorageMethod(label="MXFP8", use=Use.DEQUANTIZED),
    "mxfp4": StorageMethod(label="MXFP4", use=Use.DEQUANTIZED),
    "gptq": _of_package("GPTQ", "gptqmodel"),
    "awq": _of_package("AWQ", "gptqmodel"),
    "aqlm": _of_package("AQLM", "aqlm"),
    "bitnet": _of_package("BitNet", "bitnet"),
    "compressed-tensors": _of_package("compressed-tensors", "compressed-tensors"),
    "eetq": _of_package("EETQ", "kernels"),
    "fouroversix": _of_package("four-over-six", "fouroversix"),
    "fp_quant": _of_package("FP-Quant", "fp_quant"),
    "hqq": _of_package("HQQ", "hqq"),
    "quanto": _of_package("Quanto", "optimum-quanto"),
    "sinq": _of_package("SINQ", "sinq"),
    "torchao": _of_package("torchao", "torchao"),
    "auto-round": _for_inference("AutoRound"),
    "fbgemm_fp8": _for_inference("FBGEMM FP8"),
    "gemma": _for_inference("Gemma's own quantisation"),
    "gguf": _for_inference("GGUF"),
    "higgs": _for_inference("HIGGS"),
    "metal": _for_inference("Metal"),
    "quark": _for_inference("Quark"),
    "spqr": _for_inference("SpQR"),
    "vptq": _for_inference("VPTQ"),
    "nvfp4": StorageMethod(label="NVFP4", why="transformers does not load stored NVFP4"),
}

WAY_OUT = "take the model's unquantised repository, which --quantization nf4 makes as small"
TRAINS_WEIGHTS = (FinetuningType.FULL, FinetuningType.FREEZE)


@frozen
class StoredBase:
    """A base that is stored quantised and that our worker can train adapters on."""

    method: str
    """``quant_method`` of the config."""
    label: str
    """The storage, as people call it."""
    quantization: Quantization | None
    """How the matrices lie on the device; None: they are dequantised while they are loaded."""
    kept: tuple[str, ...] | None = None
    """Patterns of modules that are stored whole; None: transformers' own, which is the head."""

    @property
    def note(self) -> str:
        """What an estimate assumes of the weights."""
        if self.quantization is None:
            return f"weights stored in {self.label}, dequantised while they are loaded"
        return f"weights stored in {self.label}, trained on as they are"

    def accept(self, wanted: Quantization | None) -> None:
        """Refuse another quantisation than the folder's.

        Raises:
            UsageError: the two differ.
        """
        if wanted is self.quantization:
            return
        if self.quantization is None:
            raise UsageError(
                f"quantization {wanted} would round weights again that are stored in {self.label} "
                "and dequantised while they are loaded: leave it out, or take the model's "
                "unquantised repository."
            )
        raise UsageError(
            f"quantization {wanted or 'none'} is not possible, as the model's weights are stored "
            f"in {self.label}: leave it out, or take the model's unquantised repository."
        )

    def accept_method(self, method: FinetuningType) -> None:
        """Refuse to train the weights themselves.

        Raises:
            UsageError: the method does.
        """
        if method in TRAINS_WEIGHTS:
            raise UsageError(
                f"{method} trains the weights themselves, which this model stores rounded to "
                f"{self.label}: take lora, or the model's unquantised repository."
            )


def stored_base(values: Mapping[str, object], source: str = "config.json") -> StoredBase | None:
    """How the weights beside a decoded config.json are stored; None: whole.

    Raises:
        TsplannerError: our worker cannot train on them; the text has the reason and a way out.
    """
    config = _quantization_of(values, source)
    if config is None:
        return None
    method = _method_name(config)
    row = METHODS.get(method)
    if row is None:
        raise TsplannerError(
            f"{config.source}: quant_method {named(method)} is unknown to transformers, which "
            f"would take the packed numbers for weights: {WAY_OUT}."
        )
    if row.use is Use.REFUSED:
        raise TsplannerError(
            f"{config.source}: the weights are stored in {row.label}, and {row.why}: {WAY_OUT}."
        )
    if row.use is Use.DEQUANTIZED:
        return StoredBase(method=method, label=row.label, quantization=None)
    quantization = _bitsandbytes(config)
    found = StoredBase(
        method=method,
        label=_bitsandbytes_label(config, quantization),
        quantization=quantization,
        kept=_patterns(config, "llm_int8_skip_modules"),
    )
    _refuse_packed_head(values, found, config.source)
    return found


def _quantization_of(values: Mapping[str, object], source: str) -> Config | None:
    """The section on quantisation: of the model or, as transformers looks for it, of its text."""
    text = values.get("text_config")
    for section in (values, text if isinstance(text, dict) else {}):
        if section.get(KEY) is not None:
            return Config(section, source).section(KEY)
    return None


def _method_name(config: Config) -> str:
    """The method, which old bitsandbytes folders name only by its bits."""
    if config.flag("load_in_4bit", default=False) or config.flag("load_in_8bit", default=False):
        return "bitsandbytes"
    if not config.has("quant_method"):
        raise config.error("quant_method", f"is missing: fetch config.json again, or {WAY_OUT}")
    method = config.text("quant_method")
    if method == "bitsandbytes":
        raise config.error("load_in_4bit", "and load_in_8bit are both false: fetch it again")
    return method


def _bitsandbytes(config: Config) -> Quantization:
    """The storage of a bitsandbytes folder; FP4 takes the bytes of NF4 and is trained alike."""
    if not config.flag("load_in_4bit", default=False):
        return Quantization.INT8
    double = config.flag("bnb_4bit_use_double_quant", default=False)
    return Quantization.NF4_DQ if double else Quantization.NF4


def _bitsandbytes_label(config: Config, quantization: Quantization) -> str:
    # transformers' default is FP4.
    four_bit = quantization is not Quantization.INT8
    if four_bit and config.text("bnb_4bit_quant_type", "fp4") == "fp4":
        return f"FP4 (the bytes of {quantization})"
    return str(quantization)


def _patterns(config: Config, key: str) -> tuple[str, ...] | None:
    found = config.optional(key)
    if found is None:
        return None
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise config.error(key, "must be a list of names")
    return tuple(found)


HEADS: Mapping[str, str] = {"gpt_neox": "embed_out"}
"""Name of the output head where it is not ``lm_head``."""


def _refuse_packed_head(values: Mapping[str, object], found: StoredBase, source: str) -> None:
    """Refuse a list of kept modules without the head: such a list replaces transformers' own."""
    head = HEADS.get(str(values.get("model_type")), "lm_head")
    if found.kept is not None and not is_kept(head, found.kept):
        raise TsplannerError(
            f"{source}: llm_int8_skip_modules does not name {head}, so the head is stored packed "
            "too, and a tied one fails in its first forward: take the model's unquantised "
            "repository, or add the head's name there if its weights are stored whole."
        )


def is_kept(name: str, patterns: Sequence[str]) -> bool:
    """Whether a module of this full name is stored whole, by transformers' rule.

    A pattern matches from the start of the name to the end of a component, as a regular expression,
    or as the name's end. Source: transformers quantizers/quantizers_utils.py.
    """
    return any(name.endswith(pattern) or _matches(pattern, name) for pattern in patterns)


def _matches(pattern: str, name: str) -> bool:
    try:
        return re.match(rf"(?:{pattern})(?:(?<=\.)|(?=\.|$))", name) is not None
    except re.error:
        return False


LAYERS: Mapping[str, str] = {"opt": "model.decoder.layers", "gpt_neox": "gpt_neox.layers"}
"""Full name of the list of decoder layers where it is not ``model.layers``."""
ATTENTION = frozenset({Role.QUERY, Role.KEY, Role.VALUE, Role.QKV, Role.OUTPUT})


def full_name(model_type: str, linear: Linear, layer: int) -> str:
    """Name of a linear of a layer in the model, as transformers builds it."""
    inner = "mlp."
    if linear.role in ATTENTION:
        inner = "attention." if model_type == "gpt_neox" else "self_attn."
    elif model_type == "opt":
        inner = ""
    return f"{LAYERS.get(model_type, 'model.layers')}.{layer}.{inner}{linear.name}"


def with_kept_linears(architecture: Architecture, stored: StoredBase | None) -> Architecture:
    """The architecture with the linears that a quantised base keeps whole."""
    if stored is None or not stored.kept:
        return architecture
    linears = [
        changed(linear, kept_copies=_kept_layers(architecture, linear, stored.kept))
        for linear in architecture.layer.linears
    ]
    return changed(architecture, linears=tuple(linears))


def _kept_layers(architecture: Architecture, linear: Linear, patterns: Sequence[str]) -> int | None:
    """Layers in which the linear is stored whole; None: in all of them."""
    layers = range(architecture.num_hidden_layers)
    names = (full_name(architecture.model_type, linear, layer) for layer in layers)
    count = sum(is_kept(name, patterns) for name in names)
    return None if count == architecture.num_hidden_layers else count
