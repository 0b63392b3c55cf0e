"""Values from a file in the types of their fields, or one sentence that says which they take."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_models.settings import (
    ALL_LINEAR,
    Dtype,
    Quantization,
    TrainingSettings,
    field_types,
)
from tsplanner.errors import UsageError
from tsplanner.planner.gather.typed import LARGEST, _converted, members, typed_value, typed_values


def test_words_become_members_and_lists_become_tuples() -> None:
    """A file has neither enums nor tuples."""
    given = {"model_dtype": "fp16", "quantization": "nf4", "lora_target": ["q_proj", "v_proj"]}
    assert typed_values(TrainingSettings, given) == {
        "model_dtype": Dtype.FP16,
        "quantization": Quantization.NF4,
        "lora_target": ("q_proj", "v_proj"),
    }


def test_names_of_earlier_versions_are_read_under_their_new_names() -> None:
    """``packed_ranks`` became ``adapter_ranks``: files of version 0.1 stay readable."""
    assert typed_values(TrainingSettings, {"packed_ranks": [8, 8]}) == {"adapter_ranks": (8, 8)}


def test_one_module_is_a_list_of_one_and_the_word_for_all_stays_a_word() -> None:
    """Both ways of writing targets are understood."""
    kind = tuple[str, ...] | str
    assert typed_value("lora_target", kind, ALL_LINEAR) == ALL_LINEAR
    assert tuple(typed_value("lora_target", kind, "q_proj")) == ("q_proj",)


@pytest.mark.parametrize(
    ("key", "kind", "value", "says"),
    [
        ("lora_rank", int, 8.5, "lora_rank must be a whole number, not 8.5"),
        ("lora_rank", int, None, "lora_rank must not be null; leave it out for the default"),
        ("lora_rank", int, LARGEST + 1, f"lora_rank must be at most {LARGEST}"),
        (
            "streamed_layers",
            int | tuple[int, ...],
            "2,3",
            "must be a whole number or a list of them",
        ),
        ("gradient_checkpointing", bool, 1, "must be true or false, not 1"),
        ("model_dtype", Dtype, "bf17", "not 'bf17'. Did you mean \"bf16\"?"),
        ("lora_target", tuple[str, ...], [], "must be a list of module names or all-linear"),
    ],
)
def test_a_value_of_another_type_is_refused_with_what_is_wanted(
    key: str, kind: Any, value: object, says: str
) -> None:
    """The key, what it takes and what was given."""
    with pytest.raises(UsageError) as caught:
        typed_value(key, kind, value)
    assert says in str(caught.value)


def test_an_unknown_key_is_refused_with_its_neighbour() -> None:
    """A misspelt key would otherwise be a default in silence."""
    with pytest.raises(UsageError, match=r'unknown key "lora_rnak"\. Did you mean "lora_rank"\?'):
        typed_values(TrainingSettings, {"lora_rnak": 8})


def test_the_largest_value_is_still_taken() -> None:
    """The limit itself is within the limit."""
    assert typed_value("lora_rank", int, LARGEST) == LARGEST


def test_none_is_no_type_to_choose_from() -> None:
    """A field that may be absent takes the types beside None."""
    assert members(int | None) == (int,)
    assert members(str) == (str,)


KINDS = {str(kind): kind for kind in field_types(TrainingSettings).values()}
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**13), 10**13),
    st.floats(allow_nan=False),
    st.sampled_from(["bf16", "nf4", "lora", "full", "sdpa", "q_proj", "", "1"]),
)
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3), max_leaves=6)


@given(kind=st.sampled_from(sorted(KINDS)), value=VALUES)
def test_types_are_as_strict_as_msgspecs(kind: str, value: object) -> None:
    """Files are read by it elsewhere: a value must not be good in one place and bad in another."""
    try:
        theirs = msgspec.convert(value, KINDS[kind])
    except msgspec.ValidationError:
        with pytest.raises(ValueError):  # noqa: PT011 the caller makes the sentence
            _converted(KINDS[kind], value)
    else:
        ours = _converted(KINDS[kind], value)
        assert (ours, type(ours)) == (theirs, type(theirs))
