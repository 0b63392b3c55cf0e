"""Checked access to a decoded config.json; an error names the key and the file."""

from __future__ import annotations

from collections.abc import Mapping

from tsplanner.errors import TsplannerError, quoted

_LARGEST = 2**40
"""A limit above every other number of a real config.json; products stay finite as floats."""
LIMITS: Mapping[str, int] = {
    "num_hidden_layers": 2048,  # Llama 3.1 405B has 126; research went to 1,000
    "num_layers": 1024,  # of a time-series encoder; ChatTS has 5
    "hidden_size": 2**20,  # Llama 3.1 405B has 16,384
    "intermediate_size": 2**22,  # four times a hidden size; Llama 3.1 405B has 53,248
    "ffn_dim": 2**22,
    "moe_intermediate_size": 2**22,
    "word_embed_proj_dim": 2**20,
    "vocab_size": 2**24,  # Gemma 3 has 262,208
    "num_attention_heads": 2**13,  # Llama 3.1 405B has 128
    "num_key_value_heads": 2**13,
    "head_dim": 2**13,  # Gemma has 256
    "num_local_experts": 2**14,  # the widest published mixtures have some 2,000
    "num_experts": 2**14,
    "num_experts_per_tok": 2**14,
    "max_position_embeddings": 2**30,  # Llama 4 Scout has ten million
    "patch_size": 2**16,  # ChatTS has 8
    "embedding_dim": 2**16,
    "max_sequence_length": 2**30,
    "max_length": 2**30,
}
"""The largest value of each size: a power of two far above every published model. Beyond it a
config.json is damaged, and its estimate would be a figure that no machine has."""


class NoReaderError(TsplannerError):
    """No reader knows the config's ``model_type``, or what this config makes of it."""


class Config:
    """A config.json, or a section of one, with typed look-ups."""

    def __init__(self, values: Mapping[str, object], source: str) -> None:
        self._values = values
        self._source = source

    @property
    def values(self) -> dict[str, object]:
        """The config as read."""
        return dict(self._values)

    @property
    def source(self) -> str:
        """Where the config stands, for messages."""
        return self._source

    def error(self, key: str, problem: str) -> TsplannerError:
        """An error that names the file, the key and the problem."""
        return TsplannerError(f"{self._source}: {key} {problem}")

    def unread(self, key: str, problem: str) -> NoReaderError:
        """An error for a form of the family that its reader does not have, but a trace may."""
        return NoReaderError(f"{self._source}: {key} {problem}, which has no reader")

    def has(self, key: str) -> bool:
        """Whether the key is present and not null."""
        return self._values.get(key) is not None

    def optional(self, key: str) -> object | None:
        """The raw value, or None."""
        return self._values.get(key)

    def positive(self, key: str, default: int | None = None) -> int:
        """A whole number above zero.

        Raises:
            TsplannerError: the key is missing and has no default, or its value is another one.
        """
        value = self._values.get(key)
        if value is None:
            if default is None:
                raise self.error(key, "is missing; is this the model's own config.json?")
            return default
        # A bool is an int to Python, but ``true`` in a config is no number.
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self.error(key, f"must be a whole number above 0, not {quoted(value)}")
        most = LIMITS.get(key, _LARGEST)
        if value > most:
            raise self.error(
                key, f"must be at most {most}, not {quoted(value)}: no model is that large"
            )
        return value

    def optional_positive(self, key: str) -> int | None:
        """A whole number above zero, or None if the config does not have the key."""
        return self.positive(key) if self.has(key) else None

    def number(self, key: str, default: float) -> float | None:
        """A number; None if the config has null."""
        value = self._values.get(key, default)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(key, f"must be a number, not {quoted(value)}")
        return float(value)

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false."""
        value = self._values.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.error(key, f"must be true or false, not {quoted(value)}")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        """A string."""
        value = self._values.get(key, default)
        if not isinstance(value, str):
            raise self.error(key, f"must be a string, not {quoted(value)}")
        return value

    def section(self, key: str) -> Config:
        """A nested object."""
        value = self._values.get(key)
        if not isinstance(value, dict):
            raise self.error(key, f"must be an object, not {quoted(value)}")
        return Config(value, f"{self._source}: {key}")

    @property
    def heads(self) -> int:
        """Number of query heads."""
        return self.positive("num_attention_heads")

    @property
    def key_value_heads(self) -> int:
        """Number of key/value heads; by default the number of query heads."""
        return self.positive("num_key_value_heads", self.heads)

    @property
    def head_dim(self) -> int:
        """Width of a head: the config's, or the hidden size divided by the number of heads."""
        if self.has("head_dim"):
            return self.positive("head_dim")
        hidden = self.positive("hidden_size")
        if hidden % self.heads:
            raise self.error(
                "hidden_size", f"{hidden} is not a multiple of num_attention_heads {self.heads}"
            )
        return hidden // self.heads
