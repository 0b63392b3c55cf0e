"""``tsplanner models``: what a newcomer may name."""

from __future__ import annotations

import json

import pytest

from tsplanner.commands.models import run
from tsplanner.errors import UsageError


def test_the_list_names_presets_families_and_methods(capsys: pytest.CaptureFixture[str]) -> None:
    """With the number of parameters and of measured runs."""
    assert run() == 0
    said = capsys.readouterr().out
    assert "llama-3.1-8b" in said
    assert "8.03B" in said
    assert "on H200" in said
    assert "seed_oss" in said
    assert "Methods: lora, dora, rslora, adalora, full, freeze." in said


def test_a_filter_keeps_names_and_families_that_have_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Granite: its presets, its formula, and its traced relatives."""
    run(filter="Granite", as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in document["presets"]] == ["granite-3.3-2b", "granite-3.3-8b"]
    sized = {one["name"]: one["sized_by"] for one in document["families"]}
    assert sized["granite"] == "formula"
    assert sized["granitemoe"] == "trace"
    assert document["presets"][1]["parameters"] == 8_170_864_640


def test_a_filter_on_a_preset_lists_its_family(capsys: pytest.CaptureFixture[str]) -> None:
    """Phi-4 is read as phi3."""
    run(filter="phi-4", as_json=True)
    assert [one["name"] for one in json.loads(capsys.readouterr().out)["families"]] == ["phi3"]


def test_a_family_of_another_kind_is_refused_by_what_it_is() -> None:
    """The same sentence as in a plan."""
    with pytest.raises(UsageError, match='"whisper" is a model of speech or sound: give the text'):
        run(filter="whisper")


def test_a_type_that_other_names_contain_is_refused_beside_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """modernbert-decoder has bert in its name and is a decoder."""
    run(filter="bert")
    said = capsys.readouterr().out
    assert "modernbert-decoder" in said
    assert 'Not trained: "bert" is an encoder' in said


def test_an_unknown_name_gets_the_nearest_one() -> None:
    """Or is told that a folder works all the same."""
    with pytest.raises(UsageError, match=r'Did you mean "qwen2\.5-7b"'):
        run(filter="qwen25-7b")
    with pytest.raises(UsageError, match="planned all the same"):
        run(filter="zzzzzz")
