"""The error of a trial that cannot share a base."""

from __future__ import annotations

from tsplanner.errors import TsplannerError


class CannotShareBaseError(TsplannerError):
    """The trial cannot share its base with other trials; it may still run alone."""
