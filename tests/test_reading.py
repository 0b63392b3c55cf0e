"""Text that others wrote: every way to be wrong ends in one kind of error."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tsplanner.errors import named, quoted
from tsplanner.reading import decoded, read_text, read_yaml


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('"\\ud800"', "half a character"),
        ('{"a": NaN}', "NaN is not a JSON value"),
        ('{"a": 1e999}', "1e999 is out of range"),
        ("[" * 100_000, "nested too deep"),
        ("1" * 5000, "digits"),
        ("{", "Expecting"),
    ],
)
def test_what_is_no_json_is_a_value_error(text: str, says: str) -> None:
    """A lone surrogate, an infinity and a nest too deep as well as a lost bracket."""
    with pytest.raises(ValueError, match=says):
        decoded(text)


def test_both_halves_of_a_character_are_one() -> None:
    """Programs that write ASCII alone write an emoji as two escapes."""
    assert decoded('"\\ud83d\\ude00"') == "\U0001f600"


def test_a_published_config_may_hold_infinity() -> None:
    """Mamba 2 writes a limit of time steps so."""
    assert decoded('{"time_step_limit": [0.0, Infinity]}', finite=False) == {
        "time_step_limit": [0.0, float("inf")]
    }


def test_a_text_is_read_up_to_its_limit(tmp_path: Path) -> None:
    """A byte order mark goes; a file without end and bytes of another encoding are refused."""
    path = tmp_path / "a"
    path.write_bytes(b"\xef\xbb\xbfab")
    assert read_text(path) == "ab"
    with pytest.raises(ValueError, match="too large"):
        read_text(path, most_bytes=4)
    with pytest.raises(ValueError, match="too large"):
        read_text(Path("/dev/zero"), most_bytes=1000)
    path.write_bytes(b"ab\xff")
    with pytest.raises(ValueError, match=r"not UTF-8 \(byte 3\)"):
        read_text(path)


@pytest.mark.parametrize(
    "text",
    ["2001-13-45: x", "a: !!int x", "a: !!float x", "a: !!timestamp x", "? [a]\n: b", "- " * 20_000,
     "[" * 20_000, "a: !!python/object:os.system x"],
)  # fmt: skip
def test_what_is_no_yaml_is_a_value_error(tmp_path: Path, text: str) -> None:
    """Dates that are none, words as numbers, nests: one kind of error."""
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"YAML|nested"):
        read_yaml(path)


def test_a_value_of_references_is_shown_in_no_time(tmp_path: Path) -> None:
    """Twelve levels of ten references each would be a text of a terabyte."""
    path = tmp_path / "a.yaml"
    lines = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 13)]
    path.write_text("a0: &a0 [1]\n" + "\n".join(lines) + "\n")
    began = time.perf_counter()
    assert len(quoted(read_yaml(path))) <= 60
    assert time.perf_counter() - began < 1.0


def test_values_are_shown_short_and_without_control_characters() -> None:
    """Cut in the middle; a number of thousands of digits by its size."""
    assert quoted("\x1b[31m") == "'\\x1b[31m'"
    assert len(quoted("x" * 5000)) <= 60
    assert quoted(1 << 20_000) == "a number of 20001 bits"
    assert named("a\nb") == '"a\\nb"'
    assert named(("a", 1)) == "('a', 1)"
