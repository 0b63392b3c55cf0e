"""The tape: little programs whose tensors come and go as autograd has it."""

from __future__ import annotations

import pytest

from memory_models.activations.tape import Tape
from memory_models.symbolic import ALLOC, FREE, ZERO, Size, Value, Weight

TEN = Size(per_token=10)
"""Ten elements a token; at one byte each, ten bytes a token."""


def tokens(levels: list[Size]) -> list[int]:
    """The bytes per token of every level."""
    assert all(level.constant == level.per_unit == 0 for level in levels)
    return [level.per_token for level in levels]


def backward(
    tape: Tape, output: Value, *, accumulates: bool = False, recomputed: bool = False
) -> list[Size]:
    """The levels of backward."""
    tape.backward(output, accumulates=accumulates, recomputed=recomputed)
    return tape.levels


def chain(tape: Tape, *, saves: bool) -> tuple[Value, Value]:
    """Two ops in a row, the local variable in between gone; the second may keep its input."""
    source = tape.uncounted(TEN, 1)
    middle = tape.op((source,), TEN, 1)
    output = tape.op((middle,), TEN, 1, saves=(middle,) if saves else ())
    tape.drop(middle)
    return source, output


def test_a_tensor_nobody_holds_is_given_back() -> None:
    """Middle and result are there together; then the middle's variable goes."""
    tape = Tape()
    chain(tape, saves=False)
    assert tokens(tape.levels) == [10, 20]
    assert tape.level == (10, 0, 0)
    assert tape.saved() == ()


def test_a_saved_tensor_stays_when_its_variable_goes() -> None:
    """Backward needs the middle: it stays beside the result."""
    tape = Tape()
    chain(tape, saves=True)
    assert tape.level == (20, 0, 0)
    assert tape.saved() == (TEN,)
    assert tape.kept() == TEN


def test_a_tensor_saved_twice_is_kept_once() -> None:
    """Two ops save one tensor."""
    tape = Tape()
    source = tape.new(TEN, 1)
    for _ in range(2):
        tape.drop(tape.op((source,), TEN, 2, saves=(source,)))
    assert tape.saved() == (TEN,)


def test_a_view_holds_its_storage_and_takes_nothing() -> None:
    """The whole goes when its last view does."""
    tape = Tape()
    whole = tape.new(TEN, 1)
    half = tape.view(whole, Size(per_token=5))
    tape.drop(whole)
    assert tape.level == TEN
    tape.drop(half)
    assert tape.level == ZERO
    assert tokens(tape.levels) == [10]


def test_what_needs_no_gradient_saves_nothing() -> None:
    """An op on constants leaves no node behind."""
    tape = Tape()
    constant = tape.uncounted(TEN, 1, needs=False)
    result = tape.op((constant,), TEN, 1, saves=(constant,))
    assert not result.needs
    assert tape.nodes == []


def test_backward_goes_from_kept_tensors_to_one_gradient_after_another() -> None:
    """10 kept, the result's gradient 20, the middle's 30; then the result's gradient and the kept
    tensor go, 10, and the source's gradient comes, 20. Each node notes its work of nothing too.
    """
    tape = Tape()
    _, output = chain(tape, saves=True)
    tape.drop(output)
    levels = backward(tape, output)
    assert tokens(levels) == [20, 20, 30, 10, 20]
    assert tape.level == TEN


def test_backward_takes_an_ops_work_for_its_time() -> None:
    """Gradient 10, work 7 more, the input's gradient 10 more; then both but the last go."""
    tape = Tape()
    output = tape.op((tape.uncounted(TEN, 1),), TEN, 1, work=Size(per_token=7))
    tape.drop(output)
    assert tokens(backward(tape, output)) == [10, 17, 27]
    assert tape.level == TEN


def added(*, passes: bool, between: bool) -> tuple[list[int], Size]:
    """Levels of backward of a residual sum; ``between``: an op on the second branch."""
    tape = Tape()
    stream = tape.uncounted(TEN, 1)
    branch = tape.op((stream,), TEN, 1) if between else tape.view(stream)
    output = tape.op((stream, branch), TEN, 1, passes=passes)
    tape.drop(branch, output)
    return tokens(backward(tape, output)), tape.level


def test_a_sum_passes_its_gradient_on_and_takes_nothing() -> None:
    """Both terms have the incoming gradient itself: the view's joins the stream's for nothing."""
    tape = Tape()
    left, right = tape.uncounted(TEN, 1), tape.uncounted(TEN, 1)
    output = tape.op((left, right), TEN, 1, passes=True)
    tape.drop(output)
    assert tokens(backward(tape, output)) == [10, 10]
    assert tape.level == TEN


def test_a_gradient_is_not_passed_on_through_a_change_of_dtype() -> None:
    """The narrow term of a wide sum gets a gradient of its own: 20 and 10 more."""
    tape = Tape()
    wide, narrow = tape.uncounted(TEN, 2), tape.uncounted(TEN, 1)
    output = tape.op((wide, narrow), TEN, 2, passes=True)
    tape.drop(output)
    assert max(tokens(backward(tape, output))) == 30


def test_a_second_gradient_is_added_in_place_where_the_first_is_nobody_elses() -> None:
    """Two ops read the stream: the second's gradient joins the first's, three are there at most."""
    tape = Tape()
    stream = tape.uncounted(TEN, 1)
    branches = [tape.op((stream,), TEN, 1) for _ in range(2)]
    output = tape.op(branches, TEN, 1, passes=True)
    tape.drop(*branches, output)
    levels = tokens(backward(tape, output))
    # The sum's gradient is both branches'; each makes one for the stream.
    assert max(levels) == 30
    assert tape.level == TEN


def test_a_second_gradient_makes_a_third_tensor_where_the_first_is_shared() -> None:
    """The stream's first gradient is the branch's too: the sum can not overwrite it."""
    levels, level = added(passes=True, between=True)
    assert max(levels) == 30
    assert level == TEN
    levels, _ = added(passes=True, between=False)
    assert max(levels) == 20


def test_a_trained_weight_gets_its_gradient_in_its_own_dtype() -> None:
    """100 elements: 200 bytes as the product gives them, 400 more as stored; then 200 go."""
    tape = Tape()
    source = tape.uncounted(TEN, 1, needs=False)
    output = tape.op((source,), TEN, 1, weights=(Weight(100, 2, 4),))
    tape.drop(output)
    levels = backward(tape, output)
    assert levels[-2:] == [(10, 200, 0), (0, 600, 0)]
    assert tape.level == (0, 400, 0)


@pytest.mark.parametrize("stored", [2, 4])
def test_with_accumulation_a_weights_gradient_is_added_to_the_one_that_is_there(
    stored: int,
) -> None:
    """The fresh gradient is there for a moment only."""
    tape = Tape()
    source = tape.uncounted(TEN, 1, needs=False)
    output = tape.op((source,), TEN, 1, weights=(Weight(100, 2, stored),))
    tape.drop(output)
    assert (10, 200, 0) in backward(tape, output, accumulates=True)
    assert tape.level == ZERO


def test_recomputation_runs_forward_again_beside_the_gradient() -> None:
    """The result's gradient 10, the middle made again 20, its gradient 30.

    The result is not made again: what follows the last saved tensor is left out.
    """
    tape = Tape()
    _, output = chain(tape, saves=True)
    tape.drop(output)
    levels = tokens(backward(tape, output, recomputed=True))
    assert levels[0] == 10
    assert max(levels) == 30
    assert levels.count(30) == 1


def test_a_tensor_may_be_kept_beyond_backward() -> None:
    """The tensor outlives its variable and every node, until the caller frees it."""
    tape = Tape()
    extra = tape.new(Size(per_token=7), 1, needs=False)
    _, output = chain(tape, saves=False)
    tape.keep(extra)
    tape.drop(extra, output)
    levels = tokens(backward(tape, output))
    assert levels[0] == 17
    assert tape.level == Size(per_token=17)


def test_the_work_of_a_node_is_there_while_its_gradient_is_made() -> None:
    """Eight bytes per token of work, then the gradient."""
    tape = Tape()
    output = tape.op((tape.uncounted(TEN, 1),), TEN, 1, work=Size(per_token=8))
    tape.drop(output)
    assert tokens(backward(tape, output)) == [10, 18, 28]
    assert tape.level == TEN


def test_without_saving_forward_leaves_no_node() -> None:
    """As under ``no_grad``: the middle goes with its variable."""
    tape = Tape(saves=False)
    chain(tape, saves=True)
    assert tape.nodes == []
    assert tape.level == TEN


def test_a_given_tensor_is_freed_by_the_program_alone() -> None:
    """The caller has allocated it, so the running sum falls below zero."""
    tape = Tape()
    tape.drop(tape.given(TEN, 1))
    assert tape.events == [(FREE, TEN)]
    assert tape.level == Size(per_token=-10)


def test_levels_are_the_running_sum_of_the_events() -> None:
    """One level after every allocation; frees show in the next level."""
    tape = Tape()
    chain(tape, saves=False)
    assert [sign for sign, _ in tape.events] == [ALLOC, ALLOC, FREE]
    assert tokens(tape.levels) == [10, 20]
