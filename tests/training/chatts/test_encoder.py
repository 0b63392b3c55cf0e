"""The encoder: its layers from a config, its first outputs."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")


from tests.support.tiny_chatts import IDS, SERIES, model  # noqa: E402
from tsplanner.training.batches import series_tensor  # noqa: E402


@pytest.mark.parametrize(
    ("ts", "width"),
    [
        ({"use_position_embedding": False}, 4),
        ({"use_position_embedding": False, "use_position_idx": True}, 8),
        ({"use_layer_norm": True}, 24),
    ],
)
def test_older_and_newer_encoders_are_built_from_their_config(ts, width):
    """No position, a position number, a position embedding: the input is 4, 8 or 24 wide."""
    net = model("chatts", **ts)

    assert net.ts_encoder.mlp[0].in_features == width
    assert net(input_ids=IDS, timeseries=series_tensor(SERIES)).logits.shape == (2, 9, 64)


def test_random_encoder_passes_signals_of_the_size_of_words():
    """Freshly built, patches are not drowned: their spread is at least that of word embeddings."""
    net = model("chatts")

    patches, _ = net.ts_encoder(series_tensor(SERIES), torch.float32)

    assert patches.std() > net.get_input_embeddings().weight.std()
