"""From samples to tensors, with one encoding and one collator for all models and datasets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from enum import StrEnum
from typing import Any

import torch

from memory_models.frozen import frozen
from tsplanner.datasets.lengths.tally import padded_tokens
from tsplanner.datasets.records import Sample
from tsplanner.datasets.rows.checks import TS_END, TS_START
from tsplanner.datasets.series_encoding import chatts_answer, chatts_prompt, normalised_series
from tsplanner.training.language_model import text_config

IGNORED_LABEL = -100


class Style(StrEnum):
    """The ways in which a sample becomes text."""

    CHATTS = "chatts"
    """ChatTS's fixed chat template, with a prefix before every series."""
    CHAT_TEMPLATE = "chat_template"
    """The tokenizer's own chat template."""
    PLAIN = "plain"
    """Plain headings, for base models without a template."""


@frozen
class EncodedSample:
    """One row as token ids; only the answer has labels."""

    input_ids: list[int]
    labels: list[int]
    series: tuple[tuple[float, ...], ...] = field(default=())
    """Normalised values, one tuple per ``<ts><ts/>`` pair."""


def text_style(tokenizer: Any, *, has_encoder: bool) -> Style:
    """The style of a model: ChatTS's if the model reads series, otherwise the tokenizer's."""
    if has_encoder:
        return Style.CHATTS
    return Style.CHAT_TEMPLATE if getattr(tokenizer, "chat_template", None) else Style.PLAIN


def encode_sample(
    sample: Sample, tokenizer: Any, *, cutoff_len: int, style: Style | str
) -> EncodedSample | None:
    """Token ids of one row; None for a row with series whose text is over ``cutoff_len``.

    Text without series is cut to ``cutoff_len``. The end of the question is cut first, so that a
    part of the answer stays to be learned.
    """
    prompt, answer = _prompt_and_answer(sample, tokenizer, Style(style))
    if len(prompt) + len(answer) > cutoff_len:
        # A cut could take the marks of a series; ChatTS's own training leaves such rows out.
        if sample.timeseries:
            return None
        answer = answer[: max(cutoff_len // 2, cutoff_len - len(prompt))]
        prompt = prompt[: cutoff_len - len(answer)]
    return EncodedSample(
        input_ids=prompt + answer,
        labels=[IGNORED_LABEL] * len(prompt) + answer,
        series=tuple(normalised_series(series) for series in sample.timeseries),
    )


def _prompt_and_answer(sample: Sample, tokenizer: Any, style: Style) -> tuple[list[int], list[int]]:
    if style is Style.CHATTS:
        prompt, answer = chatts_prompt(sample), chatts_answer(sample)
    elif style is Style.CHAT_TEMPLATE:
        prompt, whole = _rendered(sample, tokenizer)
        # Some templates write a finished turn in another way than an opened one: Qwen3's adds an
        # empty block of thoughts. The answer then is the plain text and the end of the turn.
        ends = _turn_end(whole, sample.output)
        answer = whole[len(prompt) :] if whole.startswith(prompt) else sample.output + ends
    else:
        prompt = f"### Question:\n{sample.input}\n\n### Answer:\n"
        answer = sample.output + (tokenizer.eos_token or "")
    # Question and answer are encoded apart, so that no token spans the place where labels begin.
    return _ids(tokenizer, prompt), _ids(tokenizer, answer)


def _rendered(sample: Sample, tokenizer: Any) -> tuple[str, str]:
    """The question and the whole dialogue by the tokenizer's template.

    Templates of models that also see (LLaVA's, SmolVLM's) read the parts of a content, and write
    nothing where the content is plain text.
    """
    plain = _dialogue(sample.input, sample.output, tokenizer)
    if sample.input.strip() in plain[0]:
        return plain
    in_parts = _dialogue(_parts(sample.input), _parts(sample.output), tokenizer)
    return in_parts if sample.input.strip() in in_parts[0] else plain


def _parts(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text}]


def _dialogue(question: Any, answer: Any, tokenizer: Any) -> tuple[str, str]:
    asked = [{"role": "user", "content": question}]
    said = [*asked, {"role": "assistant", "content": answer}]
    prompt = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    return prompt, tokenizer.apply_chat_template(said, tokenize=False)


def _turn_end(dialogue: str, output: str) -> str:
    """The text that the template writes after the answer."""
    stripped = output.strip()
    return dialogue[dialogue.rfind(stripped) + len(stripped) :] if stripped in dialogue else ""


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


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
        input_ids[index, :count] = torch.tensor(row.input_ids)
        labels[index, :count] = torch.tensor(row.labels)
        attention_mask[index, :count] = 1
    batch = {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}
    if series := [values for row in encoded for values in row.series]:
        batch["timeseries"] = series_tensor(series)
    return batch


def series_tensor(series: Sequence[Sequence[float]]) -> torch.Tensor:
    """Series as a tensor [K, 2N, 1]: each value followed by 1.0, zeros after a shorter series."""
    points = torch.zeros(len(series), max(len(values) for values in series), 2)
    for index, values in enumerate(series):
        points[index, : len(values), 0] = torch.tensor(values)
        points[index, : len(values), 1] = 1.0
    return points.reshape(len(series), -1, 1)


def chatts_batch(
    samples: Sequence[Sample], tokenizer: Any, *, cutoff_len: int, style: Style | str = Style.CHATTS
) -> dict[str, torch.Tensor]:
    """Encode and collate rows in one call, without rows over ``cutoff_len``.

    Raises ValueError if no row is left.
    """
    rows = [encode_sample(s, tokenizer, cutoff_len=cutoff_len, style=style) for s in samples]
    encoded = [row for row in rows if row is not None]
    if not encoded:
        raise ValueError(f"every one of {len(rows)} rows is over cutoff_len {cutoff_len}")
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


def _most_patches(ts: dict[str, Any]) -> int:
    """Patches of the longest series that the encoder takes."""
    return int(ts.get("max_sequence_length", ts.get("max_length", 32768))) // int(ts["patch_size"])
