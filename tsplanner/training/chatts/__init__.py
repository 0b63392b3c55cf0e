"""ChatTS for transformers 5, without remote code."""

from tsplanner.training.chatts.decoders import (
    ChatTSConfig,
    Qwen2TSForCausalLM,
    Qwen3TSConfig,
    Qwen3TSForCausalLM,
    register,
)
from tsplanner.training.chatts.encoder import TimeSeriesEmbedding

__all__ = [
    "ChatTSConfig",
    "Qwen2TSForCausalLM",
    "Qwen3TSConfig",
    "Qwen3TSForCausalLM",
    "TimeSeriesEmbedding",
    "register",
]
