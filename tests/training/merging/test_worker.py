"""The merging process writes lines, and a reason where it made nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

pytest.importorskip("torch")

from memory_models.settings import Dtype
from tests.support import tiny
from tests.training.merging.test_client import DONE
from tsplanner.errors import TsplannerError
from tsplanner.training.merging import merge
from tsplanner.training.merging.client import told
from tsplanner.training.merging.records import MergeRequest, MergeTold
from tsplanner.training.merging.worker import main


@pytest.mark.parametrize(
    ("raised", "says"),
    [
        (TsplannerError("It does not fit."), "It does not fit."),
        (KeyError("q_proj"), "The merge failed (KeyError: 'q_proj')."),
        (MemoryError(), "The merge failed (MemoryError: no message)."),
        (None, ""),
    ],
)
def test_a_merge_ends_with_what_it_made_or_why_it_made_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: Exception | None, says: str
) -> None:
    """Behind the stages that it came to."""

    def merged(request: MergeRequest, tell: Any) -> Any:
        tell("base loaded")
        if raised is not None:
            raise raised
        return DONE

    monkeypatch.setattr(merge, "merge", merged)
    request = MergeRequest(plan=tiny.plan(tmp_path), adapter="a", output="o", dtype=Dtype.FP32)
    asked, lines = tmp_path / "request.json", tmp_path / "told.jsonl"
    asked.write_bytes(msgspec.json.encode(request))
    assert main([str(asked), str(lines)]) == (0 if raised is None else 1)
    last = MergeTold(merged=DONE) if raised is None else MergeTold(error=says)
    assert told(lines) == [MergeTold(stage="base loaded"), last]
