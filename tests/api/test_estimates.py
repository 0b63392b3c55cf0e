"""``tsplanner.estimate``: the bytes that the command line says."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys

import pytest

import tsplanner


def test_a_call_and_its_command_line_give_the_same_bytes() -> None:
    """Switches, names and an alias of the length included."""
    found = tsplanner.estimate(
        model="qwen2.5-7b",
        cutoff_len=4096,
        lora_target=["q_proj", "v_proj"],
        gradient_checkpointing=False,
        autocast="none",
        gpus="RTX 4090",
    )
    line = shlex.split(found.command)
    assert line[:2] == ["tsplanner", "estimate"]
    done = subprocess.run(
        [sys.executable, "-m", *line, "--json"], check=True, capture_output=True, text=True
    )
    assert json.loads(done.stdout) == json.loads(found.to_json()) == found.to_dict()
    assert found.peak_bytes == found.to_dict()["process_bytes"]["expected"]
    assert found.peak_upper_bytes == found.memory.process_bytes.upper
    assert found.model == "qwen2.5-7b"
    assert repr(found).startswith("<Estimate qwen2.5-7b: ")
    assert "qwen2.5-7b" in found._repr_html_()


def test_what_is_wrong_is_a_sentence() -> None:
    """A model is needed, and a list of cases is for the terminal."""
    with pytest.raises(tsplanner.UsageError, match="model is missing"):
        tsplanner.estimate()
    with pytest.raises(tsplanner.UsageError, match='estimate takes no "cases"'):
        tsplanner.estimate(cases="x")  # type: ignore[call-arg]
    with pytest.raises(tsplanner.UsageError, match="checkpointed_layers 28 is not below"):
        tsplanner.estimate(model="qwen2.5-7b", checkpointed_layers=28)
