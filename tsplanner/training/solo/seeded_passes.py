"""Random numbers that depend on the step and on the micro-batch, and on nothing before them.

So dropout drops the same values whether micro-batches pass through the model one after the other,
or layer by layer together, and a run that goes on from a checkpoint draws what it would have drawn.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import torch

from tsplanner.training import distributed
from tsplanner.training.solo.embedding_noise import NoisyTrainer


def pass_seed(seed: int, step: int, number: int, rank: int) -> int:
    """The seed of a pass: ``number`` of the pass in its optimizer step, ``rank`` of the process."""
    digest = blake2b(f"{seed} {step} {number} {rank}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class SeededTrainer(NoisyTrainer):
    """Seeds every pass by its place in the training."""

    pass_number = 0
    """Passes of this step so far."""
    _step = -1

    def training_step(self, *args: Any, **options: Any) -> Any:
        """One pass with random numbers of its own."""
        if self.state.global_step != self._step:
            self._step, self.pass_number = self.state.global_step, 0
        place = self._step, self.pass_number, distributed.rank()
        torch.manual_seed(pass_seed(self.args.seed, *place))
        self.pass_number += 1
        return super().training_step(*args, **options)
