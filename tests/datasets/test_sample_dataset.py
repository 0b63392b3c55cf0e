"""The shipped sample dataset: its rules, and that its script still makes it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

np = pytest.importorskip("numpy")

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "benchmarks" / "collect" / "sample_dataset"
SAMPLE = ROOT / "configs" / "datasets" / "sample" / "sample.jsonl"

sys.path.insert(0, str(SCRIPTS))
import labels  # noqa: E402

STEPS = np.arange(48.0)
QUIET = np.zeros(48)


def with_point(value: float, at: int) -> np.ndarray:
    """Make a flat saw-tooth with one point elsewhere."""
    return np.where(np.equal(STEPS, at), value, np.tile([0.0, 0.1], 24))


CASES = [
    (labels.movement_label, STEPS, "Movement: climbing, strong."),
    (labels.movement_label, -STEPS, "Movement: sinking, strong."),
    (labels.movement_label, np.tile([0.0, 1.0], 24), "Movement: sideways."),
    (labels.recurrence_label, np.sin(2 * np.pi * STEPS / 12), "Recurrence: about every 12 steps."),
    (labels.recurrence_label, STEPS, "Recurrence: none."),
    (labels.break_label, (STEPS >= 24) * 5.0, "Break: upward, third quarter."),
    (labels.break_label, (STEPS < 20) * 5.0, "Break: downward, second quarter."),
    (labels.break_label, QUIET, "Break: none."),
    (labels.outlier_label, with_point(9.0, 40), "Outlier: above, last quarter."),
    (labels.outlier_label, with_point(-9.0, 3), "Outlier: below, first quarter."),
    (labels.outlier_label, QUIET, "Outlier: none."),
    (labels.peak_label, with_point(9.0, 13), "Peak: second quarter."),
    (labels.trough_label, with_point(-9.0, 30), "Trough: third quarter."),
    (labels.change_label, STEPS, "Ends: higher by most."),
    (labels.change_label, QUIET, "Ends: level."),
]


@pytest.mark.parametrize(("rule", "values", "label"), CASES)
def test_label_follows_its_rule(rule, values, label):
    """Series with one plain feature get the answer the README promises."""
    assert rule(values) == label


def test_pair_label_is_the_sign_of_the_correlation():
    """A series moves in step with itself and against its mirror image."""
    assert labels.together_label(STEPS, STEPS) == "Pair: in step."
    assert labels.together_label(STEPS, -STEPS) == "Pair: opposed."
    assert labels.together_label(STEPS, np.tile([0.0, 1.0], 24)) == "Pair: unrelated."


@pytest.mark.slow
def test_script_makes_the_shipped_file_byte_for_byte(tmp_path):
    """Anybody with statsmodels can rebuild the dataset."""
    pytest.importorskip("statsmodels")
    target = tmp_path / "sample.jsonl"

    subprocess.run([sys.executable, str(SCRIPTS / "build.py"), "--output", str(target)], check=True)

    assert target.read_bytes() == SAMPLE.read_bytes()


@pytest.mark.slow
def test_script_makes_the_shipped_table_byte_for_byte(tmp_path):
    """The sunspots of the worked example are those of statsmodels."""
    pytest.importorskip("statsmodels")
    target = tmp_path / "sunspots.csv"

    script = str(SCRIPTS / "series.py")
    subprocess.run([sys.executable, script, "--output", str(target)], check=True)

    shipped = ROOT / "configs" / "datasets" / "series" / "sunspots.csv"
    assert target.read_bytes() == shipped.read_bytes()
