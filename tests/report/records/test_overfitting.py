"""Curves of held-out losses drawn by hand, and what is said of them."""

from __future__ import annotations

import pytest

from tsplanner.report.records.overfitting import CurveState, EvalPoint, eval_points, overfitting


def curve(*losses: float) -> list[EvalPoint]:
    """Evaluate before the first epoch and after each."""
    return [EvalPoint(epoch=float(epoch), loss=loss) for epoch, loss in enumerate(losses)]


@pytest.mark.parametrize(
    ("losses", "state", "best", "rise"),
    [
        ((2.0, 1.0, 0.8, 0.7), "still falling", 3, 0.0),
        ((2.0, 1.0, 0.8, 0.799, 0.801), "level", 3, 0.002),
        ((2.0, 0.9, 0.8, 0.95, 1.2), "over-fitting", 2, 0.4),
        ((2.0, 0.8, 0.9), "over-fitting", 1, 0.1),
        ((2.0, 0.8, 1.1, 0.85, 1.2, 0.9), "oscillating", 1, 0.1),
        ((0.5, 0.6, 0.7), "over-fitting", 0, 0.2),
        ((2.0, 1.0), "too few evaluations", 1, 0.0),
        ((2.0,), "too few evaluations", 0, 0.0),
        ((1.0, 1.0, 1.0), "level", 0, 0.0),
    ],
)
def test_curve_is_named_with_its_best_epoch_and_its_rise(losses, state, best, rise):
    """Falling, level, over-fitting, oscillating: by what the loss did after its lowest point."""
    found = overfitting(curve(*losses))

    assert found.state == state
    assert found.best_epoch == best
    assert found.rise == pytest.approx(rise)
    assert found.overfits == (state == "over-fitting")


def test_report_names_the_epoch_to_stop_at():
    """One sentence with the best loss, its epoch, the rise and what to do."""
    (sentence,) = overfitting(curve(2.0, 0.9, 0.8, 0.95, 1.2)).sentences

    assert sentence == (
        "The held-out loss was lowest, 0.8000, after epoch 2, and rose by 0.4000 to the end: "
        "stop at epoch 2."
    )


def test_oscillation_is_told_with_its_swing():
    """0.8 to 1.1, back, and up by 0.35: a learning rate too high."""
    found = overfitting(curve(2.0, 0.8, 1.1, 0.85, 1.2, 0.9))

    assert found.reversals == 4
    assert found.swing == pytest.approx(0.35)
    assert "goes up and down by up to 0.3500: lower the learning rate" in found.sentences[0]


def test_a_standard_error_says_what_is_noise():
    """A rise of 0.1 is over-fitting on many held-out rows and nothing on few."""
    losses = curve(2.0, 0.8, 0.85, 0.9)

    assert overfitting(losses, standard_error=0.01).state is CurveState.OVERFITTING
    assert overfitting(losses, standard_error=0.2).state is CurveState.LEVEL


def test_a_rise_that_comes_back_is_no_overfitting():
    """One bad evaluation between good ones: the last is as low as the best."""
    assert overfitting(curve(2.0, 0.8, 0.804, 0.8, 0.803)).state is CurveState.LEVEL


def test_no_evaluation_is_said_so():
    """Without held-out rows nothing can be seen."""
    found = overfitting([])

    assert (found.best_epoch, found.state) == (None, "too few evaluations")
    assert found.sentences == ("Nothing was evaluated, so over-fitting cannot be seen.",)


def test_evaluations_are_picked_from_the_lines_of_a_run():
    """Training steps, lines without an epoch and NaN are passed over."""
    rows = [
        {"step": 1, "epoch": 0.1, "loss": 2.0},
        {"step": 10, "epoch": 1, "eval_loss": 1.5},
        {"step": 20, "eval_loss": 1.4},
        {"step": 30, "epoch": 3.0, "eval_loss": float("nan")},
    ]

    assert eval_points(rows) == [EvalPoint(epoch=1.0, loss=1.5)]
