"""Whether rows are exported as token ids or as dialogues."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import tiny
from tests.support.golden import case
from tsplanner.errors import TsplannerError
from tsplanner.exporters.rows.form import RowsAs, chosen, tokenizer_folder


def test_token_ids_are_written_wherever_there_is_a_tokenizer(tmp_path: Path) -> None:
    """A plan for a bare preset has none, and dialogues are written."""
    plan = tiny.plan(tmp_path)
    assert chosen(plan, None) is RowsAs.TOKENS
    assert chosen(plan, RowsAs.MESSAGES) is RowsAs.MESSAGES
    bare = replace(plan, model=replace(plan.model, path=None))
    assert tokenizer_folder(bare) is None
    assert chosen(bare, None) is RowsAs.MESSAGES
    with pytest.raises(TsplannerError, match=r"no tokenizer.json .* take --rows messages"):
        chosen(bare, RowsAs.TOKENS)


def test_the_chatts_fork_gets_dialogues_with_series() -> None:
    """It makes the token ids of a series itself."""
    plan = case("chatts-8b").plan
    assert chosen(plan, None) is RowsAs.MESSAGES
    with pytest.raises(TsplannerError, match="normalises the series"):
        chosen(plan, RowsAs.TOKENS)
