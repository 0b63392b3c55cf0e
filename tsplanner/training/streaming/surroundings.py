"""What a layer finds around it when the model calls it, kept for calls outside the model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from tsplanner.training.kernels.rows import LAYOUT


class Surroundings:
    """Autocast, the rows of a packed pass, and the state of the random numbers."""

    def __init__(self, device: torch.device, *, random: bool) -> None:
        """Take what is around this call; ``random``: layers draw random numbers."""
        kind = device.type
        self.device, self.random = device, random
        self.autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        self.rows = LAYOUT.taken()
        self.state = self._drawn()

    def _drawn(self) -> tuple[Tensor, ...]:
        if not self.random:
            return ()
        own = torch.get_rng_state()
        return (
            (own, torch.cuda.get_rng_state(self.device)) if self.device.type == "cuda" else (own,)
        )

    def restore(self, state: tuple[Tensor, ...]) -> None:
        """Go on with the random numbers from ``state``."""
        if state:
            torch.set_rng_state(state[0])
        if len(state) > 1:
            torch.cuda.set_rng_state(state[1], self.device)

    @contextmanager
    def around(self, state: tuple[Tensor, ...] | None = None) -> Iterator[None]:
        """Run with these surroundings; ``state``: random numbers of an earlier call instead.

        Without ``state`` the next call goes on with the random numbers where this one ends.
        """
        LAYOUT.put(self.rows)
        self.restore(self.state if state is None else state)
        with torch.autocast(
            self.device.type, dtype=self.autocast, enabled=self.autocast is not None
        ):
            yield
        if state is None:
            self.state = self._drawn()
