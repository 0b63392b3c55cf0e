"""Training mode without a call per module, which Trainer makes before every micro-batch.

A model of 48 layers with adapters has 4,000 modules. ``nn.Module.train`` visits them one by one:
29 ms on one CPU core, behind which a GPU that has run out of work waits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


class TrainingMode:
    """Knows whether every module of a model is in training mode."""

    def __init__(self, model: nn.Module) -> None:
        """The model keeps its modules from now on."""
        self.model = model
        self.attributes = [module.__dict__ for module in model.modules()]

    @property
    def holds(self) -> bool:
        """Whether training mode has been set everywhere; a compiled module does not say."""
        return all(each.get("training") for each in self.attributes)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Set training mode where it does not hold; within, setting it again visits no module."""
        if not self.holds:
            self.model.train()
        own: Any = self.model
        own.train = lambda mode=True: own if mode else type(own).train(own, mode)
        try:
            yield
        finally:
            del own.train
