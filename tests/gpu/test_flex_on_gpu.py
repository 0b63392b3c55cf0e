"""flex_attention on a real NVIDIA GPU; run with ``make test-gpu``."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from tests.gpu.test_rows_on_gpu import gradients, hold_to_single_rows  # noqa: E402
from tsplanner.training.kernels import flex  # noqa: E402
from tsplanner.training.kernels.row_attention import Rules  # noqa: E402
from tsplanner.training.kernels.rows import LAYOUT  # noqa: E402

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(600)]


def sides(rows: int, tokens: int, size: int) -> list[Tensor]:
    """Queries of 8 heads, keys and values of 2, as a projection lays them out."""
    draw = torch.Generator(device="cuda").manual_seed(0)
    return [
        torch.randn(rows, tokens, heads, size, device="cuda", generator=draw)
        .bfloat16()
        .transpose(1, 2)
        .requires_grad_()
        for heads in (8, 2, 2)
    ]


@pytest.mark.parametrize("lengths", [(700,), (300, 1, 129, 70), (512, 256), (30, 1, 40)])
@pytest.mark.parametrize(
    ("size", "softcap", "window", "sinks"),
    [
        (256, 50.0, None, False),
        (256, 50.0, 200, False),
        (64, None, 128, True),
        (128, None, 9, True),
    ],
)
def test_it_gives_what_rows_give_one_by_one(
    lengths: tuple[int, ...], size: int, softcap: float | None, window: int | None, *, sinks: bool
) -> None:
    """Values and gradients in bf16; two places of a padded row, one of rows end to end."""
    positions = [place for length in lengths for place in range(length)]
    LAYOUT.read(torch.tensor([positions], device="cuda"))
    given = sides(2 if len(lengths) == 1 else 1, sum(lengths), size)
    beside = torch.linspace(-2, 3, 8, device="cuda").requires_grad_() if sinks else None
    rules = Rules(window=window, softcap=softcap, sinks=beside)
    hold_to_single_rows(flex.flex_rows(*given, rules), given, lengths, rules)


def test_no_score_is_ever_in_memory() -> None:
    """One layer of Gemma 2 9B at 8,192 tokens: a tensor of scores would take 2 GiB."""
    LAYOUT.one_row(8192, torch.device("cuda"))
    given = sides(1, 8192, 256)
    rules = Rules(softcap=50.0, window=4096)
    for _ in range(2):
        held = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        gradients(flex.flex_rows(*given, rules), given)
        taken = torch.cuda.max_memory_allocated() - held
    # Result, its square in fp32 and both gradients: 32, 64, 64 and 32 MiB, the queries' gradient 32
    # and 16 of keys and values.
    assert taken < 400 * 2**20


def test_ever_new_lengths_are_trained_without_a_score_in_memory() -> None:
    """Twelve lengths of one and of two blocks and more, of one row and of two, forward, backward
    and without gradients: more kinds than PyTorch compiles unasked.
    """
    rules = Rules(softcap=50.0, window=300)
    for rows in (1, 2):
        for tokens in (64, 128, 136, 200, 256, 304, 640, 1000, 1504, 2048, 2600, 3072):
            LAYOUT.one_row(tokens, torch.device("cuda"))
            given = sides(rows, tokens, 256)
            with torch.no_grad():
                flex.flex_rows(*given, rules)
            held = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            gradients(flex.flex_rows(*given, rules), given)
            taken = torch.cuda.max_memory_allocated() - held
            # At most about 32 KiB a token: the result 4, in fp32 8, its gradient 8 and 4, and 6 of
            # queries, keys and values. Scores of the longest would take 48 KiB a token beside.
            # Shorter passes than a block are filled up.
            assert taken < rows * max(tokens, flex.BLOCK + 1) * 40 * 1024 + 2**20
