"""A terminal that nobody looks at."""

from __future__ import annotations

import io
import re


class Terminal(io.StringIO):
    """A stream that says it is a terminal and keeps what was drawn on it."""

    def isatty(self) -> bool:
        """Claim to be a terminal."""
        return True

    @property
    def plain(self) -> str:
        """What was drawn, without escape sequences."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.getvalue())
