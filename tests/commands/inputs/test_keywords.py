"""Keywords of Python as the words of a command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tsplanner.commands.inputs.keywords import keywords, options, words
from tsplanner.commands.inputs.verbs import verb_parser
from tsplanner.errors import UsageError


def test_every_kind_of_value_has_its_words() -> None:
    """A path, files of one flag, a switch, a flag without a value, a mapping, a dash."""
    given = {
        "dataset": [Path("a.jsonl"), "-b.jsonl"],
        "gpus": ("RTX 3090", "RTX 4090"),
        "gradient_checkpointing": False,
        "cpu": True,
        "no_corrections": False,
        "alpha_pattern": {"q_proj": 32.0, "v_proj": 16},
        "seed": None,
    }
    line = words("plan", given)
    assert line == [
        *("--dataset", "a.jsonl", "--dataset=-b.jsonl"),
        *("--gpus", "RTX 3090", "--gpus", "RTX 4090"),
        *("--gradient-checkpointing", "off", "--cpu", "--alpha-pattern", "q_proj=32.0,v_proj=16"),
    ]
    parsed = options("plan", line)
    assert parsed.dataset == ["a.jsonl", "-b.jsonl"]
    assert parsed.gpus == "RTX 3090 + RTX 4090"
    assert parsed.gradient_checkpointing is False
    assert parsed.cpu


def test_flags_that_print_are_no_keywords() -> None:
    """Nor are those that a caller leaves out."""
    known = keywords(verb_parser("plan"), frozenset({"saves"}))
    assert {"model", "cutoff_len", "sequence_length", "kernels"} <= set(known)
    assert not {"help", "json", "saves"} & set(known)
    with pytest.raises(UsageError, match=r'plan takes no "saves"'):
        words("plan", {"saves": "x"}, frozenset({"saves"}))
