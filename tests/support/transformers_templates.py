"""What transformers itself makes of a template and a row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest

from tsplanner.datasets.rendering.environment import PINNED_DATE


@contextmanager
def pinned_day() -> Iterator[None]:
    """Transformers renders as on the day that the product pins."""
    module = pytest.importorskip("transformers.utils.chat_template_utils")

    class Day(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return PINNED_DATE

    before, module.datetime = module.datetime, Day
    try:
        yield
    finally:
        module.datetime = before


def rendered_by_transformers(
    source: str, messages: list[dict[str, Any]], tools: list[Any] | None, tokens: dict[str, str]
) -> tuple[str, list[tuple[int, int]]] | None:
    """Text and generation blocks; None: it refuses the row."""
    module = pytest.importorskip("transformers.utils.chat_template_utils")
    try:
        texts, marks = module.render_jinja_template(
            [messages],
            tools=tools,
            chat_template=source,
            return_assistant_tokens_mask=True,
            **tokens,
        )
    except Exception:  # templates fail in any way
        return None
    return texts[0], marks[0]
