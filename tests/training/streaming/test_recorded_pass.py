"""A pass that is cut at its layers."""

from __future__ import annotations

from functools import partial

import pytest

torch = pytest.importorskip("torch")

from tsplanner.errors import TsplannerError  # noqa: E402
from tsplanner.training.streaming.recorded_pass import (  # noqa: E402
    ChangedBetweenLayersError,
    Form,
    RecordedPass,
)
from tsplanner.training.streaming.surroundings import Surroundings  # noqa: E402


def begun(form: Form = Form.TENSOR) -> RecordedPass:
    """A pass that nothing was called in."""
    return RecordedPass(form, partial(Surroundings, torch.device("cpu"), random=False))


def test_layers_hand_their_input_on_and_are_computed_later() -> None:
    """Twice two is four, with what the first run called the layer with."""
    one = begun()
    given = torch.ones(1, 1, 2)
    assert one.called(0, (given,), {"factor": 2}) is given
    assert one.called(3, (), {"hidden_states": given, "factor": 4}) is given
    assert [call.layer for call in one.calls] == [0, 3]
    found = one.run(1, lambda x, factor: x * factor, given * 2, again=False)
    assert found.tolist() == [[[8.0, 8.0]]]


def test_the_second_run_goes_on_with_what_the_layers_made() -> None:
    """Only the last call gives it; the ones before hand on what nobody reads."""
    one = begun(Form.TUPLE)
    given = torch.zeros(1, 1, 2)
    for layer in (0, 1):
        one.called(layer, (given,), {})
    one.stream, one.replayed = torch.ones(1, 1, 2), 0
    assert one.called(0, (given,), {})[0] is given
    assert one.called(1, (given,), {})[0] is one.stream


def test_a_model_that_works_between_its_layers_is_noticed() -> None:
    """The recording would leave that work out."""
    one = begun()
    given = torch.zeros(1, 1, 2)
    one.called(0, (given,), {})
    with pytest.raises(ChangedBetweenLayersError):
        one.called(1, (given + 1,), {})


@pytest.mark.parametrize("shared", [{}, [torch.zeros(1, requires_grad=True)], object()])
def test_layers_that_share_more_than_their_result_are_refused(shared: object) -> None:
    """Later layers of some models read the keys of earlier ones: from a dict, a list, a cache."""
    with pytest.raises(TsplannerError, match="share shared_kv_states"):
        begun().called(0, (torch.zeros(1, 1, 2),), {"shared_kv_states": shared})


def test_what_layers_only_read_is_recorded() -> None:
    """Masks by kind of layer, tables, flags."""
    read = {"mask": {"full": torch.ones(2), "sliding": None}, "tables": (torch.ones(1),), "n": 3}
    one = begun()
    one.called(0, (torch.zeros(1, 1, 2),), dict(read))
    assert one.calls[0].options == read
