"""Records: frozen dataclasses with slots, whose fields are given by name."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, asdict, dataclass, field, fields, is_dataclass, replace
from functools import cached_property

import msgspec
import pytest

from memory_models.frozen import frozen


@frozen
class Point:
    """A record with each kind of field."""

    x: int
    y: int = 2
    tags: list[str] = field(default_factory=list)
    note: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("x is negative")

    @property
    def total(self) -> int:
        """A method of its own."""
        return self.x + self.y


@dataclass(frozen=True, slots=True, kw_only=True)
class Standard:
    """The same by the standard library."""

    x: int
    y: int = 2
    tags: list[str] = field(default_factory=list)
    note: str = field(default="", compare=False)


@frozen
class Pair:
    """A record that holds one."""

    name: str
    point: Point


def test_a_record_is_what_the_standard_decorator_would_make() -> None:
    """Its fields, its values, its text, and what it refuses."""
    ours, theirs = Point(x=1), Standard(x=1)
    assert is_dataclass(Point)
    assert [(one.name, one.type) for one in fields(Point)] == [
        (one.name, one.type) for one in fields(Standard)
    ]
    assert asdict(ours) == asdict(theirs) == {"x": 1, "y": 2, "tags": [], "note": ""}
    assert repr(ours) == repr(theirs).replace("Standard", "Point")
    assert ours.total == 3
    for kind in (Point, Standard):
        with pytest.raises(TypeError):
            kind()
        with pytest.raises(TypeError):
            kind(x=1, z=2)
        with pytest.raises(TypeError):
            kind(1)


def test_records_are_equal_by_class_and_compared_fields() -> None:
    """A note does not count, a class does; a made list is each record's own."""
    assert Point(x=1) == Point(x=1, note="a") != Point(x=1, y=3)
    assert Point(x=1) != Standard(x=1)
    assert Point(x=1).tags is not Point(x=1).tags
    assert hash(Pair(name="a", point=Point(x=1, tags=()))) == hash(
        Pair(name="a", point=Point(x=1, tags=(), note="b"))
    )


def test_a_record_cannot_change_but_a_copy_can_differ() -> None:
    """Also copies are checked, and there is no place for an unknown attribute."""
    point = Point(x=1)
    for name in ("x", "unknown"):
        with pytest.raises(FrozenInstanceError):
            setattr(point, name, 5)
    with pytest.raises(FrozenInstanceError):
        del point.x
    assert replace(point, x=5) == Point(x=5)
    with pytest.raises(ValueError, match="x is negative"):
        replace(point, x=-1)
    assert not hasattr(point, "__dict__")


def test_records_are_copied_pickled_and_read_from_json() -> None:
    """Workers and files get them."""
    pair = Pair(name="a", point=Point(x=1, tags=["t"]))
    assert copy.deepcopy(pair) == pickle.loads(pickle.dumps(pair)) == pair
    assert msgspec.json.decode(msgspec.json.encode(pair), type=Pair) == pair
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"name": "a", "point": {"x": -1}}', type=Pair)


WORKED_OUT: list[int] = []


@frozen
class Square:
    """A record with something that takes long to work out."""

    side: int

    @cached_property
    def area(self) -> int:
        """Its area."""
        WORKED_OUT.append(self.side)
        return self.side**2


def test_a_cached_property_is_worked_out_once_and_is_no_field() -> None:
    """Copies have their own; equality, text, JSON and pickle know nothing of it."""
    WORKED_OUT.clear()
    square = Square(side=3)
    assert (square.area, square.area, WORKED_OUT) == (9, 9, [3])
    assert replace(square, side=4).area == 16
    assert square == Square(side=3)
    assert repr(square).endswith("Square(side=3)")
    assert asdict(square) == {"side": 3}
    assert msgspec.json.encode(square) == b'{"side":3}'
    assert pickle.loads(pickle.dumps(square)).area == 9
    with pytest.raises(FrozenInstanceError):
        square.area = 5  # type: ignore[misc]
    with pytest.raises(AttributeError, match="Square has no attribute volume"):
        square.volume  # type: ignore[attr-defined]  # noqa: B018


def test_a_mutable_default_is_refused() -> None:
    """All records would share it."""
    with pytest.raises(ValueError, match="mutable default for field tags"):

        @frozen
        class Shared:
            """It cannot be."""

            tags: list[str] = []  # noqa: RUF012


def test_a_record_without_fields_has_one_value() -> None:
    """Two of them are equal."""

    @frozen
    class Nothing:
        """No field."""

    assert Nothing() == Nothing()
    assert repr(Nothing()).endswith("Nothing()")
