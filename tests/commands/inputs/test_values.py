"""Values of flags as people write them."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from tsplanner.commands.inputs.values import (
    alphas,
    budget_seconds,
    count,
    counts,
    duration_seconds,
    fraction,
    memory_size,
    path,
    positive,
    positive_float,
    probe_steps,
    ranks,
    saved_modules,
    seed,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *[("90", 90), ("90s", 90), ("5m", 300), ("1.5 h", 5400), ("2M", 120)],
        *[("3h", 10_800), ("90m", 5400), ("1h30m", 5400), ("5400s", 5400), ("1.5H", 5400)],
        *[("45s", 45), ("2d", 172_800), ("1d 2h 3m 4s", 93_784)],
    ],
)
def test_a_duration_is_read_in_every_unit(text: str, seconds: float) -> None:
    """Days, hours, minutes and seconds, together or alone; a bare number is seconds."""
    assert duration_seconds(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "five", "5w", "0m", "-3s", "1e3", "nan", "soon", "3x", "0h", "-1h"]
)
def test_text_that_is_not_a_duration_is_refused(text: str) -> None:
    """The message says what could be written instead; zero is not a duration either."""
    with pytest.raises(argparse.ArgumentTypeError, match="write 90s, 5m or 1h"):
        duration_seconds(text)


@pytest.mark.parametrize("text", ["30m1h", "1h30", "5m5m", "1234567s"])
def test_units_stand_in_order_and_once(text: str) -> None:
    """Each amount has a unit of its own, the longest unit comes first, six digits are enough."""
    with pytest.raises(argparse.ArgumentTypeError, match="is not a duration"):
        duration_seconds(text)


@pytest.mark.parametrize(
    ("text", "gib"),
    [
        ("1TiB", 1024),
        ("1.5 TB", 1536),
        ("64GiB", 64),
        ("64gb", 64),
        ("64g", 64),
        ("64", 64),
        ("2048MiB", 2),
    ],
)
def test_a_size_of_ram_is_read_in_every_unit(text: str, gib: int) -> None:
    """GB means GiB, as on a card, and a bare number does as in machine files."""
    assert memory_size(text) == gib * 1024**3


@pytest.mark.parametrize(
    "text", ["", "lots", "0", "-4GiB", "1KiB", "900000TiB", "nan", "1e3", "٦٤"]
)
def test_text_that_is_no_size_of_ram_is_refused(text: str) -> None:
    """The message says what could be written instead."""
    with pytest.raises(argparse.ArgumentTypeError, match=r"write 64GiB or 1\.5TiB"):
        memory_size(text)


def test_wrong_values_are_named_in_plain_english() -> None:
    """The sentence names what was written and what kind of value it is not."""
    with pytest.raises(argparse.ArgumentTypeError, match=r"'1\.5' is not an integer"):
        positive("1.5")
    for kind in (positive_float, fraction):
        with pytest.raises(argparse.ArgumentTypeError, match="'half' is not a number"):
            kind("half")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("3h", 10_800), ("90m", 5400), ("1h30m", 5400), ("5400s", 5400), ("1.5H", 5400)],
)
def test_span_is_read_in_every_unit(text: str, seconds: float) -> None:
    """Hours, minutes and seconds, together or alone."""
    assert budget_seconds(text) == seconds


def test_number_without_a_unit_is_refused_with_a_hint() -> None:
    """Nobody should wait 90 hours for what was meant as 90 seconds."""
    with pytest.raises(argparse.ArgumentTypeError, match="90 of what\\? Write 90s, 90m or 90h"):
        budget_seconds("90")


@pytest.mark.parametrize("text", ["", "soon", "3x", "0h", "-1h"])
def test_text_that_is_no_span_is_refused(text: str) -> None:
    """Zero is none either."""
    with pytest.raises(argparse.ArgumentTypeError, match="is not a duration"):
        budget_seconds(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [("a\0b", "null byte"), ("x" * 300, "cannot be a path"), ("y/" * 4000, "path")],
)
def test_what_cannot_be_a_path_is_refused(text: str, says: str) -> None:
    """Before anything is made, whatever the flag."""
    with pytest.raises(argparse.ArgumentTypeError, match=says):
        path(text)


def test_a_path_need_not_be_there(tmp_path: Path) -> None:
    """It may be made later."""
    assert path(str(tmp_path / "new")) == tmp_path / "new"


@pytest.mark.parametrize("text", ["-1", "4294967296", "9" * 30, "x"])
def test_a_seed_is_one_that_every_generator_takes(text: str) -> None:
    """NumPy's seeds have 32 bits."""
    assert (seed("0"), seed("4294967295")) == (0, 2**32 - 1)
    with pytest.raises(argparse.ArgumentTypeError):
        seed(text)


@pytest.mark.parametrize("text", ["0", "2", "-1"])
def test_a_probe_of_fewer_steps_than_it_needs_is_refused(text: str) -> None:
    """Instead of running three in silence."""
    with pytest.raises(argparse.ArgumentTypeError, match="must be at least"):
        probe_steps(text)
    assert probe_steps("3") == 3


def test_patterns_are_numbers_by_module_name() -> None:
    """Blanks do not matter; a missing number does."""
    assert ranks("q_proj=16, v_proj=4") == (("q_proj", 16), ("v_proj", 4))
    assert alphas("q_proj=2.5") == (("q_proj", 2.5),)
    for text in ("q_proj", "=4", "", "q_proj=a", "q_proj=0"):
        with pytest.raises(argparse.ArgumentTypeError):
            ranks(text)


def test_modules_to_save_are_names() -> None:
    """Which names there are, the settings say."""
    assert saved_modules("embed_tokens, lm_head") == ("embed_tokens", "lm_head")


def test_a_count_may_be_zero_and_says_so() -> None:
    """The sentence names the least value that is taken."""
    assert count("0") == 0
    with pytest.raises(argparse.ArgumentTypeError, match=r"must be at least 0, not .*-1"):
        count("-1")


def test_counts_are_one_for_all_gpus_or_one_for_each() -> None:
    """Equal ones are one; what no plan can have is refused as it is typed."""
    assert counts("40") == 40
    assert counts("20, 40") == (20, 40)
    assert counts("40,40") == 40
    with pytest.raises(argparse.ArgumentTypeError, match="every process streams 1 layer or more"):
        counts("40,0")
    with pytest.raises(argparse.ArgumentTypeError, match="is not an integer"):
        counts("40,")
