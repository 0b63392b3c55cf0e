"""Where the patches of a series go in a batch."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")


from tests.support.tiny_chatts import CONFIGS, IDS, LABELS, MASK, SERIES, model  # noqa: E402
from tsplanner.training.batches import series_tensor  # noqa: E402
from tsplanner.training.chatts.merging import check_pairs, needed_mask, patch_places  # noqa: E402


def patches_by_hand(encoder: torch.nn.Module, values: list[float]) -> torch.Tensor:
    """Patch by patch in plain Python, for one series."""
    rows = []
    for first in range(0, len(values), 4):
        chunk = values[first : first + 4]
        places = [first + i if i < len(chunk) else 64 for i in range(4)]
        chunk = chunk + [values[-1]] * (4 - len(chunk))
        located = encoder.position_embedding.weight[places].flatten()
        rows.append(encoder.mlp(torch.cat([torch.tensor(chunk), located])))
    return torch.stack(rows)


@pytest.mark.parametrize("model_type", CONFIGS)
def test_merging_puts_the_patches_of_each_series_where_its_marks_stood(model_type):
    """The vectorised merge equals a row-by-row one written from the description."""
    net = model(model_type)
    words = net.get_input_embeddings()

    with torch.no_grad():
        merged = net.merged_inputs(IDS, MASK, series_tensor(SERIES), LABELS)
        first, second, third = (patches_by_hand(net.ts_encoder, values) for values in SERIES)
        row_one = torch.cat([words(IDS[0, :2]), first, words(IDS[0, 4:])])
        row_two = torch.cat([second, words(IDS[1, 2:4]), third, words(IDS[1, 6:])])

    assert merged.inputs_embeds.shape == (2, 9, 32)
    torch.testing.assert_close(merged.inputs_embeds[0], row_one)
    torch.testing.assert_close(merged.inputs_embeds[1], row_two)
    assert merged.attention_mask.tolist() == [[1] * 7 + [0, 0], [1] * 9]
    assert merged.labels.tolist() == [
        [-100] * 4 + [7, 8, 9, -100, -100],
        [-100] * 6 + [12, 13, 14],
    ]


def test_merged_length_is_the_text_and_the_most_patches_of_a_row():
    """T + max over rows of sum(P - 2): 9 tokens, and a row whose series has 16 patches."""
    net = model("chatts")
    series = [[0.5] * 64, [0.5] * 4, [0.5] * 4]

    merged = net.merged_inputs(IDS, MASK, series_tensor(series))

    assert merged.inputs_embeds.shape[1] == 9 + 14


def test_series_that_do_not_match_the_marks_are_refused():
    """A series too few would shift every later one."""
    with pytest.raises(ValueError, match="3 <ts> and 3 <ts/> tokens for 2 series"):
        model("chatts")(input_ids=IDS, attention_mask=MASK, timeseries=series_tensor(SERIES[:2]))


def test_a_mask_is_needed_where_padding_is_not_on_the_right():
    """Causal attention hides what stands behind a position, not what stands before it."""
    right = torch.tensor([[1, 1, 0], [1, 1, 1]])
    left = torch.tensor([[0, 1, 1], [1, 1, 1]])
    assert needed_mask(None) is None
    assert needed_mask(right) is None
    assert needed_mask(left) is left


def test_a_pair_that_encloses_something_is_refused():
    """One start and one end for one series, but a token stands between them."""
    opens = torch.tensor([[True, False, False]])
    closes = torch.tensor([[False, False, True]])
    with pytest.raises(ValueError, match="1 <ts> and 1 <ts/> tokens for 1 series"):
        check_pairs(opens, closes, 1)
    check_pairs(opens, torch.tensor([[False, True, False]]), 1)


def test_patches_follow_each_other_from_their_mark_on():
    """Row 0: a series of two patches from position 3; row 1: three from 0, one from 5."""
    opens = torch.zeros(2, 6, dtype=torch.bool)
    opens[0, 2] = opens[1, 0] = opens[1, 4] = True
    starts = torch.tensor([[0, 1, 3, 5, 6, 7], [0, 3, 3, 4, 5, 6]])
    row, place = patch_places(opens, starts, torch.tensor([2, 3, 1]))
    assert row.tolist() == [0, 0, 1, 1, 1, 1]
    assert place.tolist() == [3, 4, 0, 1, 2, 5]
