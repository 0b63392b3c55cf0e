"""NEFTune: noise on the embeddings of the rows that are trained on.

The noise of a row with L tokens of width D is uniform within alpha / sqrt(L D).
Source: arXiv 2310.05914; L is the row's own length there, without padding.

It is drawn from the seed, the step and the row's tokens, so that it is the same noise however the
rows of a step are dealt out: micro-batches of any size, packed passes, processes, streamed layers,
and a run that goes on from a checkpoint. Trainer's own noise would depend on the padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch import Tensor, nn

from tsplanner.training.batches import EncodedSample
from tsplanner.training.solo.pulsing_trainer import PulsingTrainer

ROWS = "noise_rows"
"""Key under which a batch says where its rows are: a `Place` each."""
Place = tuple[int, int, int, int]
"""Row of the batch, first token and number of tokens there, and a checksum of the tokens."""


def one_below_another(rows: Sequence[EncodedSample]) -> tuple[Place, ...]:
    """The places of padded rows."""
    return tuple((place, 0, len(row.input_ids), checksum(row)) for place, row in enumerate(rows))


def end_to_end(rows: Sequence[EncodedSample]) -> tuple[Place, ...]:
    """The places of the rows of a packed pass."""
    found, start = [], 0
    for row in rows:
        found.append((0, start, len(row.input_ids), checksum(row)))
        start += len(row.input_ids)
    return tuple(found)


def checksum(row: EncodedSample) -> int:
    """A number that tells rows apart."""
    return crc32(np.asarray(row.input_ids, np.int64).tobytes())


class EmbeddingNoise:
    """Adds noise to what an embedding returns, in the passes that it is switched on for."""

    def __init__(self, alpha: float, seed: int) -> None:
        self.alpha, self.seed = alpha, seed
        self.step = 0
        self.rows: Sequence[Place] | None = None
        """Rows of the pass; None: no noise."""

    def join(self, embedding: nn.Module) -> None:
        """Follow an embedding; whatever wraps it must be in place."""
        embedding.register_forward_hook(self._after)

    @contextmanager
    def within(self, inputs: dict[str, Any], step: int) -> Iterator[dict[str, Any]]:
        """Noise for one pass of a step; yields what the model takes.

        A batch without places, as a probe has it, is taken for rows of full width.
        """
        given = {name: value for name, value in inputs.items() if name != ROWS}
        count, width = inputs["input_ids"].shape
        self.step, self.rows = step, inputs.get(ROWS, [(row, 0, width, 0) for row in range(count)])
        try:
            yield given
        finally:
            self.rows = None

    def _after(self, _: nn.Module, __: Any, output: Tensor) -> Tensor | None:
        if self.rows is None:
            return None
        noise = self.noise(output.detach(), self.rows)
        if not output.is_leaf:
            return output + noise
        # Of a frozen embedding the output is where the graph begins; a sum would keep both.
        with torch.no_grad():
            output.add_(noise)
        return None

    def noise(self, like: Tensor, rows: Sequence[Place]) -> Tensor:
        """Noise [B, S, D] for embeddings of that shape; none on padding."""
        found, generator = torch.zeros_like(like), torch.Generator(like.device)
        for row, start, length, tokens in rows:
            most = self.alpha / (length * like.shape[-1]) ** 0.5
            generator.manual_seed(row_seed(self.seed, self.step, tokens))
            found[row, start : start + length].uniform_(-most, most, generator=generator)
        return found


def row_seed(seed: int, step: int, tokens: int) -> int:
    """The seed of a row's noise in an optimizer step."""
    digest = blake2b(f"{seed} {step} {tokens}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class NoisyTrainer(PulsingTrainer):
    """Switches the noise on for the passes that are trained on."""

    noise: EmbeddingNoise | None = None
    """None: there is none."""

    def training_step(self, *args: Any, **options: Any) -> Any:
        """One pass."""
        if self.noise is None:
            return super().training_step(*args, **options)
        model, inputs, *rest = args
        with self.noise.within(inputs, self.state.global_step) as given:
            return super().training_step(model, given, *rest, **options)
