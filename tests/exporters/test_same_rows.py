"""Every trainer learns from an export what our worker learns, by the trainer's own data code."""

from __future__ import annotations

from collections import Counter
from itertools import product
from pathlib import Path

import pytest

from benchmarks.reliability.trainer_rows.cases import TRAINERS, Case
from benchmarks.reliability.trainer_rows.differences import DIFFERENCES
from benchmarks.reliability.trainer_rows.forms import FORMS
from benchmarks.reliability.trainer_rows.outcomes import outcomes
from benchmarks.reliability.trainer_rows.templates import TEMPLATES
from tests.support.parser_environments import environment
from tsplanner.exporters.rows.form import RowsAs

DOCS = Path(__file__).resolve().parents[2] / "docs" / "your-data.md"


@pytest.fixture
def trainers() -> None:
    """Their environments; skips where one is not to be had."""
    for name in TRAINERS:
        python = environment(name)
        if isinstance(python, str):
            pytest.skip(python)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("trainers")
def test_token_ids_are_learned_as_our_worker_learns_them(tmp_path: Path) -> None:
    """20 templates x 20 forms x 3 trainers, of which the templates themselves refuse 42."""
    cases = [Case(*each) for each in product(TRAINERS, TEMPLATES, FORMS)]
    found = outcomes(tmp_path, cases, RowsAs.TOKENS, named=True)
    assert len(found) == 1200
    assert Counter(each.word for each in found.values()) == {"equal": 1158, "refused here": 42}
    assert all(
        "chat template refuses the row" in str(each.mine)
        for each in found.values()
        if each.word == "refused here"
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("trainers")
def test_dialogues_differ_where_the_table_says_so(tmp_path: Path) -> None:
    """One case for each reason in docs/your-data.md."""
    cases = [each.case for each in DIFFERENCES]
    found = outcomes(tmp_path, cases, RowsAs.MESSAGES, named=True)
    assert {each.case: found[each.case].word for each in DIFFERENCES} == {
        each.case: each.word for each in DIFFERENCES
    }


def test_the_table_has_every_difference() -> None:
    """By trainer, in the same words."""
    text = " ".join(DOCS.read_text(encoding="utf-8").split())
    names = {"trl": "TRL", "llamafactory": "LLaMA-Factory", "axolotl": "axolotl"}
    for each in DIFFERENCES:
        assert f"| {names[each.case.trainer]} | {each.what} |" in text
