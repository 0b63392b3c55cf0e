"""Rows made and tokenised in several processes, packed into arrays that batches are cut from."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from synthesis import LONGEST, sample
from tokenizers import Tokenizer

from tsplanner.datasets.records import Conversation
from tsplanner.datasets.rendering.fixed import ChatTSRenderer
from tsplanner.datasets.rendering.pieces import joined
from tsplanner.datasets.series_encoding import normalised_series

TEXT_WIDTH = 256
"""Longest text in tokens; a row with two series takes about 200."""
MOST_SERIES = 2
PATCH = 8
IGNORED_LABEL = -100
_CHUNK = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """R packed rows. Text is padded with 0, series with 0.0."""

    tokens: np.ndarray
    """[R, 256] int16"""
    prompt_tokens: np.ndarray
    """[R] int16"""
    text_tokens: np.ndarray
    """[R] int16"""
    values: np.ndarray
    """[R, 2, 128] float16, normalised."""
    points: np.ndarray
    """[R, 2] int16; 0: no such series."""


def prompt_and_answer(row: Conversation) -> tuple[str, str]:
    """What the model reads of a row with one answer, and what it is trained to write."""
    pieces = ChatTSRenderer().pieces(row)
    first = next(place for place, piece in enumerate(pieces) if piece.learned)
    return joined(pieces[:first]), joined(pieces[first:])


def _chunk(task: tuple[str, int, int, int]) -> Rows:
    folder, seed, number, count = task
    tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    random = np.random.default_rng([seed, number])
    samples = [sample(random) for _ in range(count)]
    texts = [prompt_and_answer(made) for made in samples]
    prompts = tokenizer.encode_batch([prompt for prompt, _ in texts])
    answers = tokenizer.encode_batch([answer for _, answer in texts])
    tokens = np.zeros((count, TEXT_WIDTH), np.int16)
    prompt_tokens = np.array([len(p.ids) for p in prompts], np.int16)
    values = np.zeros((count, MOST_SERIES, LONGEST), np.float16)
    points = np.zeros((count, MOST_SERIES), np.int16)
    text_tokens = np.zeros(count, np.int16)
    for row, (question, answer, made) in enumerate(zip(prompts, answers, samples, strict=True)):
        ids = question.ids + answer.ids
        tokens[row, : len(ids)] = ids
        text_tokens[row] = len(ids)
        for index, series in enumerate(made.timeseries):
            values[row, index, : len(series)] = normalised_series(series)
            points[row, index] = len(series)
    return Rows(
        tokens=tokens,
        prompt_tokens=prompt_tokens,
        text_tokens=text_tokens,
        values=values,
        points=points,
    )


def made_rows(folder: Path, *, seed: int, rows: int, processes: int) -> Rows:
    """``rows`` packed rows; the same for a seed whatever the number of processes."""
    counts = [_CHUNK] * (rows // _CHUNK) + ([rows % _CHUNK] if rows % _CHUNK else [])
    tasks = [(str(folder), seed, number, count) for number, count in enumerate(counts)]
    if processes == 1:
        chunks = [_chunk(task) for task in tasks]
    else:
        # Spawned, not forked: torch's threads would not survive a fork.
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            chunks = pool.map(_chunk, tasks, chunksize=1)
    joined = {
        f.name: np.concatenate([getattr(chunk, f.name) for chunk in chunks]) for f in fields(Rows)
    }
    return Rows(**joined)


def positions(rows: Rows) -> np.ndarray:
    """Decoder positions of each row: text and (patches - 2) of each series."""
    patches = -(-rows.points.astype(np.int64) // PATCH)
    return rows.text_tokens + np.where(patches > 0, patches - 2, 0).sum(axis=1)


def batch_indices(
    lengths: np.ndarray, batch: int, random: np.random.Generator
) -> Iterator[np.ndarray]:
    """One epoch of row numbers, rows of like length together, batches in random order."""
    order = np.lexsort((random.random(len(lengths)), lengths // 4))
    batches = np.array_split(order, max(1, len(order) // batch))
    for index in random.permutation(len(batches)):
        yield batches[index]


class Store:
    """All rows on one device; batches are cut there, without a copy from the host."""

    def __init__(self, rows: Rows, device: torch.device) -> None:
        self.tokens = torch.from_numpy(rows.tokens).to(device)
        self.prompt_tokens = torch.from_numpy(rows.prompt_tokens).to(device)
        self.text_tokens = torch.from_numpy(rows.text_tokens).to(device)
        self.values = torch.from_numpy(rows.values).to(device)
        self.points = torch.from_numpy(rows.points).to(device)
        self.lengths = positions(rows)
        self.text_lengths = rows.text_tokens

    def batch(self, numbers: np.ndarray) -> dict[str, torch.Tensor]:
        """The model's inputs for these rows; labels on the answers alone."""
        chosen = torch.from_numpy(numbers).to(self.tokens.device)
        width = int(self.text_lengths[numbers].max())
        ids = self.tokens[chosen, :width].long()
        place = torch.arange(width, device=ids.device)[None]
        text = place < self.text_tokens[chosen, None]
        answer = text & (place >= self.prompt_tokens[chosen, None])
        points = self.points[chosen].flatten().long()
        present = torch.nonzero(points > 0).squeeze(1)
        values = self.values[chosen].flatten(0, 1)[present].float()
        steps = torch.arange(values.shape[1], device=ids.device)[None]
        valid = (steps < points[present, None]).float()
        return {
            "input_ids": ids,
            "attention_mask": text.long(),
            "labels": ids.masked_fill(~answer, IGNORED_LABEL),
            "timeseries": torch.stack([values, valid], dim=-1).flatten(1).unsqueeze(-1),
        }
