"""Plain rows joined from fixed texts, which a template writes around the turns of one sequence of
roles.

A row is plain if its turns are texts with roles and nothing else. For each sequence of roles two
rows with unlike, awkward contents are rendered in full; where both give the same texts around the
contents, the texts are fixed. What a template looks for in contents (`literals`), empty contents
and white space at their ends are known to matter: such rows are rendered in full, unless a third
row shows that the template keeps, or strips, the white space of that turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from memory_models.frozen import frozen
from tsplanner.datasets.records import Conversation, Role, Turn
from tsplanner.datasets.rendering.literals import Literals
from tsplanner.datasets.rendering.pieces import Piece, Rendered, joined
from tsplanner.datasets.rows.fields import RowError

Full = Callable[[Conversation, tuple[bool, ...]], Rendered]
"""Renders a row in full; the second argument says of each turn whether it carries loss."""

MOST_SHAPES = 4096
MOST_TURNS = 64
"""Turns of a row that gets a shape."""
ROWS_BEFORE_PROOF = 4
"""Rows of one sequence of roles that are rendered in full first: a proof takes as long as some."""
_AWKWARD = (
    'Q{n}z Say "{{it}}" <b>&amp;\\n%s{{%\'\n\n\tÄ中\U0001f600 A{n}',
    "{n}tsplanner: " + 'Lorem, ipsum {{"a": [1, 2]}}!\n- # `x` |||\r\n' * 40 + "end{n}",
)
"""Contents that a template writes alike only if it looks into none; ``{n}`` is the turn."""
_WHITE = "\n \t"


@frozen
class _Slotted:
    """A piece of every row of a shape: its contents between fixed texts."""

    texts: tuple[str, ...]
    """Fixed texts, one more than contents."""
    places: tuple[int, ...]
    """Turns whose contents stand between the texts."""
    learned: bool
    turn: int | None


_Pieces = tuple[Piece | _Slotted, ...]
_Key = tuple[tuple[Role, ...], tuple[bool, ...]]
"""Roles of a row's turns, and which of them carry loss."""


@frozen
class _Shape:
    """All plain rows with one sequence of roles."""

    pieces: _Pieces
    looked_for: tuple[str, ...]
    """Texts that no content may hold."""
    strips: tuple[bool | None, ...]
    """Whether white space at the ends of a turn's content is taken off; None: not that simple."""


class Shapes:
    """The shapes of one template's rows; a row that has none is rendered in full."""

    def __init__(self, full: Full, literals: Literals) -> None:
        self._full = full
        self._literals = literals
        self._shapes: dict[_Key, _Shape | int | None] = {}
        """By roles and loss: the shape, the number of rows so far, or None where none is proved."""

    def rendered(self, row: Conversation, learned: tuple[bool, ...]) -> Rendered:
        """The row as `Full` renders it; raises RowError as that does."""
        contents = _plain_contents(row)
        if contents is not None and len(contents) <= MOST_TURNS:
            roles = tuple([turn.role for turn in row.turns])
            shape = self._shape((roles, learned))
            if shape is not None and self._fits(shape, contents):
                return Rendered(pieces=_filled(shape.pieces, contents))
        return self._full(row, learned)

    def _shape(self, key: _Key) -> _Shape | None:
        found = self._shapes.get(key, 0)
        if isinstance(found, int):
            if len(self._shapes) >= MOST_SHAPES:
                self._shapes.clear()
            is_due = found + 1 >= ROWS_BEFORE_PROOF
            self._shapes[key] = found = self._proved(*key) if is_due else found + 1
        return None if isinstance(found, int) else found

    def _fits(self, shape: _Shape, contents: list[str]) -> bool:
        """Whether the contents hold nothing that the template looks for.

        White space that the template strips is taken off the contents.
        """
        literals = self._literals
        for place, content in enumerate(contents):
            if not content:
                return False
            if content[0].isspace() or content[-1].isspace():
                strips = shape.strips[place]
                if strips is None:
                    return False
                if strips and not (content := content.strip()):
                    return False
                contents[place] = content
            if literals.at_ends and not literals.at_ends.isdisjoint((content[0], content[-1])):
                return False
        if not literals.equal.isdisjoint(contents):
            return False
        text = "\0".join(contents) if shape.looked_for else ""
        return not any([literal in text for literal in shape.looked_for])

    def _proved(self, roles: tuple[Role, ...], learned: tuple[bool, ...]) -> _Shape | None:
        rows = [_awkward(roles, learned, content) for content in _AWKWARD]
        try:
            first, second = (self._slotted(row, learned) for row in rows)
        except RowError:
            return None
        if first is None or first != second:
            return None
        return _Shape(
            pieces=first,
            looked_for=self._looked_for(first, rows[0], learned),
            strips=self._strips(first, rows[0], learned),
        )

    def _slotted(self, row: Conversation, learned: tuple[bool, ...]) -> _Pieces | None:
        """The pieces of a row; None: its text does not hold every content once."""
        pieces = self._full(row, learned).pieces
        text = joined(pieces)
        if any(text.count(turn.content) != 1 for turn in row.turns):
            return None
        found = [_with_slots(piece, row.turns) for piece in pieces]
        slots = [place for each in found if isinstance(each, _Slotted) for place in each.places]
        return tuple(found) if len(slots) == len(row.turns) else None

    def _looked_for(
        self, pieces: _Pieces, row: Conversation, learned: tuple[bool, ...]
    ) -> tuple[str, ...]:
        """What contents may not hold; names of fields are tried, since most are no texts at all.

        A template asks ``'image' in part`` of a part of a content, and never of a text.
        """
        names = [literal for literal in self._literals.inside if literal.isidentifier()]
        for tried in (*names, " ".join(names)):
            contents = [f"{tried} {turn.content} {tried}" for turn in row.turns]
            if self._pieces(row, contents, learned) != _filled(pieces, contents):
                return self._literals.inside
        return tuple(each for each in self._literals.inside if each not in names)

    def _strips(
        self, pieces: _Pieces, row: Conversation, learned: tuple[bool, ...]
    ) -> tuple[bool | None, ...]:
        """What the template does with white space around the content of each turn."""
        bare = [turn.content for turn in row.turns]

        def stripped(places: Sequence[int]) -> bool | None:
            white = [
                _WHITE + content + _WHITE[::-1] if place in places else content
                for place, content in enumerate(bare)
            ]
            found = self._pieces(row, white, learned)
            if found == _filled(pieces, white):
                return False
            return True if found == _filled(pieces, bare) else None

        every = stripped(range(len(bare)))
        if every is not None:
            return (every,) * len(bare)
        return tuple(stripped([place]) for place in range(len(bare)))

    def _pieces(
        self, row: Conversation, contents: list[str], learned: tuple[bool, ...]
    ) -> tuple[Piece, ...] | None:
        turns = [replace(turn, content=c) for turn, c in zip(row.turns, contents, strict=True)]
        try:
            return self._full(replace(row, turns=tuple(turns)), learned).pieces
        except RowError:
            return None


def _filled(pieces: _Pieces, contents: list[str]) -> tuple[Piece, ...]:
    found = []
    for each in pieces:
        if isinstance(each, Piece):
            found.append(each)
            continue
        text = each.texts[0]
        for place, behind in zip(each.places, each.texts[1:], strict=True):
            text += contents[place] + behind
        found.append(Piece(text=text, learned=each.learned, turn=each.turn))
    return tuple(found)


def _with_slots(piece: Piece, turns: tuple[Turn, ...]) -> Piece | _Slotted:
    """A piece with slots for the contents that it holds."""
    starts = sorted(
        (start, place)
        for place, turn in enumerate(turns)
        if (start := piece.text.find(turn.content)) >= 0
    )
    if not starts:
        return piece
    texts, at = [], 0
    for start, place in starts:
        texts.append(piece.text[at:start])
        at = start + len(turns[place].content)
    return _Slotted(
        texts=(*texts, piece.text[at:]),
        places=tuple(place for _, place in starts),
        learned=piece.learned,
        turn=piece.turn,
    )


def _awkward(roles: tuple[Role, ...], learned: tuple[bool, ...], content: str) -> Conversation:
    turns = tuple(
        Turn(role=role, content=content.format(n=place), learned=learned[place])
        for place, role in enumerate(roles)
    )
    return Conversation(turns=turns, line=0)


def _plain_contents(row: Conversation) -> list[str] | None:
    """The texts of a plain row; None: the row says more than texts."""
    if row.tools:
        return None
    contents = []
    for turn in row.turns:
        if turn.thoughts or turn.tool_calls or turn.name or turn.tool_call_id:
            return None
        contents.append(turn.content)
    return contents
