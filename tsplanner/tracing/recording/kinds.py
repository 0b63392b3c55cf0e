"""Which decoder layers of a model are alike, and a model that has few of each kind.

Two layers are alike if their modules have the same classes, shapes and plain attributes, and the
config lists the same type for both. A model with three layers of a kind costs a tenth of the trace
of the whole model and shows the same events per layer.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import nn

from tsplanner.training.adapters import decoder_layers
from tsplanner.training.language_model import forget_unread_layers, unread_layers

OUTER_COPIES = 3
"""Layers kept of the first kind: the first one is a kind of its own, and the last one of a model
may be."""
COPIES = 2
"""Layers kept of every other kind."""
MOST_KINDS = 8
"""More kinds than this are taken as a sign that an attribute counts the layers."""
PLAIN = (bool, int, float, str)


class Chosen(NamedTuple):
    """The layers that stand for all."""

    places: tuple[int, ...]
    """Their places in the whole model, in the order in which they run in the small one."""
    pattern: tuple[int, ...]
    """For every layer of the whole model the place in the small one of the layer that it is like;
    0 for the first layer alone."""

    def with_all(self) -> Chosen:
        """All layers of the model, of which the same ones stand for all."""
        count = len(self.pattern)
        return Chosen(tuple(range(count)), tuple(self.places[place] for place in self.pattern))


def choose(model: Any) -> Chosen:
    """The layers that stand for all layers of a model."""
    _, layers = decoder_layers(model)
    unread = unread_layers(model)
    kinds = {p: kind for p, kind in enumerate(_kinds(model, layers)) if p not in unread}
    places: list[int] = []
    stands_for: dict[int, int] = {}
    for kind in dict.fromkeys(kinds.values()):
        alike = [place for place, found in kinds.items() if found == kind]
        begin = len(places)
        places += alike[: COPIES if places else OUTER_COPIES]
        # The second of a kind follows one of its own kind; the very first has no layer below.
        stands_for[kind] = begin + min(1, len(alike) - 1)
    pattern = [stands_for[kind] for kind in kinds.values()]
    pattern[0] = 0
    return Chosen(tuple(places), tuple(pattern))


def _kinds(model: Any, layers: nn.ModuleList) -> list[int]:
    signs: dict[Any, int] = {}
    for with_attributes in (True, False):
        signs = {}
        found = [
            signs.setdefault(_sign(model, layer, place, len(layers), with_attributes), len(signs))
            for place, layer in enumerate(layers)
        ]
        if len(signs) <= MOST_KINDS:
            break
    return found


def _sign(model: Any, layer: nn.Module, place: int, count: int, with_attributes: bool) -> Any:
    listed = tuple(str(values[place]) for values in _lists(model, count).values())
    parts = []
    for name, module in layer.named_modules():
        shapes = [
            (key, tuple(p.shape), str(p.dtype)) for key, p in module.named_parameters(recurse=False)
        ]
        plain = [
            (key, value)
            for key, value in sorted(vars(module).items())
            if isinstance(value, PLAIN) and not _counts(key)
        ]
        parts.append((name, type(module).__name__, *shapes, *(plain if with_attributes else ())))
    return listed, tuple(parts)


def _counts(key: str) -> bool:
    """Whether an attribute numbers the layers."""
    return "idx" in key or "index" in key or key in ("training", "layer_number", "layer_id")


def _lists(model: Any, count: int) -> dict[tuple[int, str], Any]:
    """Lists of the config that have an item per layer, by config and name."""
    found = {}
    for number, config in enumerate(_configs(model)):
        for key, value in vars(config).items():
            if not isinstance(value, (list, tuple)) or len(value) != count:
                continue
            # A list of as many different items as there are layers numbers them.
            if len({str(item) for item in value}) <= MOST_KINDS:
                found[number, key] = value
    return found


def _configs(model: Any) -> list[Any]:
    """Every configuration object that a module of the model reads."""
    found = {id(m.config): m.config for m in model.modules() if hasattr(m, "config")}
    return list(found.values())


def keep_only(model: Any, places: tuple[int, ...]) -> None:
    """Leave the layers at these places, in this order; the config counts and lists them alone."""
    name, layers = decoder_layers(model)
    count = len(layers)
    configs = _configs(model)
    for (number, key), values in _lists(model, count).items():
        setattr(configs[number], key, type(values)(values[place] for place in places))
    small = nn.ModuleList([layers[place] for place in places])
    for place, layer in enumerate(small):
        for module in layer.modules():
            for key in ("layer_idx", "layer_index"):
                if isinstance(vars(module).get(key), int):
                    setattr(module, key, place)
    model.set_submodule(name, small)
    forget_unread_layers(model)
    for config in configs:
        if getattr(config, "num_hidden_layers", None) == count:
            config.num_hidden_layers = len(places)
