"""What the headers of safetensors files say of the weights: names, shapes and dtypes.

A config.json that belongs to other weights is found before anything is planned. transformers would
stop at the first shape that differs, or fill what is missing with random numbers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import NamedTuple

from memory_models.architecture import Architecture, Linear
from memory_models.settings import changed
from memory_models.states.weights import embedding_parameters, total_parameters
from tsplanner.errors import TsplannerError
from tsplanner.models.weights import LENGTH_BYTES, WeightFiles, damage, read_header
from tsplanner.models.wrappers import unread_layers

BYTES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2}
"""Bytes per element of dtypes that have more than one."""
NO_PARAMETER = re.compile(
    r"\.(SCB|weight_format|inv_freq|original_inv_freq|masked_bias|position_ids|activation_scale)$"
    r"|\.weight\.(absmax|quant_map|nested_absmax|nested_quant_map|quant_state\..*)$"
    r"|(_scale_inv|_scales|(?<!correct_output)_scale|\.scale_inv|\.qscale_weight|\.qscale_act)$"
    r"|\.(attn|attention)\.bias$"
)
"""Buffers, and constants of quantised matrices: no parameters of the model."""
BUFFER = re.compile(r"(e_score_correction_bias|expert_bias|layer_scalar)$")
"""Buffers of some families that are parameters of others."""
EXTRA = re.compile(r"(^|\.)mtp(\.|$)")
"""Layers that predict further tokens, which transformers does not load (Qwen3-Next)."""
EXTRA_LAYERS = "num_nextn_predict_layers"
"""Config key with the number of such layers behind the last one (DeepSeek-V3, GLM-4.5)."""
IN_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks?)\.(\d+)\.(.+)$")
EMBEDDINGS = ("embed_tokens", "embed_in", "wte", "word_embeddings")
HEADS = ("lm_head", "embed_out")
EXPERT_DIMENSIONS = 3
"""A tensor [experts, rows, columns] holds the matrices of all experts."""
SAMPLES, SAMPLE_BYTES = 8, 4096
"""Places at which two tensors of one shape are compared, and bytes per place."""


class Stored(NamedTuple):
    """A tensor as its file's header describes it."""

    dtype: str
    shape: tuple[int, ...]
    path: Path
    offset: int
    """Bytes of the file before the tensor's first."""

    @property
    def bytes(self) -> int:
        """Bytes of the tensor; those of four-bit dtypes are not asked for."""
        return BYTES.get(self.dtype, 1) * prod(self.shape)


def stored_tensors(weights: WeightFiles) -> dict[str, Stored]:
    """Every tensor of a model's files by name; empty if there are none or a file is damaged."""
    if not weights.files or damage(weights) is not None:
        return {}
    found: dict[str, Stored] = {}
    for path in weights.files:
        header = read_header(path)
        if len(header) <= LENGTH_BYTES:  # too long to be read
            return {}
        for name, entry in json.loads(header[LENGTH_BYTES:]).items():
            if name == "__metadata__":
                continue
            offset = len(header) + entry["data_offsets"][0]
            found[name] = Stored(entry["dtype"], tuple(entry["shape"]), path, offset)
    return found


def elements(name: str, tensors: Mapping[str, Stored]) -> int:
    """Elements of the parameter that a tensor holds, or of the matrix that a packed one stands for.

    A header counts the nibbles of F4 already. bitsandbytes and MXFP4 pack two values per byte.
    """
    tensor = tensors[name]
    packed = f"{name}.absmax" in tensors or name.endswith("_blocks")
    return 2 * tensor.bytes if packed else prod(tensor.shape)


def parameters(tensors: Mapping[str, Stored], extra_from: int | None = None) -> int:
    """Elements of all parameters that transformers loads; ``extra_from``: the first extra layer."""
    return sum(elements(name, tensors) for name in _loaded(tensors, extra_from))


def _loaded(tensors: Mapping[str, Stored], extra_from: int | None) -> Iterator[str]:
    for name in tensors:
        if NO_PARAMETER.search(name) or EXTRA.search(name):
            continue
        layer = IN_LAYER.search(name)
        if extra_from is not None and layer and int(layer[1]) >= extra_from:
            continue
        yield name


def check_weights(
    architecture: Architecture, config: Mapping[str, object], weights: WeightFiles
) -> None:
    """Refuse weights that belong to another config.

    Raises:
        TsplannerError: names the first tensor that differs and both shapes.
    """
    tensors = stored_tensors(weights)
    if not tensors:
        return
    check = _Check(architecture, tensors, config)
    for problem in check.problems():
        raise TsplannerError(
            f"{weights.files[0].parent}: {problem}: config.json belongs to other weights; fetch "
            "both again from one place."
        )


def untied_by_weights(
    architecture: Architecture, config: Mapping[str, object], weights: WeightFiles
) -> Architecture:
    """The architecture with a head of its own, if the weights have one and the config is silent.

    Mistral 3 and InternVL are tied by default; published folders do not say so, and have a head
    that transformers leaves apart when it finds it.
    """
    if "tie_word_embeddings" in config or not architecture.vocabulary.tie_word_embeddings:
        return architecture
    check = _Check(architecture, stored_tensors(weights), config)
    if check.heads_differ():
        return changed(architecture, tie_word_embeddings=False)
    return architecture


def extra_layers(config: Mapping[str, object]) -> int:
    """Layers behind the last one that predict further tokens and are not loaded."""
    found = config.get(EXTRA_LAYERS)
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else 0


class _Check:
    """Compares a model's tensors with its shapes."""

    def __init__(
        self,
        architecture: Architecture,
        tensors: Mapping[str, Stored],
        config: Mapping[str, object],
    ) -> None:
        self.architecture, self.tensors = architecture, tensors
        layers = architecture.num_hidden_layers
        self.extra_from = layers if extra_layers(config) else None
        self.names = list(_loaded(tensors, self.extra_from))
        self.by_layer: dict[int, dict[str, str]] = {}
        for name in self.names:
            found = IN_LAYER.search(name)
            if found and not _of_tower(name):
                self.by_layer.setdefault(int(found[1]), {})[found[2]] = name
        if unread := unread_layers(config):
            read = [number for number in sorted(self.by_layer) if number not in unread]
            self.by_layer = {place: self.by_layer[number] for place, number in enumerate(read)}

    def problems(self) -> Iterator[str]:
        """Clauses that name what differs, the most telling first."""
        yield from self._vocabulary()
        yield from self._layers()
        for name in self.architecture.target_names:
            alike = [
                each
                for each in self.architecture.layer.linears
                if each.name == name and each.count == 1
            ]
            yield from self._linears(name, alike)
        yield from self._encoder()
        yield from self._head()
        yield from self._total()

    def _vocabulary(self) -> Iterator[str]:
        words, hidden = self.architecture.vocabulary.vocab_size, self.architecture.hidden_size
        # Mllama's embedding has rows for images, which its head cannot write.
        more = {t.rows for t in self.architecture.outside.outside_tensors if t.columns == hidden}
        for names, others in ((EMBEDDINGS, more), (HEADS, set[int]())):
            name = self._ending(names)
            if name is None or any(self._same(name, (words + n, hidden)) for n in (0, *others)):
                continue
            yield self._differs(name, (words, hidden))

    def _layers(self) -> Iterator[str]:
        told = self.architecture.num_hidden_layers
        if not self.by_layer:
            return
        for number in range(told):
            if number not in self.by_layer:
                yield f"layer {number} of the {told} in config.json is not among the weights"
        if more := sorted(number for number in self.by_layer if number >= told):
            name = next(iter(self.by_layer[more[0]].values()))
            yield f"{name} is of a layer beyond the {told} in config.json"

    def _linears(self, name: str, alike: Sequence[Linear]) -> Iterator[str]:
        """The matrices of all linears of one name, such as those of dense and of sparse layers."""
        shapes = [(linear.out_features, linear.in_features) for linear in alike]
        ending = f"{name}.weight"
        held = [
            (number, whole)
            for number, inside in sorted(self.by_layer.items())
            for inner, whole in inside.items()
            if (inner == ending or (inner.endswith(f".{ending}") and ".experts." not in inner))
            # Fused experts may have the name of a linear (Granite's input_linear).
            and len(self.tensors[whole].shape) != EXPERT_DIMENSIONS
        ]
        for _, whole in held:
            if shapes and not any(self._same(whole, shape) for shape in shapes):
                yield self._differs(whole, shapes[0])
        if held and len(held) < sum(linear.copies_in(self.architecture) for linear in alike):
            lacking = sorted(set(self.by_layer) - {number for number, _ in held})
            where = f"layer {lacking[0]}" if lacking else "a layer"
            yield f"{where} has no {ending}, which config.json gives it"

    def _encoder(self) -> Iterator[str]:
        encoder = self.architecture.encoder
        for linear in () if encoder is None else encoder.linears:
            name = f"ts_encoder.mlp.{linear.name}.weight"
            if not any(each.endswith(name) for each in self.names):
                yield f"there is no {name}, which config.json describes"

    def _head(self) -> Iterator[str]:
        tied = self.architecture.vocabulary.tie_word_embeddings
        head, embedding = self._ending(HEADS), self._ending(EMBEDDINGS)
        if head is None and not tied and embedding is not None:
            yield "there is no lm_head.weight, and config.json does not tie it to the embedding"
        if tied and self.heads_differ():
            yield (
                f"{head} differs from {embedding}, so transformers leaves them apart, and "
                "config.json ties them: set tie_word_embeddings to false there"
            )

    def heads_differ(self) -> bool:
        """Whether the weights have a head that is not the embedding."""
        head, embedding = self._ending(HEADS), self._ending(EMBEDDINGS)
        if head is None or embedding is None:
            return False
        first, second = self.tensors[head], self.tensors[embedding]
        return first.dtype == second.dtype and not same_content(first, second)

    def _total(self) -> Iterator[str]:
        found = sum(elements(name, self.tensors) for name in self.names)
        architecture = self.architecture
        if architecture.vocabulary.tie_word_embeddings and self._ending(EMBEDDINGS):
            found -= embedding_parameters(architecture) if self._ending(HEADS) else 0
        told = total_parameters(architecture)
        buffers = [prod(self.tensors[name].shape) for name in self.names if BUFFER.search(name)]
        if found not in (told, told + sum(buffers)):
            unknown = self._unknown() if found > told else None
            such = "" if unknown is None else f", such as {unknown}"
            yield f"the weights have {found:,} parameters{such}, and config.json {told:,}"

    def _unknown(self) -> str | None:
        """The first tensor outside the layers that is neither of the vocabulary nor a norm."""
        inside = {name for held in self.by_layer.values() for name in held.values()}
        known = re.compile(
            rf"(^|\.)({'|'.join((*EMBEDDINGS, *HEADS))}|[a-z_]*norm)\.(weight|bias)$"
        )
        return next((n for n in self.names if n not in inside and not known.search(n)), None)

    def _ending(self, names: Sequence[str]) -> str | None:
        """The first tensor that is the weight of a module of one of these names."""
        wanted = {f"{name}.weight" for name in names}
        for name in self.names:
            if name in wanted or any(name.endswith(f".{end}") for end in wanted):
                return name
        return None

    def _same(self, name: str, shape: tuple[int, int]) -> bool:
        """Whether a tensor holds a matrix of this shape, either way round, or packed."""
        tensor = self.tensors[name]
        if f"{name}.absmax" in self.tensors:
            return elements(name, self.tensors) in (prod(shape), prod(shape) + 1)
        return tensor.shape in (shape, shape[::-1])

    def _differs(self, name: str, shape: tuple[int, int]) -> str:
        return (
            f"{name} has the shape {list(self.tensors[name].shape)}, by config.json {list(shape)}"
        )


def _of_tower(name: str) -> bool:
    """Whether a tensor is of a vision or audio tower, or of the encoder of series."""
    return re.search(r"(^|\.)(vision|visual|audio|ts_encoder)", name) is not None


def same_content(one: Stored, other: Stored) -> bool:
    """Whether two tensors of one dtype look equal, by samples of their bytes.

    Raises:
        OSError: a file cannot be read.
    """
    if one.bytes != other.bytes:
        return False
    last = max(0, one.bytes - SAMPLE_BYTES)
    places = {last * place // (SAMPLES - 1) for place in range(SAMPLES)}
    return all(_sample(one, place) == _sample(other, place) for place in places)


def _sample(tensor: Stored, place: int) -> bytes:
    with tensor.path.open("rb") as stream:
        stream.seek(tensor.offset + place)
        return stream.read(min(SAMPLE_BYTES, tensor.bytes))
