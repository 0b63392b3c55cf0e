"""Which events of a program free all that they allocate."""

from __future__ import annotations

from memory_models.allocator.passages import PASSAGE, Node, by_passages, sizes_of
from memory_models.symbolic import ALLOC, FREE, WORKSPACE, Event, Size

A, B, C = (Size(per_token=number) for number in (1, 2, 3))


def nodes(*events: Event, small: tuple[Size, ...] = ()) -> tuple[Node, ...]:
    """The nodes of the large events."""
    return by_passages(events, tuple(size in small for size in sizes_of(events))).large


def test_a_tensor_that_is_freed_at_once_is_a_passage_without_nodes() -> None:
    """Twice in a row it is one: where the first found a block, the second one does too."""
    touch = ((ALLOC, A), (FREE, A))
    assert nodes(*touch) == nodes(*touch, *touch) == (Node(PASSAGE, 0),)


def test_a_passage_holds_what_is_freed_within_it() -> None:
    """A is freed when B has been freed; the free of C is that of a tensor from before."""
    found = nodes((ALLOC, A), (ALLOC, B), (FREE, B), (FREE, A), (FREE, C))
    inner = (Node(ALLOC, 0), Node(PASSAGE, 1), Node(FREE, 0))
    assert found == (Node(PASSAGE, 0, inner), Node(FREE, 2))


def test_what_outlives_its_neighbours_belongs_to_no_passage_of_theirs() -> None:
    """A stays, so the only passage lies between its allocation and the free of B."""
    found = nodes((ALLOC, B), (ALLOC, A), (ALLOC, C), (FREE, C), (FREE, B))
    assert found == (Node(ALLOC, 0), Node(ALLOC, 1), Node(PASSAGE, 2), Node(FREE, 0))


def test_passages_that_adjoin_are_one() -> None:
    """B and C are not there at the same time, and one look at the allocator serves both."""
    found = nodes((ALLOC, B), (FREE, B), (ALLOC, C), (FREE, C))
    assert found == (Node(PASSAGE, 0, (Node(PASSAGE, 0), Node(PASSAGE, 1))),)


def test_small_tensors_are_apart_and_a_workspace_stays() -> None:
    """A small tensor that stays breaks no passage; the workspace has no size of its own."""
    events: tuple[Event, ...] = ((ALLOC, B), (ALLOC, A), (FREE, B), WORKSPACE)
    assert sizes_of(events) == (B, A, None)
    found = by_passages(events, (False, True, False))
    assert found.large == (Node(PASSAGE, 0), Node(ALLOC, 2))
    assert found.small == ((ALLOC, 1),)
