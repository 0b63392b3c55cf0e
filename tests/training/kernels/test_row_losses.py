"""Losses of parts of a batch."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from transformers import Qwen2Config, Qwen2ForCausalLM  # noqa: E402

from tsplanner.training.kernels.row_losses import last_states, loss_of  # noqa: E402


@pytest.mark.parametrize("fused", [True, False])
def test_parts_have_the_losses_that_they_have_alone(fused: bool) -> None:
    """Two rows; the sum of a part may also be divided by a number that is given."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "vocab_size": 32, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    model = Qwen2ForCausalLM(Qwen2Config(**sizes, **heads)).eval()
    ids = torch.randint(0, 32, (2, 6))
    states, labels = last_states(model, {"input_ids": ids, "labels": ids}, fused=fused)
    for row in range(2):
        part, targets = states[row : row + 1], labels[row : row + 1]
        alone = model(input_ids=ids[row : row + 1], labels=ids[row : row + 1]).loss
        mean = loss_of(model, part, targets, None, fused=fused)
        assert float(mean) == pytest.approx(float(alone), abs=1e-6)
        tenth = loss_of(model, part, targets, 50, fused=fused)
        assert float(tenth) == pytest.approx(float(alone) / 10, abs=1e-6)
