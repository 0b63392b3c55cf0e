"""Flags that several verbs share: a flag sets the field of its name, and nothing else is set."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from memory_models.settings import (
    FinetuningType,
    paths,
)
from tests.support.flags import parsed
from tsplanner.commands.inputs.hardware_flags import PINNED, pins
from tsplanner.commands.inputs.learning_flags import (
    learning_values,
)
from tsplanner.commands.inputs.options import (
    add_subject,
    data_source,
)
from tsplanner.datasets.records import DataSource
from tsplanner.errors import UsageError
from tsplanner.planner.request import Pins
from tsplanner.planner.settings import HardwareSettings, LearningSettings


def test_nothing_given_is_nothing_set() -> None:
    """The planner chooses hardware settings, and defaults stand for learning settings."""
    assert learning_values(parsed()) == {}
    assert pins(parsed()) == Pins()
    assert parsed().saves == Path("saves")
    assert parsed().plan is None
    assert not parsed().force


def test_repeated_gpus_add_up() -> None:
    """Two flags describe one machine; nothing that was typed is dropped."""
    words = ("--gpus", "2x RTX 3090", "--gpus", "1x RTX 4090")
    assert parsed(*words).gpus == "2x RTX 3090 + 1x RTX 4090"
    assert parsed().gpus is None


def test_the_host_and_rounding_are_flags_of_their_own() -> None:
    """Both are off unless given."""
    assert parsed("--host-memory", "1TiB").host_memory == 1024**4
    assert parsed().host_memory is None
    assert parsed("--allow-rounding").allow_rounding
    assert not parsed().allow_rounding


def test_tables_name_fields_that_exist() -> None:
    """A field that was renamed without its flag would fail here, not at a user's."""
    assert set(PINNED) <= set(paths(HardwareSettings))
    given = parsed("--lora-rank", "4", "--epochs", "2", "--effective-batch", "8")
    assert set(learning_values(given)) <= set(paths(LearningSettings))


@pytest.mark.parametrize(
    ("flag", "word"),
    [
        ("--finetuning-type", "magic"),
        ("--quantization", "int3"),
        ("--zero-stage", "4"),
        ("--on-bad-rows", "ignore"),
        ("--micro-batch-size", "0"),
        ("--cutoff-len", "8"),
    ],
)
def test_a_word_that_is_no_value_is_refused_by_its_flag(flag: str, word: str) -> None:
    """Argparse names the flag."""
    with pytest.raises(argparse.ArgumentError, match=flag):
        parsed(flag, word)


def test_names_of_other_verbs_and_programs_are_known() -> None:
    """--sequence-length and --device of estimate; null for none; 4-bit and QLoRA by their names."""
    given = parsed("--sequence-length", "64", "--device", "T4", "--quantization", "null")
    assert (given.cutoff_len, given.gpus, given.quantization) == (64, "T4", "none")
    assert parsed("--quantization", "4bit").quantization == "nf4"
    assert parsed("--quantization", "8-bit").quantization == "int8"
    with pytest.raises(argparse.ArgumentError, match='Did you mean "nf4-dq"'):
        parsed("--quantization", "nf4_dq")


@pytest.mark.parametrize(
    ("words", "base"),
    [
        (("--finetuning-type", "qlora"), "nf4"),
        (("--finetuning-type", "QLoRA", "--quantization", "nf4-dq"), "nf4-dq"),
        (("--quantization", "nf4-dq", "--finetuning-type", "qlora"), "nf4-dq"),
    ],
)
def test_qlora_is_lora_on_a_base_of_four_bits(words: tuple[str, ...], base: str) -> None:
    """A base that is named as well is the one that is meant, before or after."""
    given = parsed(*words)
    assert (given.finetuning_type, given.quantization) == (FinetuningType.LORA, base)


def test_a_dataset_is_files_and_names_of_their_fields() -> None:
    """Several after one flag or several flags; names without a dataset say nothing."""
    parser = argparse.ArgumentParser()
    add_subject(parser)
    words = ["--dataset", "a", "b", "--dataset", "c", "--columns", "prompt=q,answer=r"]
    assert data_source(parser.parse_args(words)) == DataSource(
        paths=("a", "b", "c"), columns=(("prompt", "q"), ("answer", "r"))
    )
    assert data_source(parser.parse_args(["--dataset", "a"])) == DataSource(paths=("a",))
    assert data_source(parser.parse_args([])) is None
    with pytest.raises(UsageError, match="--columns names the fields of a dataset: add --dataset"):
        data_source(parser.parse_args(["--columns", "text=a"]))
