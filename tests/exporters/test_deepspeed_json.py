"""DeepSpeed's file for a trainer of one's own."""

from __future__ import annotations

import json

import pytest

from tests.support.exports import only
from tests.support.sorts import SORTS, on_gpus
from tsplanner.errors import TsplannerError
from tsplanner.exporters import deepspeed
from tsplanner.exporters.launch import ExportOptions
from tsplanner.exporters.registry import render


def test_the_deepspeed_file_is_what_the_worker_itself_uses() -> None:
    """One source for both."""
    plan = SORTS["ZeRO-3"]
    assert json.loads(only("deepspeed", plan, "ds_config.json")) == deepspeed.render(plan)


def test_deepspeed_is_refused_where_nothing_is_sharded() -> None:
    """And the next thing to type is named."""
    with pytest.raises(TsplannerError, match="export torchrun, or plan again with --zero-stage"):
        render("deepspeed", on_gpus(2), ExportOptions())
