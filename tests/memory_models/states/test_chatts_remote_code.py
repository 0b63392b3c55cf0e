"""The architecture as the authors of a model run it."""

from __future__ import annotations

from memory_models.settings import changed
from memory_models.states.chatts_remote_code import as_released
from tests.support.toy_decoder import TOY


def test_chatts_14b_caches_rotary_tables_in_every_layer() -> None:
    """Cosines and sines of 64 positions, 4 elements each, in two layers: 1024 elements."""
    found = as_released(changed(TOY, model_type="chatts"))
    assert found.positions.rotary_buffer_count == 2 * 2 * 64 * 4
    assert found.vocabulary.copies_logits


def test_a_decoder_of_transformers_stays_as_it_is() -> None:
    """ChatTS-8B's code uses the Qwen3 decoder and loss of transformers."""
    for model_type in ("llama", "qwen3ts"):
        architecture = changed(TOY, model_type=model_type)
        assert as_released(architecture) is architecture
