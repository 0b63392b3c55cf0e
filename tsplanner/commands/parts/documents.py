"""An answer as a document, or the document of what kept it from being given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tsplanner.commands.plan import failure_document
from tsplanner.console import sentence
from tsplanner.errors import EXIT_FAILURE, EXIT_NO_PLAN, EXIT_OK, TsplannerError
from tsplanner.planner.rank import NothingFits


def document_of(call: Callable[[], dict[str, Any]]) -> tuple[dict[str, Any], int]:
    """What a call answers, or the ``error`` that ``--json`` would show; and the exit status."""
    try:
        return call(), EXIT_OK
    except NothingFits as error:
        return failure_document(error), EXIT_NO_PLAN
    except TsplannerError as error:
        return _failed(error, error.exit_status)
    except (ValueError, OverflowError, RecursionError) as error:
        return _failed(error, EXIT_FAILURE)


def _failed(error: Exception, exit_status: int) -> tuple[dict[str, Any], int]:
    return {"error": sentence(str(error)), "exit_status": exit_status}, exit_status
