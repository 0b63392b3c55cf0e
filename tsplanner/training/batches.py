"""From rows to tensors, with one encoding and one collator for all models and datasets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import Any

import numpy as np
import torch

from memory_models.frozen import frozen
from tsplanner.datasets.lengths.tally import padded_tokens
from tsplanner.datasets.records import Conversation
from tsplanner.datasets.rendering.fixed import ChatTSRenderer
from tsplanner.datasets.rendering.pieces import Renderer
from tsplanner.datasets.rows.checks import TS_END, TS_START
from tsplanner.datasets.series_encoding import normalised_series
from tsplanner.datasets.tokens.rows import Encode, cut, token_row
from tsplanner.training.language_model import text_config

IGNORED_LABEL = -100
Array = np.ndarray[Any, np.dtype[Any]]


@frozen
class EncodedSample:
    """One row as token ids; only what carries loss has labels."""

    input_ids: Sequence[int] | Array
    labels: Sequence[int] | Array
    series: tuple[Sequence[float] | Array, ...] = field(default=())
    """Normalised values, one tuple per ``<ts><ts/>`` pair."""


def encode_row(
    row: Conversation, renderer: Renderer, encode: Encode, *, cutoff_len: int
) -> EncodedSample | None:
    """Token ids of one row; None for a row with series whose text is over ``cutoff_len``.

    Text without series is cut to ``cutoff_len``.

    Raises RowError: the model's template refuses the row.
    """
    found = token_row(renderer.pieces(row), encode)
    # A cut could take the marks of a series; ChatTS's own training leaves such rows out.
    if len(found.ids) > cutoff_len and row.timeseries:
        return None
    found = cut(found, cutoff_len)
    ids = np.array(found.ids)
    return EncodedSample(
        input_ids=ids,
        labels=labels_of(ids, found.learned),
        series=tuple(normalised_series(series) for series in row.timeseries),
    )


def labels_of(ids: Array, learned: Sequence[tuple[int, int]]) -> Array:
    """The ids inside the ranges that carry loss, and `IGNORED_LABEL` elsewhere."""
    labels = np.full_like(ids, IGNORED_LABEL)
    for start, end in learned:
        labels[start:end] = ids[start:end]
    return labels


def encoder_of(tokenizer: Any) -> Encode:
    """How a tokenizer of transformers makes ids and offsets of a text that has its own marks."""

    def encode(text: str) -> tuple[list[int], list[tuple[int, int]]]:
        found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return found["input_ids"], found["offset_mapping"]

    return encode


def label_count(row: EncodedSample) -> int:
    """Number of labels that count: nothing before the first position foretells it."""
    return int((np.asarray(row.labels)[1:] != IGNORED_LABEL).sum())


def without_mask(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The batch of a causal model without its attention mask.

    All padding is on the right, where no earlier token attends to it and no label counts it. With a
    mask sdpa could not use the flash kernel, and transformers (masking_utils.py) would read the
    values of the mask in every step, which makes the host wait for the GPU.
    """
    return {name: tensor for name, tensor in batch.items() if name != "attention_mask"}


def collate(encoded: Sequence[EncodedSample], pad_id: int) -> dict[str, torch.Tensor]:
    """One batch, padded on the right to a multiple of 8 tokens.

    The batch has ``timeseries`` only if a row has series: [K, 2N, 1], pairs (value, 1.0), zeros
    after the end of a shorter series.
    """
    # The planner's length counts round by this function, so they are those of the real batch.
    width = padded_tokens(max(len(row.input_ids) for row in encoded))
    input_ids = torch.full((len(encoded), width), pad_id, dtype=torch.long)
    labels = torch.full((len(encoded), width), IGNORED_LABEL, dtype=torch.long)
    attention_mask = torch.zeros((len(encoded), width), dtype=torch.long)
    for index, row in enumerate(encoded):
        count = len(row.input_ids)
        input_ids[index, :count] = torch.as_tensor(row.input_ids)
        labels[index, :count] = torch.as_tensor(row.labels)
        attention_mask[index, :count] = 1
    batch = {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}
    if series := [values for row in encoded for values in row.series]:
        batch["timeseries"] = series_tensor(series)
    return batch


def series_tensor(series: Sequence[Sequence[float] | Array]) -> torch.Tensor:
    """Series as a tensor [K, 2N, 1]: each value followed by 1.0, zeros after a shorter series."""
    points = torch.zeros(len(series), max(len(values) for values in series), 2)
    for index, values in enumerate(series):
        points[index, : len(values), 0] = torch.as_tensor(values)
        points[index, : len(values), 1] = 1.0
    return points.reshape(len(series), -1, 1)


def chatts_batch(
    rows: Sequence[Conversation], tokenizer: Any, *, cutoff_len: int
) -> dict[str, torch.Tensor]:
    """Encode and collate rows of a model with an encoder, without rows over ``cutoff_len``.

    Raises ValueError if no row is left.
    """
    rendering, encode = ChatTSRenderer(), encoder_of(tokenizer)
    found = [encode_row(row, rendering, encode, cutoff_len=cutoff_len) for row in rows]
    encoded = [row for row in found if row is not None]
    if not encoded:
        raise ValueError(f"every one of {len(found)} rows is over cutoff_len {cutoff_len}")
    return collate(encoded, pad_token_id(tokenizer))


def pad_token_id(tokenizer: Any) -> int:
    """Id of the padding token, or of the end token for a tokenizer without a padding token."""
    return int(tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id)


def series_token_ids(tokenizer: Any) -> tuple[int, int]:
    """Ids of ``<ts>`` and ``<ts/>`` in the tokenizer's vocabulary."""
    start, end = tokenizer.convert_tokens_to_ids([TS_START, TS_END])
    return int(start), int(end)


def words_of(config: Any) -> int:
    """Number of token ids that stand for text.

    Gemma 3n has a second, smaller embedding, and reads beyond its end for the ids of images.
    """
    text = text_config(config)
    inner = getattr(text, "vocab_size_per_layer_input", None)
    return int(min(text.vocab_size, inner or text.vocab_size))


def longest_batch(
    config: Any,
    *,
    micro_batch_size: int,
    sequence_length: int,
    series_patches: int | None = None,
    seed: int = 0,
) -> dict[str, torch.Tensor]:
    """A batch of random ids in which every row takes ``sequence_length`` decoder positions.

    All text has labels, because a short answer would hide a part of the memory of the loss. For a
    config with ``ts`` each row has one series of ``series_patches`` patches; None: a quarter of the
    positions.
    """
    generator = torch.Generator().manual_seed(seed)
    ts = getattr(config, "ts", None)
    text = sequence_length
    if ts is not None:
        patches = sequence_length // 4 if series_patches is None else series_patches
        patches = max(1, min(patches, sequence_length, _most_patches(ts)))
        # The patches take the places of the two marks of the series.
        text = sequence_length - (patches - 2)
    ids = torch.randint(0, words_of(config), (micro_batch_size, text), generator=generator)
    batch = {"attention_mask": torch.ones_like(ids)}
    if ts is not None:
        start, end = config.ts_token_start_index, config.ts_token_end_index
        # A mark among the random ids would be a pair without a series.
        ids[(ids == start) | (ids == end)] = min({0, 1, 2} - {start, end})
        ids[:, 0], ids[:, 1] = start, end
        points = patches * ts["patch_size"]
        values = torch.randn(micro_batch_size, points, generator=generator)
        batch["timeseries"] = series_tensor(values.clamp(-3, 3).tolist())
    labels = ids.clone()
    if ts is not None:
        labels[:, :2] = IGNORED_LABEL
    return {"input_ids": ids, "labels": labels, **batch}


def samples_of(batch: dict[str, torch.Tensor]) -> list[EncodedSample]:
    """The rows of a `longest_batch`, which has one series per row, or none."""
    ids, labels = batch["input_ids"].tolist(), batch["labels"].tolist()
    series: list[tuple[tuple[float, ...], ...]] = [()] * len(ids)
    if "timeseries" in batch:
        values = batch["timeseries"].reshape(len(ids), -1, 2)[..., 0].tolist()
        series = [(tuple(row),) for row in values]
    return [
        EncodedSample(input_ids=row, labels=targets, series=own)
        for row, targets, own in zip(ids, labels, series, strict=True)
    ]


def _most_patches(ts: dict[str, Any]) -> int:
    """Patches of the longest series that the encoder takes."""
    return int(ts.get("max_sequence_length", ts.get("max_length", 32768))) // int(ts["patch_size"])
