"""Reads the weights of a folder layer by layer, so that no more than one layer is there twice.

transformers loads one weight after the other and gives it to a quantiser, which another library may
register (transformers.quantizers.auto). Ours changes no weight: it says which layer is complete.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tsplanner.planner.plan import Plan
from tsplanner.training.adapters import decoder_layers
from tsplanner.training.base_model.build import ready_config
from tsplanner.training.base_model.reading import read_weights
from tsplanner.training.eight_bit.loading import forget_quantiser

METHOD = "tsplanner-by-layer"
"""Name of our quantiser in transformers' tables."""
HOST = torch.device("cpu")
MAPS = Path("/proc/self/maps")
DONT_NEED = 4
"""MADV_DONTNEED: the pages of a mapping leave this process, and come back from its file."""


class _FailedError(BaseException):
    """What failed while a layer was brought to its place; transformers would go on loading."""

    def __init__(self, why: Exception) -> None:
        super().__init__()
        self.why = why


class LayersAsTheyCome:
    """Follows the weights of a model, and says of every decoder layer when all of it is there."""

    def __init__(
        self, begin: Callable[[Any], None], complete: Callable[[Any, int, nn.Module], None]
    ) -> None:
        """``begin`` gets the empty model, ``complete`` the model, a layer and its place."""
        self.begin, self.complete = begin, complete
        self.last: int | None = None
        self.done: set[int] = set()
        self.prefix = ""
        self.layers: nn.ModuleList | None = None

    def starts(self, model: Any) -> None:
        """The model is there, and no weight of it."""
        self.prefix, self.layers = decoder_layers(model)
        self.begin(model)

    def comes(self, model: Any, name: str) -> None:
        """A weight comes; what came before it is in the model."""
        inside = name.removeprefix(f"{self.prefix}.")
        place = int(inside.split(".")[0]) if inside != name else None
        if self.last not in (None, place):
            try:
                self._end(model, self.last)
            except Exception as error:
                raise _FailedError(error) from error
        self.last = place

    def _end(self, model: Any, place: int | None) -> None:
        assert self.layers is not None
        if place is None or place in self.done:
            return
        layer = self.layers[place]
        # Families that store layers in another order have the rest of it later.
        if any(each.is_meta for each in layer.parameters()):
            return
        self.done.add(place)
        self.complete(model, place, layer)
        # transformers draws initial values for what nobody has marked as loaded.
        for each in layer.parameters():
            each._is_hf_initialized = True

    def ends(self, model: Any) -> None:
        """All weights are there."""
        assert self.layers is not None
        for place in range(len(self.layers)):
            self._end(model, place)


def read_by_layer(plan: Plan, follow: LayersAsTheyCome, dtype: torch.dtype | str) -> Any:
    """The model of a folder in host memory, its layers where ``follow`` has brought them.

    ``dtype``: of the weights; ``auto``: that of the files.

    Raises TsplannerError: as ``build_model``.
    """
    how = _registered()()
    how.follow = follow
    try:
        model = read_weights(plan, ready_config(plan), HOST, how, dtype)
    except _FailedError as failed:
        raise failed.why from None
    follow.ends(model)
    forget_quantiser(model)
    return model


@lru_cache(maxsize=1)
def _registered() -> Any:
    """The class of our quantiser's configuration, once both are in transformers' tables."""
    from transformers.core_model_loading import ConversionOps
    from transformers.quantizers.auto import register_quantization_config, register_quantizer
    from transformers.quantizers.base import HfQuantizer
    from transformers.utils.quantization_config import QuantizationConfigMixin

    class Announce(ConversionOps):
        """Say that a weight comes, and leave it as it is."""

        def __init__(self, follow: LayersAsTheyCome) -> None:
            self.follow = follow

        def convert(self, input_dict: Any, model: Any = None, **_: Any) -> dict[str, Any]:
            """The same weights."""
            found = {}
            for name, given in input_dict.items():
                self.follow.comes(model, name)
                found[name] = given[0] if isinstance(given, list) else given
            return found

    @register_quantization_config(METHOD)
    class ByLayerConfig(QuantizationConfigMixin):
        """What is told of the layers; it is set once the configuration is made."""

        follow: Any = None

        def __init__(self, **_: Any) -> None:
            self.quant_method = METHOD

    @register_quantizer(METHOD)
    class ByLayerQuantizer(HfQuantizer):
        """Sees every weight as it is loaded."""

        requires_calibration = False
        is_trainable = True

        def is_serializable(self) -> bool:
            """The base is never saved."""
            return False

        def _process_model_before_weight_loading(self, model: Any, **_: Any) -> Any:
            self.quantization_config.follow.starts(model)
            return model

        def param_needs_quantization(self, model: Any, param_name: str, **_: Any) -> bool:
            """All of them are announced."""
            return True

        def get_quantize_ops(self) -> ConversionOps:
            """What transformers calls for every weight."""
            return Announce(self.quantization_config.follow)

    return ByLayerConfig


def let_go_of_what_was_read() -> None:
    """Give back pages of weights' files, and memory that was freed and is still held.

    The files stay in the system's cache, and a weight that is read again comes back from there.
    Nothing of them was written to, so nothing is lost. Outside Linux nothing is done.
    """
    for low, high in file_mappings():
        _libc().madvise(ctypes.c_void_p(low), ctypes.c_size_t(high - low), DONT_NEED)
    trim = getattr(_libc(), "malloc_trim", None)
    if trim is not None:
        trim(0)


def file_mappings() -> list[tuple[int, int]]:
    """Where weights' files are mapped privately."""
    try:
        lines = MAPS.read_text().splitlines()
    except OSError:
        return []
    fields = [line.split(maxsplit=5) for line in lines if ".safetensors" in line]
    return [
        (int(low, 16), int(high, 16))
        for low, high in (each[0].split("-") for each in fields if each[1].endswith("p"))
    ]


@lru_cache(maxsize=1)
def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)
