"""The rows of a plan: read, encoded and split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from memory_models.settings import changed
from tests.support import tiny
from tsplanner.datasets.records import Role
from tsplanner.datasets.split import held_out_places
from tsplanner.errors import TsplannerError
from tsplanner.training import data
from tsplanner.training.base_model.configuration import model_config
from tsplanner.training.base_model.tokenizer import load_tokenizer


def test_rows_of_a_plan_are_stored_and_split(tmp_path: Path) -> None:
    """20 rows, a tenth held out; every row is either trained on or held out, in file order."""
    asked = tiny.plan(tmp_path)
    tokenizer, config = load_tokenizer(asked.model), model_config(asked.model)
    stored = data.stored_rows(asked, tokenizer, config)
    rows = data.load_rows(asked, tokenizer, config)
    assert len(stored) == 20
    assert (len(rows.train), len(rows.validation)) == (18, 2)
    held_out = held_out_places(20, 0.1, asked.learning.data.split_seed)
    expected = [list(row.input_ids) for place, row in enumerate(stored) if place not in held_out]
    assert [list(row.input_ids) for row in rows.train] == expected


def test_held_out_rows_are_read_again_as_conversations(tmp_path: Path) -> None:
    """The same rows in the same order as those that the loss is taken of."""
    asked = tiny.plan(tmp_path)
    tokenizer, config = load_tokenizer(asked.model), model_config(asked.model)
    held_out = data.load_rows(asked, tokenizer, config).validation
    again = list(data.held_out_rows(asked, tokenizer, config, 20))
    assert [list(row.input_ids) for _, row in again] == [list(row.input_ids) for row in held_out]
    assert all(row.turns[-1].role is Role.ASSISTANT for row, _ in again)


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"path": None}, "names no dataset"), ({}, "has no tokenizer: make the plan again")],
)
def test_a_plan_without_rows_or_words_is_refused(
    tmp_path: Path, changes: dict[str, None], says: str
) -> None:
    """The sentence names the flag."""
    asked = tiny.plan(tmp_path)
    asked = replace(asked, dataset=changed(asked.dataset, **changes))
    with pytest.raises(TsplannerError, match=says):
        data.stored_rows(asked, None, model_config(asked.model))


def test_an_encoder_is_read_from_the_models_config() -> None:
    """Older releases call the longest series ``max_length``."""
    ts = {"patch_size": 8, "num_layers": 5, "hidden_size": 64}
    assert data.series_encoder(SimpleNamespace()) is None
    plain = data.series_encoder(SimpleNamespace(ts=ts))
    assert plain is not None
    assert (plain.patch_size, plain.max_sequence_length) == (8, 32768)
    assert not plain.use_position_embedding
    old = data.series_encoder(SimpleNamespace(ts={**ts, "max_length": 64}))
    assert old is not None
    assert old.max_sequence_length == 64


def test_a_probe_trains_on_the_longest_batch_alone(tmp_path: Path) -> None:
    """Three micro-batches for each of two processes, every row of the plan's full length."""
    asked = tiny.with_hardware(tiny.plan(tmp_path), world_size=2)
    batches = data.probe_batches(asked, model_config(asked.model), 3)
    assert len(batches) == 6
    assert batches[0]["input_ids"].shape == (2, asked.sequence_length)


def test_a_packed_probe_trains_on_passes_of_usual_rows(tmp_path: Path) -> None:
    """Rows of 40, 40 and the 20 that are left of 100, and four tokens of padding."""
    batch = {"micro_batch_size": 1, "gradient_accumulation_steps": 4, "token_budget": 100}
    plan = tiny.with_hardware(tiny.plan(tmp_path), **batch)
    rows = data.probe_rows(plan, model_config(plan.model))
    assert [len(row.input_ids) for row in rows] == [40, 40, 20]
    found = data.probe_batches(plan, model_config(plan.model), 1)[0]
    assert found["input_ids"].shape == (1, plan.sequence_length) == (1, 104)
    begin = [place for place, at in enumerate(found["position_ids"][0].tolist()) if at == 0]
    assert begin == [0, 40, 80, 100]
