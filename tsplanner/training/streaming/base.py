"""A base whose streamed layers are in host memory, from its folder or with random weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from memory_models.settings import Streaming, resident_layers
from tsplanner.errors import TsplannerError
from tsplanner.models.quantized import stored_base
from tsplanner.planner.plan import Plan
from tsplanner.training import distributed
from tsplanner.training.adapters import decoder_layers
from tsplanner.training.base_model.build import build_model, ready_base
from tsplanner.training.base_model.configuration import DTYPES, model_config, register_own_models
from tsplanner.training.base_model.drawing import (
    BASE_SEED,
    drawn_modules,
    from_config,
    mark_packed,
    packed_linears,
    quantised,
)
from tsplanner.training.base_model.reading import cast_whole_parameters
from tsplanner.training.streaming.feed import WeightFeed
from tsplanner.training.streaming.files import FileSlab
from tsplanner.training.streaming.host_copy import HostCopy
from tsplanner.training.streaming.layer_inputs import LayerInputs
from tsplanner.training.streaming.layer_major import LayerMajor
from tsplanner.training.streaming.reading import (
    LayersAsTheyCome,
    let_go_of_what_was_read,
    read_by_layer,
)
from tsplanner.training.streaming.slabs import Slab, homes_of

HOST = torch.device("cpu")
OUTLIERS = 6.0
"""From which value on LLM.int8 multiplies a column in half precision. Source: transformers,
BitsAndBytesConfig."""


class StreamedBase:
    """A base model and the slabs of its streamed layers."""

    def __init__(self, plan: Plan, device: torch.device) -> None:
        """Build the base of a plan.

        Raises TsplannerError: as ``build_model``; the layers share weights; the memory of the host
        is not enough, or cannot be locked.
        """
        self.hardware = plan.hardware
        self.process = distributed.local_rank()
        self.streaming: Streaming = plan.hardware.streaming.of_process(self.process)
        """How this process streams; others of its host may stream other numbers of layers."""
        self.device = device
        self.dtype = DTYPES[plan.hardware.base.model_dtype]
        self.streamed: set[int] = set()
        """Places of the layers that this process streams."""
        self.filled_by: dict[int, int] = {}
        """Places of the layers in the host's copy, each with the process that fills it."""
        self.packed: set[str] = set()
        """Names of the linears that are still to be quantised."""
        self.constants: list[tuple[nn.Module, str, torch.Tensor]] = []
        """Buffers of quantised linears: module, name and values."""
        self.slabs: dict[int, Slab] = {}
        self.copy: HostCopy | None = None
        if self.streaming.stream_from_files and not plan.model.has_weights:
            raise TsplannerError(
                "Random weights are in no file that layers could be streamed from: name a folder "
                "with weights, or plan again with --stream-from-files off."
            )
        self.model = self._read(plan) if plan.model.has_weights else self._drawn(plan)
        if self.copy is not None:
            self.copy.filled()

    def _read(self, plan: Plan) -> Any:
        """The weights of a folder.

        transformers maps the files into memory, so a weight is read once, on its way to its place.
        """
        if stored_base(plan.model.config) is None:
            own = self.streaming.stream_from_files
            follow = LayersAsTheyCome(self._begin, self._came)
            model = read_by_layer(plan, follow, "auto" if own else self.dtype)
            self._cast(model)
            # transformers takes buffers that no file has for such that are still to be drawn.
            for module, name, buffer in self.constants:
                setattr(module, name, buffer)
            # What is outside the layers: encoders, projectors.
            self._pack(model)
            mark_packed(model, plan.hardware)
            ready_base(model, plan)
        else:
            model = build_model(plan, HOST)
            self._begin(model)
            for index, layer in self._streamed(model):
                self._adopt(index, layer)
        # Libraries ask where the model lies, and it is no longer where it was loaded.
        model.hf_device_map = {"": self.device}
        model = model.to(self.device)
        let_go_of_what_was_read()
        return model

    def _begin(self, model: Any) -> None:
        """A model whose layers are still on ``meta``, or lie as they are stored."""
        self._make_room(model)
        self.streamed = {index for index, _ in self._streamed(model)}
        chosen = packed_linears(model, self.hardware)
        self.packed = {name for name, each in model.named_modules() if id(each) in chosen}

    def _came(self, model: Any, index: int, layer: nn.Module) -> None:
        """A layer has been read: pack it on the device, and bring it to its place."""
        prefix, _ = decoder_layers(model)
        self._pack(model, f"{prefix}.{index}.")
        if index in self.streamed:
            self._adopt(index, layer)
        else:
            self._cast(layer)
            layer.to(self.device)
        let_go_of_what_was_read()

    def _cast(self, module: nn.Module) -> None:
        """Files that layers are streamed from are read in their own dtype."""
        if self.streaming.stream_from_files:
            cast_whole_parameters(module, self.dtype)

    def _pack(self, model: Any, prefix: str = "") -> None:
        """Quantise the linears whose names begin with ``prefix`` on the device, one by one."""
        for name in [name for name in self.packed if name.startswith(prefix)]:
            self.packed.discard(name)
            linear = model.get_submodule(name).to(self.device)
            made = quantised(linear, self.hardware, self.device, OUTLIERS)
            model.set_submodule(name, made)
            self.constants += [(made, *each) for each in made.named_buffers()]

    def _drawn(self, plan: Plan) -> Any:
        """Random weights, which are drawn on the device, layer by layer."""
        register_own_models()
        torch.manual_seed(BASE_SEED)
        model = from_config(plan.hardware, model_config(plan.model), torch.device("meta"))
        self._begin(model)
        _, layers = decoder_layers(model)
        starts = {id(layer): index for index, layer in enumerate(layers)}
        prefix, _ = decoder_layers(model)
        at_work: int | None = None
        stored = stored_base(plan.model.config)
        kept = () if stored is None else stored.kept or ()
        for name, module in drawn_modules(model, plan.hardware, self.device, kept):
            if id(module) in starts or not name.startswith(f"{prefix}."):
                self._adopt_if(at_work, layers)
                at_work = starts.get(id(module))
        self._adopt_if(at_work, layers)
        model.tie_weights()
        mark_packed(model, plan.hardware)
        ready_base(model, plan)
        return model

    def _make_room(self, model: nn.Module) -> None:
        """Host memory for the streamed layers of a model; weights may still be on ``meta``."""
        if self.streaming.stream_from_files:
            return
        # Packed layers are smaller, but for those that are all constants. What is not written of
        # the room takes no memory.
        times = 1 if self.hardware.base.quantization is None else 2
        _, layers = decoder_layers(model)
        self.filled_by = self.hardware.streaming.on_host(len(layers))
        rooms = {
            place: times * Slab(homes_of(layers[place]), self.device).size
            for place in sorted(self.filled_by)
        }
        self.copy = HostCopy(rooms, lock=self.device.type == "cuda")

    def _streamed(self, model: nn.Module) -> Iterator[tuple[int, nn.Module]]:
        _, layers = decoder_layers(model)
        if self.streaming.most > len(layers):
            raise TsplannerError(
                f"The plan streams {self.streaming.most} layers and the model has "
                f"{len(layers)}: plan again with at most as many --streamed-layers."
            )
        kept = resident_layers(len(layers), self.streaming.most)
        known: set[int] = set()
        for index, layer in enumerate(layers):
            own = {id(each) for each in layer.parameters()}
            if own & known:
                raise TsplannerError(
                    "The layers of this model share weights, so that they cannot be streamed: "
                    "plan again with --streamed-layers 0."
                )
            known |= own
            if index not in kept:
                yield index, layer

    def _adopt_if(self, index: int | None, layers: nn.ModuleList) -> None:
        if index in self.streamed:
            self._adopt(index, layers[index])

    def _adopt(self, index: int, layer: nn.Module) -> None:
        layer.requires_grad_(False)
        if self.streaming.stream_from_files:
            self.slabs[index] = FileSlab(homes_of(layer), self.device, self.dtype)
            return
        slab = Slab(homes_of(layer), self.device)
        assert self.copy is not None
        fills = not self.copy.shared or self.filled_by[index] == self.process
        slab.adopt(self.copy.region(index, slab.size, fills=fills), fill=fills)
        self.slabs[index] = slab

    @contextmanager
    def shown(self) -> Iterator[None]:
        """All layers with bytes behind them, whatever these are.

        DoRA measures packed matrices as it is made, by kernels that read every byte of them.
        """
        largest = max(slab.size for slab in self.slabs.values())
        bytes_ = torch.zeros(largest, dtype=torch.uint8, device=self.device)
        for slab in self.slabs.values():
            slab.install(bytes_[: slab.size])
        try:
            yield
        finally:
            for slab in self.slabs.values():
                slab.rest()

    def attach(self, trained: Any) -> LayerMajor:
        """Let the layers of the ``trained`` model, with its adapters, run layer-major."""
        base = getattr(trained, "get_base_model", lambda: trained)()
        prefix, layers = decoder_layers(base)
        feed = WeightFeed(self.slabs, self.device)
        for index in self.slabs if any(map(magnitudes, base.modules())) else ():
            with feed.layer(index):
                measure_magnitudes(layers[index])
        return LayerMajor(
            trained,
            list(layers),
            base.get_submodule(prefix.rpartition(".")[0]),
            feed,
            LayerInputs(self.device, self.streaming.inputs_on_device),
        )


def magnitudes(module: Any) -> dict[str, Any]:
    """DoRA's magnitudes of a linear, by the name of the adapter."""
    return dict(getattr(module, "lora_magnitude_vector", None) or {})


def measure_magnitudes(layer: nn.Module) -> None:
    """Give DoRA's magnitudes the norms of the weights, which were not there when they were made."""
    for module in layer.modules():
        for name, magnitude in magnitudes(module).items():
            kept = magnitude.weight
            magnitude.update_layer(
                base_layer=module.get_base_layer(),
                lora_A=module.lora_A[name].weight,
                lora_B=module.lora_B[name].weight,
                scaling=module.scaling[name],
            )
            with torch.no_grad():
                kept.copy_(magnitude.weight)
            magnitude.weight = kept
