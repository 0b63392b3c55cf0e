"""Whether this very call may run the code that lies in a model's folder.

Only the flag of the call itself counts. A plan, a job or a run folder may come from a stranger, so
what a file says of trust is dropped where the file is read.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

FLAG = "--trust-remote-code"
_granted: ContextVar[bool] = ContextVar("trust_remote_code", default=False)


def is_granted() -> bool:
    """Whether the user has allowed it in this call."""
    return _granted.get()


@contextlib.contextmanager
def granting(flag: bool) -> Iterator[None]:
    """Allow or forbid it for what runs inside."""
    token = _granted.set(flag)
    try:
        yield
    finally:
        _granted.reset(token)


def add_trust_argument(parser: argparse._ActionsContainer) -> None:
    """--trust-remote-code, for what loads a model."""
    parser.add_argument(
        FLAG,
        action="store_true",
        help="run the code in the model's folder: look at it first; never taken from a file",
    )
