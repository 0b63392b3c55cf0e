"""The texts that a template looks for in what a row says.

A turn that holds one of them may be written in another way than other turns; all that holds none
is written alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from jinja2 import nodes

from memory_models.frozen import frozen

_STRIPPING = frozenset({"strip", "lstrip", "rstrip"})
_INSIDE = frozenset({"in", "notin"})
_OF_ATTRIBUTES = frozenset(
    {"selectattr", "rejectattr", "map", "groupby", "sort", "unique", "join", "default", "d"}
)
"""Filters whose texts name fields or stand for a missing value; none looks into a text."""


@frozen
class Literals:
    """Texts that a template compares contents with."""

    inside: tuple[str, ...]
    """A content that holds one of them anywhere may be treated differently."""
    equal: frozenset[str]
    """A content that is one of them may be treated differently."""
    at_ends: frozenset[str]
    """Characters that matter at the ends of a content."""


def literals_of(tree: nodes.Template, special_tokens: Mapping[str, str]) -> Literals:
    """What a template looks for."""
    texts = _Texts(tree, special_tokens)
    inside = {text for node in _looked_for(tree) for text in texts.of(node)} - {""}
    equal = {text for node in _compared(tree) for text in texts.of(node)}
    at_ends = {text for node in _stripped(tree) for text in texts.of(node)}
    # A text that holds another is found with it.
    shortest = [each for each in inside if not any(o != each and o in each for o in inside)]
    return Literals(
        inside=tuple(sorted(shortest)),
        equal=frozenset(equal),
        at_ends=frozenset("".join(at_ends)),
    )


class _Texts:
    """The texts that an expression of a template may be."""

    def __init__(self, tree: nodes.Template, special_tokens: Mapping[str, str]) -> None:
        self._special = special_tokens
        self._values: dict[str, list[nodes.Node]] = {}
        for assign in tree.find_all(nodes.Assign):
            self._note(assign.target, assign.node)
        for loop in tree.find_all(nodes.For):
            self._note(loop.target, loop.iter)
        macros = {macro.name: macro for macro in tree.find_all(nodes.Macro)}
        for call in tree.find_all(nodes.Call):
            if isinstance(call.node, nodes.Name) and call.node.name in macros:
                self._note_call(macros[call.node.name], call)

    def of(self, node: nodes.Node) -> set[str]:
        """All texts in an expression, and in what its names may stand for."""
        found, names = set[str](), set[str]()
        left = [node]
        while left:
            each = left.pop()
            found |= _constants(each)
            for name in _names(each) - names:
                names.add(name)
                left += self._values.get(name, ())
                found |= {self._special[name]} if name in self._special else set()
        return found

    def _note_call(self, macro: nodes.Macro, call: nodes.Call) -> None:
        given = [*zip(macro.args, call.args, strict=False)]
        optional = macro.args[len(macro.args) - len(macro.defaults) :]
        for parameter, value in (*given, *zip(optional, macro.defaults, strict=True)):
            self._note(parameter, value)
        for keyword in call.kwargs:
            self._note(nodes.Name(keyword.key, "store"), keyword.value)

    def _note(self, target: nodes.Node, value: nodes.Node) -> None:
        for name in _names(target):
            self._values.setdefault(name, []).append(value)


def _constants(node: nodes.Node) -> set[str]:
    every = (node, *node.find_all(nodes.Const))
    return {n.value for n in every if isinstance(n, nodes.Const) and isinstance(n.value, str)}


def _names(node: nodes.Node) -> set[str]:
    every = (node, *node.find_all(nodes.Name))
    return {each.name for each in every if isinstance(each, nodes.Name)}


def _looked_for(tree: nodes.Template) -> Iterator[nodes.Node]:
    """What stands where a part of a text is looked for."""
    for compare in tree.find_all(nodes.Compare):
        if any(each.op in _INSIDE for each in compare.ops):
            yield compare.expr
        sides = (compare.expr, *(each.expr for each in compare.ops))
        if any(map(_is_part, sides)):
            yield from (side for side in sides if not _is_part(side))
    for call in tree.find_all(nodes.Call):
        if isinstance(call.node, nodes.Getattr) and call.node.attr not in _STRIPPING:
            yield from call.args
    for found in tree.find_all(nodes.Filter):
        if found.name not in _OF_ATTRIBUTES:
            yield from found.args


def _is_part(node: nodes.Node) -> bool:
    """Whether an expression takes some characters of a text: a slice, a place, the first."""
    if isinstance(node, nodes.Filter):
        return node.name in ("first", "last")
    return isinstance(node, nodes.Getitem) and not (
        isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str)
    )


def _compared(tree: nodes.Template) -> Iterator[nodes.Node]:
    """What a whole text is compared with."""
    for compare in tree.find_all(nodes.Compare):
        yield from (compare.expr, *(each.expr for each in compare.ops))
    for test in tree.find_all(nodes.Test):
        yield from test.args


def _stripped(tree: nodes.Template) -> Iterator[nodes.Node]:
    """The characters that are taken from the ends of a text."""
    for call in tree.find_all(nodes.Call):
        if isinstance(call.node, nodes.Getattr) and call.node.attr in _STRIPPING:
            yield from call.args
