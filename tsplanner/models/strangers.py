"""Models that no reader knows: whoever can build them says what they look like.

Reading a config.json needs nothing but this package. A family without a reader is described by the
real model, which needs torch and a process of its own, and so by a package above this one: it is
named here once, when the program starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from memory_models.architecture import Architecture
from memory_models.recorded.recording import (
    Recipe,
    Recording,
    Source,
    is_known,
    make_known,
)


class Describer(Protocol):
    """Describes models that have no reader, and records their layers."""

    def architecture(
        self, config: Mapping[str, object], *, name: str, folder: str | None
    ) -> Architecture:
        """The architecture of a causal model; ``folder``: that of its files, if there is one.

        Raises:
            TsplannerError: packages are missing, or the installed transformers cannot build it.
        """

    def source(self, config: Mapping[str, object], *, folder: str | None) -> Source:
        """What records the layers of the model, one recipe after the other."""


_DESCRIBERS: list[Callable[[], Describer]] = []


def use(describer: Callable[[], Describer]) -> None:
    """Name who describes strangers; it is made when the first one comes."""
    _DESCRIBERS[:] = [describer]


@contextmanager
def using(describer: Callable[[], Describer]) -> Iterator[None]:
    """As `use`, for what runs inside alone."""
    before = list(_DESCRIBERS)
    use(describer)
    try:
        yield
    finally:
        _DESCRIBERS[:] = before


def architecture(
    config: Mapping[str, object], *, name: str, folder: str | None
) -> Architecture | None:
    """The architecture of a model without a reader; None: nobody here can describe one.

    Raises:
        TsplannerError: see ``Describer``.
    """
    if not _DESCRIBERS:
        return None
    describer = _DESCRIBERS[0]()
    found = describer.architecture(config, name=name, folder=folder)
    make_known(found.layer.recorded, describer.source(config, folder=folder))
    return found


def remember(
    found: Architecture, config: Mapping[str, object], *, folder: str | None
) -> Architecture:
    """The architecture as it was written to a file, with the source of its recordings."""
    key = found.layer.recorded
    if key and not is_known(key) and _DESCRIBERS:

        def later(recipe: Recipe) -> Recording:
            # A plan that is only looked at needs no recording, so no process is started for it.
            return _DESCRIBERS[0]().source(config, folder=folder)(recipe)

        make_known(key, later)
    return found
