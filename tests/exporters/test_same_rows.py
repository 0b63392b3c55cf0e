"""Every trainer learns from an export what our worker learns, by the trainer's own data code."""

from __future__ import annotations

import argparse
from collections import Counter
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest

from benchmarks.reliability.rows_by_trainers import Outcome, outcomes
from benchmarks.reliability.trainer_rows.cases import TRAINERS, Case
from benchmarks.reliability.trainer_rows.forms import FORMS
from benchmarks.reliability.trainer_rows.templates import TEMPLATES
from tests.support.parser_environments import environment
from tsplanner.exporters.rows.form import RowsAs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@cache
def table(rows_as: RowsAs, templates: tuple[str, ...]) -> dict[Case, Outcome]:
    """Outcomes of all forms; skips where an environment is not to be had."""
    for name in TRAINERS:
        python = environment(name)
        if isinstance(python, str):
            pytest.skip(python)
    asked = argparse.Namespace(
        rows=rows_as, templates=templates, trainers=TRAINERS, forms=tuple(FORMS), named=False
    )
    return outcomes(Path(mkdtemp()), asked)


def test_token_ids_are_learned_as_our_worker_learns_them() -> None:
    """20 templates x 20 forms x 3 trainers, of which the templates themselves refuse 42."""
    found = table(RowsAs.TOKENS, tuple(TEMPLATES))
    assert len(found) == len(TEMPLATES) * len(FORMS) * len(TRAINERS) == 1200
    assert Counter(each.word for each in found.values()) == {"equal": 1158, "refused here": 42}
    assert all(
        "chat template refuses the row" in str(each.mine)
        for each in found.values()
        if each.word == "refused here"
    )
