"""Small ChatTS models of random weights, and one batch of two rows with three series."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from transformers import AutoModelForCausalLM  # noqa: E402

from tsplanner.training import chatts  # noqa: E402

START, END, PAD = 60, 61, 0
SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 64,
    "max_position_embeddings": 256,
    "pad_token_id": PAD,
    "ts_token_start_index": START,
    "ts_token_end_index": END,
    "use_cache": False,
}
TS = {
    "patch_size": 4,
    "num_layers": 3,
    "hidden_size": 32,
    "num_features": 2,
    "embedding_dim": 5,
    "max_sequence_length": 64,
    "use_position_embedding": True,
}
CONFIGS = {
    "chatts": lambda **ts: chatts.ChatTSConfig(**SHAPE, ts=TS | ts),
    "qwen3ts": lambda **ts: chatts.Qwen3TSConfig(**SHAPE, head_dim=8, ts=TS | ts),
}

# Two rows: one series of 6 points (2 patches) in the first, of 9 and 1 (3 + 1) in the second.
IDS = torch.tensor(
    [
        [5, 6, START, END, 7, 8, 9, PAD, PAD],
        [START, END, 10, 11, START, END, 12, 13, 14],
    ]
)
MASK = (IDS != PAD).long()
LABELS = torch.tensor(
    [
        [-100, -100, -100, -100, 7, 8, 9, -100, -100],
        [-100, -100, -100, -100, -100, -100, 12, 13, 14],
    ]
)
SERIES = [[0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [-1.0, 2.0, 0.5] * 3, [3.0]]


def model(model_type: str, **ts: object) -> torch.nn.Module:
    """Build a small model of random weights."""
    return AutoModelForCausalLM.from_config(CONFIGS[model_type](**ts)).eval()
