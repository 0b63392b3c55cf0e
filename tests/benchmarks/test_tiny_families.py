"""Published configs made tiny, and the whole command line on them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("peft")

from benchmarks.reliability import tiny_families as script
from tests.support.tiny_families import shrunk

CONFIGS = Path("benchmarks/data/configs")


def published(name: str) -> dict[str, object]:
    """The decoded config.json of a published model."""
    return dict(json.loads((CONFIGS / name / "config.json").read_text()))


def test_a_tiny_model_keeps_every_kind_of_layer() -> None:
    """LFM2 has convolutions and attention; four of its sixteen layers stay."""
    small = shrunk(published("lfm2-1.2b"))
    assert len(small["layer_types"]) == small["num_hidden_layers"] == 4
    assert set(small["layer_types"]) == {"conv", "full_attention"}


def test_a_tiny_model_keeps_what_its_heads_share() -> None:
    """Falcon-40B's heads share keys in groups; MPT's do not, and its widths have other names."""
    assert shrunk(published("falcon-40b"))["num_kv_heads"] == 2
    small = shrunk(published("mpt-7b"))
    assert (small["d_model"], small["n_heads"], small["n_layers"]) == (64, 4, 4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "recipe", "told"),
    [
        ("bloom-560m", "lora", "total exact; plan traced"),
        ("gpt-j-6b", "full", "total exact; plan traced"),
        ("bart-large", "lora", "total exact; plan traced"),
    ],
)
def test_what_a_plan_says_fits_runs(
    name: str,
    recipe: str,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Plan, probe and 20 steps; PEFT alone then loads the adapter on the folder.

    The causal class of BART is its decoder alone, which transformers saves as a decoder.
    """
    monkeypatch.setenv("TSPLANNER_STATE", str(tmp_path))
    assert script.main([str(CONFIGS), name, "--recipes", recipe]) == 0
    line = capsys.readouterr().out
    assert told in line
    assert "train runs" in line
    assert ("adapter loads" in line) is (recipe == "lora")
