"""Batches: what is trained on, what is padded, how long it gets."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer  # noqa: E402

from memory_models.architecture import TimeSeriesEncoder  # noqa: E402
from tests.support.rows import conversation  # noqa: E402
from tsplanner.datasets.lengths.scan import length_stats  # noqa: E402
from tsplanner.datasets.lengths.stats import longest_batch_length  # noqa: E402
from tsplanner.datasets.rendering.choice import renderer  # noqa: E402
from tsplanner.datasets.rendering.fixed import ChatTSRenderer, PlainRenderer  # noqa: E402
from tsplanner.datasets.rendering.template import TemplateRenderer  # noqa: E402
from tsplanner.datasets.rows.readers import read_conversations  # noqa: E402
from tsplanner.training import chatts  # noqa: E402
from tsplanner.training.batches import (  # noqa: E402
    EncodedSample,
    chatts_batch,
    collate,
    encode_row,
    encoder_of,
    longest_batch,
    samples_of,
    series_tensor,
    words_of,
)

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "configs" / "models" / "tiny-chatts"
SAMPLE = ROOT / "configs" / "datasets" / "sample" / "sample.jsonl"
ENCODER = TimeSeriesEncoder(patch_size=8, num_layers=5, hidden_size=192)


@pytest.fixture(scope="module")
def tokenizer():
    """Load the tokenizer that ships with tiny-chatts."""
    return AutoTokenizer.from_pretrained(TINY)


@pytest.fixture(scope="module")
def tiny():
    """Load tiny-chatts itself."""
    chatts.register()
    return AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32).eval()


def test_series_tensor_pairs_each_value_with_a_one():
    """A shorter series ends in zeros, which the model does not read."""
    assert series_tensor([[0.5, -1.0], [2.0]]).tolist() == [
        [[0.5], [1.0], [-1.0], [1.0]],
        [[2.0], [1.0], [0.0], [0.0]],
    ]


def test_collate_pads_on_the_right_to_a_multiple_of_eight():
    """Nine tokens become sixteen; padding is neither read nor trained on."""
    rows = [
        EncodedSample(input_ids=list(range(1, 10)), labels=[-100] * 8 + [9]),
        EncodedSample(input_ids=[1], labels=[1]),
    ]

    batch = collate(rows, pad_id=0)

    assert batch["input_ids"].tolist() == [[*range(1, 10)] + [0] * 7, [1] + [0] * 15]
    assert batch["attention_mask"].sum(dim=1).tolist() == [9, 1]
    assert batch["labels"][1].tolist() == [1] + [-100] * 15
    assert "timeseries" not in batch


def test_only_the_answer_and_its_end_are_trained_on(tokenizer):
    """Decoded, the labels are the answer with the mark that closes it."""
    sample = conversation("See <ts><ts/>", "Up.", ((1.0,) * 9,))

    row = encode_row(sample, ChatTSRenderer(), encoder_of(tokenizer), cutoff_len=512)

    trained = [label for label in row.labels if label != -100]
    assert tokenizer.decode(trained) == "Up.<|im_end|>"
    assert row.series == ((0.0,) * 9,)


def test_row_with_series_over_the_cutoff_is_left_out(tokenizer):
    """The collator never sees a question whose series lost its text."""
    sample = conversation("See <ts><ts/>", "Up.", ((1.0,) * 9,))

    assert encode_row(sample, ChatTSRenderer(), encoder_of(tokenizer), cutoff_len=20) is None


@pytest.mark.parametrize(
    "rendering", [PlainRenderer("<|im_end|>"), renderer(TINY, has_encoder=False)]
)
def test_long_text_is_cut_and_keeps_some_answer(tokenizer, rendering):
    """A question longer than the cutoff leaves half of the room to the answer."""
    row = conversation("word " * 200, "yes " * 200)

    row = encode_row(row, rendering, encoder_of(tokenizer), cutoff_len=64)

    assert len(row.input_ids) == 64
    assert sum(label != -100 for label in row.labels) == 32


def test_chat_template_of_the_tokenizer_is_used_for_text(tokenizer):
    """A text row of a model with a template reads as that template writes it."""
    own = renderer(TINY, has_encoder=False)

    row = encode_row(conversation("Hi", "Hello"), own, encoder_of(tokenizer), cutoff_len=64)

    assert tokenizer.decode(row.input_ids) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n"
    )


@pytest.mark.parametrize("parts", [True, False])
def test_a_template_that_reads_parts_of_a_content_gets_parts(tokenizer, parts):
    """LLaVA's and SmolVLM's write nothing of a plain text, and would teach an empty answer."""
    read = "{% for part in m.content %}{{ part.text }}{% endfor %}" if parts else "{{ m.content }}"
    own = TemplateRenderer("{% for m in messages %}<" + read + ">{% endfor %}", {})

    row = encode_row(conversation("Hi", "Hello"), own, encoder_of(tokenizer), cutoff_len=64)

    assert tokenizer.decode(row.input_ids) == "<Hi><Hello>"
    assert tokenizer.decode([label for label in row.labels if label != -100]) == "<Hello>"


def test_counted_length_is_the_length_of_the_real_batch(tokenizer, tiny):
    """What the plan reserves for a batch is what the model's forward gives, to the position."""
    stats = length_stats(SAMPLE, cutoff_len=512, encoder=ENCODER, tokenizer_folder=TINY)

    batch = chatts_batch(list(read_conversations(SAMPLE)), tokenizer, cutoff_len=512)
    merged = tiny.merged_inputs(batch["input_ids"], timeseries=batch["timeseries"])

    assert merged.inputs_embeds.shape[1] == longest_batch_length(stats, 440)
    assert batch["attention_mask"].sum(dim=1).max() == stats.most.longest_text


def test_counted_length_is_the_length_of_every_single_row(tokenizer, tiny):
    """S = T + sum(P - 2) for each of the rows, not only for the longest."""
    samples = list(read_conversations(SAMPLE))[:40]
    stats = length_stats(SAMPLE, cutoff_len=512, encoder=ENCODER, tokenizer_folder=TINY)

    lengths = []
    for sample in samples:
        batch = chatts_batch([sample], tokenizer, cutoff_len=512)
        merged = tiny.merged_inputs(
            batch["input_ids"], batch["attention_mask"], batch["timeseries"]
        )
        lengths.append(int(merged.attention_mask.sum()))

    assert set(lengths) <= set(stats.lengths)


@pytest.mark.parametrize(("patches", "length"), [(None, 96), (5, 96), (2, 2), (1, 40)])
def test_longest_batch_has_exactly_the_length_asked_for(tiny, patches, length):
    """Whatever share the series take, the decoder sees the planned number of positions."""
    batch = longest_batch(
        tiny.config, micro_batch_size=3, sequence_length=length, series_patches=patches
    )

    assert tiny(**batch).logits.shape == (3, length, tiny.config.vocab_size)


def test_longest_batch_of_a_text_model_is_text():
    """Without an encoder every position is a token, and every one has a label."""
    config = AutoConfig.for_model("qwen2", vocab_size=50)

    batch = longest_batch(config, micro_batch_size=2, sequence_length=16)

    assert set(batch) == {"input_ids", "attention_mask", "labels"}
    assert batch["labels"].shape == (2, 16)
    assert int(batch["labels"].min()) >= 0


def test_random_ids_keep_within_the_smaller_embedding() -> None:
    """Gemma 3n's embedding per layer has no rows for the ids of images."""
    config = AutoConfig.for_model(
        "gemma3n_text", vocab_size=64, vocab_size_per_layer_input=48, num_hidden_layers=2
    )
    assert words_of(config) == 48
    assert (
        int(longest_batch(config, micro_batch_size=4, sequence_length=64)["input_ids"].max()) < 48
    )


def test_a_probe_s_series_are_read_back_without_their_marks() -> None:
    """Values stand beside ones: (value, 1.0) pairs."""
    pairs = torch.tensor([[0.5, 1.0, 0.25, 1.0], [2.0, 1.0, 3.0, 1.0]]).unsqueeze(-1)
    batch = {
        "input_ids": torch.tensor([[1, 2], [3, 4]]),
        "labels": torch.tensor([[-100, 2], [-100, 4]]),
        "timeseries": pairs,
    }
    found = samples_of(batch)
    assert [row.input_ids for row in found] == [[1, 2], [3, 4]]
    assert [row.series for row in found] == [((0.5, 0.25),), ((2.0, 3.0),)]
