"""Attention by flex_attention; its kernel needs a GPU, its rules of who sees whom do not."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from tsplanner.errors import TsplannerError  # noqa: E402
from tsplanner.training.kernels import flex, row_attention  # noqa: E402
from tsplanner.training.kernels.row_attention import Rules  # noqa: E402
from tsplanner.training.kernels.rows import LAYOUT, Rows  # noqa: E402

LENGTHS = (300, 1, 129, 70)


def laid_out(lengths: tuple[int, ...]) -> Rows:
    """Rows end to end."""
    LAYOUT.read(torch.tensor([[place for length in lengths for place in range(length)]]))
    return LAYOUT.rows


def heads(count: int, seed: int, tokens: int = 500) -> Tensor:
    """[2, heads, tokens, 16]"""
    return torch.randn(2, count, tokens, 16, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("lengths", [LENGTHS, (30, 1, 40)], ids=["four blocks", "one block"])
@pytest.mark.parametrize("window", [None, 1, 40, 128, 200])
@pytest.mark.parametrize("sinks", [False, True])
@pytest.mark.parametrize("softcap", [None, 2.0])
def test_it_gives_what_rows_give_one_by_one(
    lengths: tuple[int, ...], window: int | None, softcap: float | None, *, sinks: bool
) -> None:
    """Soft caps, windows, sinks and grouped heads, for two places of rows at once."""
    laid_out(lengths)
    tokens = sum(lengths)
    query, key, value = heads(4, 0, tokens), heads(2, 1, tokens), heads(2, 2, tokens)
    beside = torch.tensor([-1.0, 0.0, 1.0, 3.0]) if sinks else None
    asked: dict[str, Any] = {"sliding_window": window, "softcap": softcap, "s_aux": beside}
    alone, _ = row_attention.row_attention(torch.nn.Identity(), query, key, value, None, **asked)
    rules = Rules(window=window, softcap=softcap, sinks=beside)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that it makes all scores on a CPU
        together = flex.flex_rows(query, key, value, rules)
    assert together.shape == (2, tokens, 4, 16)
    assert torch.allclose(together, alone, atol=1e-5)


def test_blocks_that_see_nothing_are_left_out() -> None:
    """Rows of 256 and 200 tokens in blocks of 128: the third block of queries begins the second
    row and sees itself alone; the fourth, of 72 tokens, sees the third whole and itself in part.
    """
    found = flex.block_mask(laid_out((256, 200)), None)
    assert found.kv_num_blocks.flatten().tolist() == [1, 1, 1, 1]
    assert found.full_kv_num_blocks.flatten().tolist() == [0, 1, 0, 1]
    assert found.kv_indices[0, 0, :, 0].tolist() == [0, 1, 2, 3]
    assert [found.full_kv_indices[0, 0, row, 0].item() for row in (1, 3)] == [0, 2]


def test_a_window_leaves_out_what_lies_before_it() -> None:
    """One row of 512 tokens, window 129: token 384 sees 256 to 384, and token 511 383 to 511. So
    the last block sees the one before it and itself, both in part.
    """
    found = flex.block_mask(laid_out((512,)), 129)
    assert found.kv_num_blocks.flatten().tolist() == [1, 2, 2, 2]
    assert found.kv_indices[0, 0, 3, :2].tolist() == [2, 3]
    assert found.full_kv_num_blocks.flatten().tolist() == [0, 0, 0, 0]


def test_the_layers_of_a_pass_share_what_was_made_of_its_rows() -> None:
    """One mask per window; rows of the next pass get their own, one row of a length the old one."""
    query, key, value = heads(2, 0), heads(2, 1), heads(2, 2)
    LAYOUT.one_row(500, torch.device("cpu"))
    first = LAYOUT.rows
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for window in (None, 64, 64, 1000):
            flex.flex_rows(query, key, value, Rules(window=window))
    assert set(first.masks) == {None, 64}
    assert laid_out(LENGTHS).masks == {}
    LAYOUT.one_row(500, torch.device("cpu"))
    assert LAYOUT.rows is first


def test_an_old_torch_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 2.6 a mask by blocks had no length of its own."""
    from torch.nn.attention import flex_attention

    flex.require_blocks()

    class Old:
        """As it was."""

        @classmethod
        def from_kv_blocks(cls, kv_num_blocks: Tensor, kv_indices: Tensor) -> None:
            """Lengths are those of whole blocks."""

    monkeypatch.setattr(flex_attention, "BlockMask", Old)
    with pytest.raises(TsplannerError, match=r"flex_attention needs torch 2\.6, and 2"):
        flex.require_blocks()


def test_no_length_makes_it_compile_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for all rows, with a window and without; several rows are a kind of their own."""
    from torch._dynamo.testing import CompileCounter

    counter = CompileCounter()
    kernel = flex.compiled(counter)
    monkeypatch.setattr(flex, "_flex_attention", lambda: kernel)

    def compilations(*lengths: int, window: int | None = None, rows: int = 1) -> int:
        tokens = sum(lengths)
        laid_out(lengths)
        query, key, value = (torch.randn(rows, heads, tokens, 16) for heads in (4, 2, 2))
        with torch.no_grad():
            flex.flex_rows(query, key, value, Rules(window=window, softcap=50.0))
        return int(counter.frame_count)

    assert compilations(300) == 1
    assert compilations(200, 77, window=64) == 1
    assert compilations(512) == compilations(640, 8, window=64) == compilations(136) == 1
    assert compilations(128) == compilations(64) == compilations(72, window=9) == 1
    assert compilations(300, rows=2) == compilations(264, rows=4) == compilations(9, rows=4) == 2


def test_soft_cap_and_scale_are_part_of_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inductor compiles no kernel that is handed its soft cap: all its inputs are tensors of
    queries, keys, values and blocks, or lengths.
    """
    handed: list[object] = []

    def note(graph: Any, inputs: list[Any]) -> Any:
        handed.extend(inputs)
        return graph.forward

    kernel = flex.compiled(note)
    monkeypatch.setattr(flex, "_flex_attention", lambda: kernel)
    laid_out((200, 100))
    query, key, value = (torch.randn(1, heads, 300, 16) for heads in (4, 2, 2))
    flex.flex_rows(query, key, value, Rules(softcap=50.0, scaling=0.1))
    assert handed
    assert all(each.ndim > 0 for each in handed if isinstance(each, Tensor))
    assert not [each for each in handed if isinstance(each, float | torch.SymFloat)]


TINY = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 64,
    "sliding_window": 6,
    "pad_token_id": 0,
    "layer_types": ["sliding_attention", "full_attention"],
}
OWN: dict[str, dict[str, Any]] = {
    "gemma2": {"attn_logit_softcapping": 2.0},
    "gpt_oss": {"num_local_experts": 2, "num_experts_per_tok": 1},
}


@pytest.mark.parametrize("model_type", sorted(OWN))
def test_a_model_learns_by_it_what_it_learns_by_its_eager_attention(model_type: str) -> None:
    """Two rows padded on the right, then the first alone: loss and gradients, and back again."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(3)
    config = AutoConfig.for_model(model_type, **TINY, **OWN[model_type])
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    ids = torch.randint(1, 64, (2, 12))
    mask = torch.ones_like(ids)
    mask[1, 9:] = 0
    labels = ids.masked_fill(mask == 0, -100)

    def learned(*, rows: int) -> tuple[Tensor, list[Tensor]]:
        model.zero_grad()
        batch = {"input_ids": ids, "attention_mask": mask, "labels": labels}
        loss = model(**{name: item[:rows] for name, item in batch.items()}).loss
        loss.backward()
        return loss, [each.grad.clone() for each in model.parameters() if each.grad is not None]

    before = [learned(rows=rows) for rows in (2, 1)]
    row_attention.use_row_attention(model, flex=True)
    for rows, (loss, gradients) in zip((2, 1), before, strict=True):
        found, others = learned(rows=rows)
        assert torch.allclose(found, loss, atol=1e-5)
        assert len(others) == len(gradients)
        assert all(torch.allclose(*pair, atol=1e-5) for pair in zip(others, gradients, strict=True))
    with row_attention.usual_attention(model):
        assert model.config._attn_implementation == "eager"
    assert model.config._attn_implementation == row_attention.FLEX


def test_dropout_is_refused_before_it_would_be_left_out() -> None:
    """On any device."""
    sides = heads(2, 0), heads(2, 1), heads(2, 2)
    LAYOUT.one_row(500, torch.device("cpu"))
    with pytest.raises(TsplannerError, match=r"has no dropout.*attention_dropout is 0\.1"):
        row_attention.row_attention(torch.nn.Identity(), *sides, None, flex=True, dropout=0.1)


def test_a_model_that_keeps_its_own_attention_is_refused() -> None:
    """Transformers then changes nothing and logs a line."""

    class Own(torch.nn.Module):
        """Its code reads no attention by name."""

        config = SimpleNamespace(_attn_implementation="eager")

        def set_attn_implementation(self, name: str) -> None:
            """Does nothing."""

    with pytest.raises(TsplannerError, match="The code of Own runs its own attention alone"):
        row_attention.use_row_attention(Own(), flex=True)


def test_autocast_reaches_it() -> None:
    """As it reaches scaled dot-product attention: fp32 queries beside bf16 values."""
    LAYOUT.one_row(500, torch.device("cpu"))
    query, key, value = heads(2, 0), heads(2, 1), heads(2, 2).bfloat16()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = flex.flex_rows(query, key, value, Rules())
    assert found.dtype is torch.bfloat16
