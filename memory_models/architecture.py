"""A model as far as bytes and seconds depend on it: shapes only, no weights.

Notation: D hidden size, F MLP size, H query heads, K key/value heads, A head size, V vocabulary,
L layers, E experts.
"""

from __future__ import annotations

from dataclasses import field
from enum import StrEnum

from memory_models.frozen import frozen


class Role(StrEnum):
    """The part that a linear plays in its layer; it decides which activations backward keeps."""

    QUERY = "query"
    KEY = "key"
    VALUE = "value"
    QKV = "qkv"
    """Query, key and value in one fused matrix (Phi-3, GPT-NeoX)."""
    OUTPUT = "output"
    GATE = "gate"
    UP = "up"
    GATE_UP = "gate_up"
    """Gate and up in one fused matrix (Phi-3)."""
    DOWN = "down"
    ROUTER = "router"
    """The linear that scores the experts of a mixture."""
    ENCODER = "encoder"
    """A linear of the time-series encoder, outside the decoder layers."""
    BARE = "bare"
    """A linear whose module is passed by, so that an adapter on it would do nothing (Mamba)."""
    OTHER = "other"
    """A linear of a recorded layer, whose tape and not its role says what backward keeps; and a
    linear outside the decoder layers."""


class Activation(StrEnum):
    """The activation function of the MLP."""

    SILU = "silu"
    GELU = "gelu"
    GELU_TANH = "gelu_pytorch_tanh"
    GELU_NEW = "gelu_new"
    """The same function as ``GELU_TANH`` in eight small kernels (Phi-2)."""
    RELU = "relu"


class Norm(StrEnum):
    """The kind of norm: LayerNorm runs as one fused kernel, the others as several small ones."""

    RMS = "rms"
    RMS_FP32 = "rms_fp32"
    """An RMSNorm that multiplies by its scale before the cast to the stream's dtype (OLMo 2)."""
    LAYER = "layer"
    LAYER_FP32 = "layer_fp32"
    """A LayerNorm without a bias, written out in fp32 (Cohere)."""


@frozen
class Linear:
    """One linear of a decoder layer (or of the encoder), by the name that PEFT targets."""

    name: str
    """Last component of the module's name, e.g. ``q_proj``."""
    role: Role
    in_features: int
    out_features: int
    bias: bool = False
    count: int = 1
    """Copies per layer: the number of experts for expert matrices, else 1."""
    layers: int | None = None
    """Number of decoder layers that have it; None: every layer has it."""
    kept_copies: int | None = 0
    """Of its copies in the model, those that a quantised base keeps whole; None: all of them."""

    def copies_in(self, architecture: Architecture) -> int:
        """Number of decoder layers that have this linear."""
        return architecture.num_hidden_layers if self.layers is None else self.layers

    @property
    def weight_count(self) -> int:
        """Elements of the weight matrices of all copies, without biases."""
        return self.in_features * self.out_features * self.count

    @property
    def bias_count(self) -> int:
        """Elements of the biases of all copies."""
        return self.out_features * self.count if self.bias else 0


@frozen
class TimeSeriesEncoder:
    """Patch encoder of a ChatTS-style model: an MLP over patches; one patch is one position."""

    patch_size: int
    """Points of a series per patch, that is per decoder position."""
    num_layers: int
    hidden_size: int
    embedding_dim: int = 16
    """Width of the position embedding per point; it counts only with ``use_position_embedding``."""
    max_sequence_length: int = 32768
    """Points of the longest series that the position embedding covers."""
    use_position_embedding: bool = False
    use_position_idx: bool = False
    use_layer_norm: bool = False

    @property
    def input_size(self) -> int:
        """Features per patch that the MLP reads."""
        if self.use_position_embedding:
            return self.patch_size * (1 + self.embedding_dim)
        return self.patch_size * (2 if self.use_position_idx else 1)

    @property
    def linears(self) -> tuple[Linear, ...]:
        """The linears of the MLP, named by their index in the checkpoint (0, 2, 4, ...)."""
        widths = [self.input_size, *([self.hidden_size] * self.num_layers)]
        return tuple(
            Linear(
                name=str(2 * index),
                role=Role.ENCODER,
                in_features=widths[index],
                out_features=widths[index + 1],
                bias=True,
            )
            for index in range(self.num_layers)
        )

    @property
    def embedding_count(self) -> int:
        """Elements of the position embedding, its padding row included."""
        if not self.use_position_embedding:
            return 0
        return (self.max_sequence_length + 1) * self.embedding_dim

    @property
    def norm_count(self) -> int:
        """Elements of the output layer norm."""
        return 2 * self.hidden_size if self.use_layer_norm else 0

    def patches(self, points: int) -> int:
        """Decoder positions of a series with ``points`` values."""
        return -(-points // self.patch_size)


@frozen
class AttentionShape:
    """Self-attention of one decoder layer."""

    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    qk_norm: bool = False
    """A norm over each query and key head (Qwen3, Gemma 3)."""
    attn_logit_softcapping: float | None = None
    sliding_window: int | None = None
    """Positions that attention sees in ``sliding_layers`` layers; None: all positions."""
    sliding_layers: int = 0
    eager_only: bool = False
    """transformers runs no fused attention kernel for this family (gpt-oss, BLOOM)."""
    rotary_dim: int | None = None
    """Elements of each head that are rotated and joined to the rest in a new tensor (Phi-2, GLM-4);
    None: all elements are, and joined only in models with fused query, key and value."""
    rotary_in_fp32: bool = False
    """Queries and keys are rotated in fp32 and cast back (Cohere)."""

    def __post_init__(self) -> None:
        """Refuse shapes that no model has."""
        _positive(self, "num_attention_heads")
        if self.num_key_value_heads <= 0 or self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads {self.num_attention_heads} is not a multiple of "
                f"num_key_value_heads {self.num_key_value_heads}"
            )


@frozen
class MlpShape:
    """MLP, or mixture of experts, of one decoder layer."""

    intermediate_size: int
    activation: Activation = Activation.SILU
    num_experts_per_tok: int = 0
    """Experts that run per token; 0 for a dense model."""


@frozen
class NormShape:
    """The norms of one decoder layer, and the one before the head."""

    kind: Norm = Norm.RMS
    norm_width_per_layer: int
    """Sum of the widths of all norms of one layer, q/k norms included: elements of their scales."""
    norm_scales_in_fp32: bool = False
    """The norm multiplies by its scale in fp32 (Gemma), not in the stream's dtype."""
    norms_per_layer: int = 2
    """Norms over the hidden size per layer: 4 in Gemma 2 and 3, 1 where attention and MLP read the
    same norm (Phi-2, Cohere)."""
    norms_after: bool = False
    """The norms stand after attention and after the MLP, and none before them (OLMo 2)."""
    final_norm: bool = True


@frozen
class VocabularyShape:
    """Embedding, output head and loss."""

    vocab_size: int
    tie_word_embeddings: bool
    head_bias: bool = False
    """The output head has a bias (Phi-2)."""
    final_logit_softcapping: float | None = None
    copies_logits: bool = False
    """The loss reads a shifted fp32 copy of all logits (the released ChatTS-14B's own loss)."""
    scales_embedding: bool = False
    """The embedding's output is multiplied by a constant outside its module (Granite)."""
    scales_logits: bool = False
    """The logits are multiplied by a constant (Granite, Cohere)."""

    def __post_init__(self) -> None:
        """Refuse shapes that no model has."""
        _positive(self, "vocab_size")


@frozen
class PositionShape:
    """How the model encodes positions."""

    max_position_embeddings: int
    extended_positions: int | None = None
    """Positions that YaRN extends a rotary model to; None: the config extends none."""
    learned_position_count: int = 0
    """Elements of a learned position table (OPT)."""
    rotary_buffer_count: int = 0
    """Elements of rotary buffers that no method shards or quantises (ChatTS-14B)."""

    @property
    def published_positions(self) -> int:
        """Positions that the model was published for."""
        return max(self.max_position_embeddings, self.extended_positions or 0)


@frozen
class Tensors:
    """Parameters of one shape [rows, columns]; a vector has one row."""

    rows: int = 1
    columns: int
    copies: int = 1
    """Number of such parameters in the whole model."""

    @property
    def elements(self) -> int:
        """Elements of one copy."""
        return self.rows * self.columns


@frozen
class OutsideShape:
    """Parameters outside decoder layers, embedding, last norm and lm_head.

    They are those of a vision tower and its projector, or of a projection around the layers.
    """

    outside_linears: tuple[Linear, ...] = field(default=())
    """``nn.Linear`` modules, which bitsandbytes quantises; ``count`` is the number in the model."""
    outside_tensors: tuple[Tensors, ...] = field(default=())
    """All other parameters, biases of the linears excluded."""
    frozen_linears: tuple[Linear, ...] = field(default=())
    """As ``outside_linears``, of a part that no method trains: the vision tower."""
    frozen_tensors: tuple[Tensors, ...] = field(default=())

    @property
    def linears(self) -> tuple[Linear, ...]:
        """All linears, trained or frozen."""
        return (*self.outside_linears, *self.frozen_linears)

    @property
    def tensors(self) -> tuple[Tensors, ...]:
        """All other parameters, trained or frozen."""
        return (*self.outside_tensors, *self.frozen_tensors)


@frozen
class LayerShape:
    """One decoder layer."""

    linears: tuple[Linear, ...]
    """Linears of the layer in the order in which they run."""
    dropouts_per_layer: int = 0
    """Dropouts on the residual stream that are active in training (OPT: 2)."""
    parallel_residual: bool = False
    """Attention and MLP both read the input of the layer (GPT-NeoX)."""
    scales_branches: bool = False
    """A branch is multiplied by a constant before the residual sum (Granite)."""
    holds_branch: bool = False
    """Input and result of attention are held until the layer ends (StableLM), for its code binds
    them to variables of their own."""
    tensors: tuple[Tensors, ...] = field(default=())
    """Tensors of all layers that are neither weights of ``linears`` nor counted by the norms."""
    recorded: str = ""
    """Key of the layers' recorded tapes (``recorded/recording.py``); empty: they have a formula."""
    first_parameters: int = 0
    """Elements of the first layer, where layers are recorded and differ."""


def _positive(record: object, *names: str) -> None:
    for name in names:
        if getattr(record, name) <= 0:
            raise ValueError(f"{name} must be positive, not {getattr(record, name)}")


@frozen
class Architecture:
    """A decoder-only language model, with or without a time-series encoder."""

    name: str
    """A name for people: that of a preset or of a folder."""
    model_type: str
    """``model_type`` of config.json."""
    hidden_size: int
    num_hidden_layers: int
    attention: AttentionShape
    mlp: MlpShape
    norms: NormShape
    vocabulary: VocabularyShape
    positions: PositionShape
    layer: LayerShape
    encoder: TimeSeriesEncoder | None = None
    outside: OutsideShape = field(default_factory=OutsideShape)
    """What no adapter targets, but takes memory."""

    def __post_init__(self) -> None:
        """Refuse shapes that no model has."""
        _positive(self, "hidden_size", "num_hidden_layers")

    @property
    def target_names(self) -> tuple[str, ...]:
        """Names that ``lora_target`` may use, in the order of the layer."""
        return tuple(dict.fromkeys(linear.name for linear in self.layer.linears))
