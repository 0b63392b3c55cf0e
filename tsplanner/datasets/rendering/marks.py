"""Marks in a rendered text, which say where each turn and each generation block lies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

MARKS = tuple(chr(code) for code in range(0xFDD0, 0xFDF0))
"""Code points that Unicode keeps for such use inside a program; no text should hold them."""

Span = tuple[int, int]
"""Start and end of a part of a text, in characters; the end is not included."""


class Marker:
    """Gives marks to a template that renders, and reads them out of its text."""

    def __init__(
        self,
        messages: Sequence[Mapping[str, Any]],
        mark: str = MARKS[0],
        *,
        in_kept: bool = False,
    ) -> None:
        """``mark``: what stands before and behind each mark.

        ``in_kept``: marks are given to texts that the template keeps, and may look at, too.
        """
        self.turns: list[Span | None] = [None] * len(messages)
        """Where the loops over the turns wrote each turn; None: nowhere."""
        self.generations: list[Span] = []
        """The template's own generation blocks."""
        self.is_lacking = False
        """Whether an answer may lie in a text that was kept, and got no mark."""
        self._in_kept = in_kept
        self._numbers = {id(message): index for index, message in enumerate(messages)}
        self._mark = mark
        self._given = 0
        self._open: set[int] = set()

    def turn(self, loop: int, kept: bool, *values: Any) -> str:
        """The mark before a round of a loop that writes a turn.

        Without a value, or with one that is no turn: the mark that ends the round before it.
        ``kept``: the loop writes into a text that the template keeps.
        """
        for value in values:
            number = self._numbers.get(id(value))
            if number is not None:
                if self._is_withheld(kept):
                    return ""
                self._open.add(loop)
                return self._given_out(f"{loop}:{number}")
        # Other loops write no mark: a template may trim what they wrote.
        if loop in self._open:
            self._open.remove(loop)
            return self._given_out(f"{loop}:")
        return ""

    def generation(self, kept: bool, caller: Callable[[], str]) -> str:
        """The text of a generation block between marks."""
        if self._is_withheld(kept):
            return caller()
        return self._given_out("(") + caller() + self._given_out(")")

    def read(self, marked: str) -> str | None:
        """The text without its marks; None, and nothing is known, if it held such signs before."""
        parts = marked.split(self._mark)
        if len(parts) != 2 * self._given + 1:
            return None
        rounds: dict[str, tuple[int, int]] = {}
        blocks: list[int] = []
        at = 0
        for text, mark in zip(parts[::2], parts[1::2], strict=False):
            at += len(text)
            if mark == "(":
                blocks.append(at)
            elif mark == ")":
                self.generations.append((blocks.pop(), at))
            else:
                loop, _, number = mark.partition(":")
                if loop in rounds:
                    self._note(*rounds.pop(loop), at)
                if number:
                    rounds[loop] = (int(number), at)
        return "".join(parts[::2])

    def _is_withheld(self, kept: bool) -> bool:
        self.is_lacking |= kept and not self._in_kept
        return kept and not self._in_kept

    def _given_out(self, mark: str) -> str:
        self._given += 1
        return f"{self._mark}{mark}{self._mark}"

    def _note(self, turn: int, start: int, end: int) -> None:
        """Keep the longest of a turn's rounds: other loops only count or look for something."""
        known = self.turns[turn] or (0, 0)
        if end - start > known[1] - known[0]:
            self.turns[turn] = (start, end)


class WithMarks(NodeTransformer):
    """Makes a template call for its marks: before each round of a loop, and after the loop."""

    def __init__(self) -> None:
        self._loops = 0
        self._kept = False

    def visit_For(self, node: nodes.For) -> list[nodes.Node]:  # noqa: N802 jinja2 names it
        """A loop with its marks; loops inside it get theirs too."""
        self._loops += 1
        kept = self._kept or node.recursive
        loop = nodes.Const(self._loops), nodes.Const(kept)
        self._inside(node, kept=kept)
        every = (node.target, *node.target.find_all(nodes.Name))
        names = {each.name for each in every if isinstance(each, nodes.Name)}
        node.body.insert(0, _mark(*loop, *_loaded(sorted(names))))
        # Some templates count through the turns: for i in range(...), set turn = turns[i].
        for at, step in enumerate(node.body):
            if name := _taken_by_number(step, names):
                node.body.insert(at + 1, _mark(*loop, *_loaded([name])))
                break
        return [node, _mark(*loop)]

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.Node:  # noqa: N802
        """A generation block says whether it is kept; the text of any other call is."""
        called = node.call.node
        if isinstance(called, nodes.Name) and called.name == "generation_":
            node.call.args = [nodes.Const(self._kept)]
            return self._inside(node, kept=self._kept)
        return self._inside(node, kept=True)

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:  # noqa: N802
        """What a macro writes is a value."""
        return self._inside(node, kept=True)

    def visit_AssignBlock(self, node: nodes.AssignBlock) -> nodes.Node:  # noqa: N802
        """What stands between set and endset is a value."""
        return self._inside(node, kept=True)

    def visit_FilterBlock(self, node: nodes.FilterBlock) -> nodes.Node:  # noqa: N802
        """What stands in it is changed by a filter."""
        return self._inside(node, kept=True)

    def _inside(self, node: nodes.Node, *, kept: bool) -> nodes.Node:
        before, self._kept = self._kept, kept
        self.generic_visit(node)
        self._kept = before
        return node


def _loaded(names: Sequence[str]) -> list[nodes.Expr]:
    return [nodes.Name(name, "load") for name in names]


def _mark(*values: nodes.Expr) -> nodes.Output:
    return nodes.Output([nodes.Call(nodes.Name("turn_", "load"), [*values], [], None, None)])


def _taken_by_number(step: nodes.Node, numbers: set[str]) -> str | None:
    """The name that a step gives to ``anything[number]``; None: it does something else."""
    if not (isinstance(step, nodes.Assign) and isinstance(step.target, nodes.Name)):
        return None
    number = step.node.arg if isinstance(step.node, nodes.Getitem) else None
    is_number = isinstance(number, nodes.Name) and number.name in numbers
    return step.target.name if is_number else None
