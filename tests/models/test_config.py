"""Typed look-ups in a config.json."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsplanner.errors import TsplannerError
from tsplanner.models.config import LIMITS, Config


def test_a_value_is_read_by_its_type_or_by_its_default() -> None:
    """A key that is null counts as left out."""
    config = Config({"n": 3, "x": 0.5, "on": True, "name": "a", "none": None}, "c")
    assert (config.positive("n"), config.positive("none", 7)) == (3, 7)
    assert (config.optional_positive("n"), config.optional_positive("none")) == (3, None)
    assert [config.number(key, 1.0) for key in ("x", "n", "m")] == [0.5, 3, 1]
    assert config.number("none", 1.0) is None
    assert (config.flag("on", default=False), config.flag("none", default=True)) == (True, True)
    assert (config.text("name"), config.text("other", "b")) == ("a", "b")
    assert (config.has("n"), config.has("none")) == (True, False)


@pytest.mark.parametrize(
    ("look_up", "says"),
    [
        (lambda config: config.positive("missing"), "c: missing is missing; is this"),
        (lambda config: config.positive("on"), "c: on must be a whole number above 0, not True"),
        (lambda config: config.number("name", 0.0), "c: name must be a number, not 'a'"),
        (lambda config: config.flag("name", default=True), "c: name must be true or false"),
        (lambda config: config.text("on"), "c: on must be a string, not True"),
        (lambda config: config.section("name"), "c: name must be an object, not 'a'"),
    ],
)
def test_a_wrong_value_is_named_with_key_and_file(
    look_up: Callable[[Config], object], says: str
) -> None:
    """What it is, and what it must be."""
    with pytest.raises(TsplannerError) as caught:
        look_up(Config({"on": True, "name": "a"}, "c"))
    assert str(caught.value).startswith(says)


def test_a_section_is_a_config_that_names_its_parent() -> None:
    """The message says where the wrong value stands."""
    section = Config({"ts": {"patch_size": 0}}, "config.json").section("ts")
    assert (section.source, section.values) == ("config.json: ts", {"patch_size": 0})
    with pytest.raises(TsplannerError, match=r"config\.json: ts: patch_size must be"):
        section.positive("patch_size")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"num_attention_heads": 4, "hidden_size": 64}, (4, 4, 16)),
        ({"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32}, (4, 2, 32)),
    ],
)
def test_heads_have_the_sizes_that_follow_from_the_hidden_size(
    values: dict[str, object], expected: tuple[int, int, int]
) -> None:
    """A head size that is given needs no division."""
    config = Config(values, "c")
    assert (config.heads, config.key_value_heads, config.head_dim) == expected


@given(value=st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4))
def test_only_whole_numbers_above_zero_are_positive(value: object) -> None:
    """Anything else is refused or, where it is null, replaced."""
    config = Config({"n": value}, "c")
    good = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 2**40
    if good or value is None:
        assert config.positive("n", 5) == (value if good else 5)
    else:
        with pytest.raises(TsplannerError, match=r"^c: n must be"):
            config.positive("n", 5)


@pytest.mark.parametrize(("key", "most"), sorted(LIMITS.items()))
def test_a_size_far_above_every_published_model_is_refused(key: str, most: int) -> None:
    """The limit itself may stand; a model of 2**40 layers is a damaged file."""
    assert Config({key: most}, "c").positive(key) == most
    with pytest.raises(TsplannerError, match=f"c: {key} must be at most {most}"):
        Config({key: most + 1}, "c").positive(key)


def test_a_thousand_layers_and_the_largest_published_sizes_are_within_the_limits() -> None:
    """Llama 3.1 405B, Gemma 3's vocabulary, Llama 4 Scout's window."""
    published = {
        "num_hidden_layers": 1000,
        "hidden_size": 16_384,
        "intermediate_size": 53_248,
        "vocab_size": 262_208,
        "num_attention_heads": 128,
        "max_position_embeddings": 10_485_760,
    }
    assert all(LIMITS[key] >= 2 * value for key, value in published.items())


def test_a_wrong_value_is_cut_in_the_message() -> None:
    """Five thousand characters tell a reader nothing."""
    with pytest.raises(TsplannerError) as caught:
        Config({"n": "x" * 5000}, "c").positive("n")
    assert len(str(caught.value)) < 120
