"""Recorded runs (configs/experiments): their settings and figures, checked by arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields
from pathlib import Path
from typing import Any

from memory_models.frozen import frozen
from memory_models.settings import from_flat, paths
from tsplanner.datasets.records import LengthSummary
from tsplanner.errors import TsplannerError, UsageError, did_you_mean, named
from tsplanner.planner.gather.typed import typed_values
from tsplanner.planner.plan import DatasetRef
from tsplanner.planner.request import Pins
from tsplanner.planner.settings import HardwareSettings, LearningSettings
from tsplanner.planner.steps import (
    Rounding,
    samples_per_second,
    steps_per_epoch,
    total_steps,
)
from tsplanner.reading import read_yaml
from tsplanner.settings import configs_folder

SECONDS_ROUNDING = 0.005
"""Half of the last digit of recorded seconds per step."""
SPEED_ROUNDING = 0.0005
"""Half of the last digit of recorded samples per second."""


@frozen
class Recorded:
    """The figures of a run that were written down."""

    rounding: Rounding
    """Rounding of the trainer that ran it."""
    total_steps: int
    seconds_per_step: float
    """Seconds with two digits after the point, as they were recorded."""
    samples_per_second: float
    """Samples with three digits after the point, as transformers logs them."""
    mean_train_loss: float | None = None
    """Mean loss over the run, as transformers logs it; None: not known."""


@frozen
class Rows:
    """What is known of the data; lengths are in positions of the decoder."""

    rows_total: int
    rows_kept: int
    longest_sequence: int
    mean_sequence: float
    most_patches: int


@frozen
class Experiment:
    """One recorded run."""

    name: str
    record: str
    """The name that the record gives to the run."""
    model: str
    machines: tuple[str, ...]
    """Machine files: the recorded machine first, then those that it is compared with."""
    learning: dict[str, Any]
    """Learning settings by field name."""
    pins: Pins
    dataset: Rows
    recorded: Recorded
    notes: tuple[str, ...] = field(default=())
    """Contradictions of the record to arithmetic or to itself."""

    @property
    def settings(self) -> LearningSettings:
        """Learning settings, with defaults for those that the record leaves out."""
        return from_flat(LearningSettings, **self.learning)

    @property
    def accumulation(self) -> int:
        """Micro-batches per optimizer step and GPU."""
        together = (self.pins.get("micro_batch_size") or 1) * (self.pins.get("world_size") or 1)
        return self.settings.optimization.effective_batch_size // together

    def total_steps(self, rounding: Rounding) -> int:
        """Number of optimizer steps that the kept rows make under a trainer's rounding."""
        per_epoch = steps_per_epoch(
            self.dataset.rows_kept,
            micro_batch_size=self.pins.get("micro_batch_size") or 1,
            world_size=self.pins.get("world_size") or 1,
            gradient_accumulation_steps=self.accumulation,
            rounding=rounding,
        )
        return total_steps(self.settings, per_epoch)

    def samples_per_second(self) -> tuple[float, float]:
        """Lowest and highest speed that agree with the kept rows and the recorded seconds.

        The seconds per step are recorded to a hundredth, so those of the run are known to
        steps / 200.
        """
        rows, epochs = self.dataset.rows_kept, self.settings.optimization.num_train_epochs
        found = self.recorded
        slow, fast = (
            samples_per_second(rows, epochs, found.total_steps * (found.seconds_per_step + half))
            for half in (SECONDS_ROUNDING, -SECONDS_ROUNDING)
        )
        return slow, fast

    @property
    def steps_agree(self) -> bool:
        """Whether the recorded number of steps follows from the kept rows."""
        return self.total_steps(self.recorded.rounding) == self.recorded.total_steps

    @property
    def speed_agrees(self) -> bool:
        """Whether the recorded speed follows from the kept rows, to its last digit."""
        slow, fast = self.samples_per_second()
        said = self.recorded.samples_per_second
        return slow < said + SPEED_ROUNDING and fast > said - SPEED_ROUNDING

    def dataset_ref(self) -> DatasetRef:
        """The data as a plan needs them; there is no file."""
        return DatasetRef(
            name=self.name,
            path=None,
            lengths=LengthSummary(
                rows_total=self.dataset.rows_total,
                rows_kept=self.dataset.rows_kept,
                longest=self.dataset.longest_sequence,
                mean=self.dataset.mean_sequence,
                most_patches=self.dataset.most_patches,
                counted_by="record",
            ),
        )


def experiment_names() -> tuple[str, ...]:
    """Names of the recorded runs, sorted."""
    return tuple(sorted(path.stem for path in _folder().glob("*.yaml")))


def read_experiment(name: str) -> Experiment:
    """A recorded run by its name, or by the path of a file like those of configs/experiments.

    Raises:
        UsageError: there is no such run, or the file has wrong keys or values.
        TsplannerError: the file cannot be read.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        if name not in experiment_names():
            raise UsageError(
                f"No experiment {named(name)}.{did_you_mean(name, experiment_names())} "
                f"Experiments: {', '.join(experiment_names())}."
            )
        path = _folder() / f"{name}.yaml"
    return _experiment(path, _content(path))


def _folder() -> Path:
    return configs_folder() / "experiments"


def _content(path: Path) -> dict[str, Any]:
    try:
        content = read_yaml(path)
    except OSError as error:
        raise TsplannerError(f"cannot read experiment {path}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"experiment {path}: {error}") from error
    if not isinstance(content, dict):
        raise UsageError(f"experiment {path}: expected keys such as model and machines")
    return content


_SECTIONS: Mapping[str, Any] = {
    "learning": LearningSettings,
    "hardware": HardwareSettings,
    "dataset": Rows,
    "recorded": Recorded,
}


def _experiment(path: Path, content: dict[str, Any]) -> Experiment:
    import msgspec

    known = {"record", "model", "machines", "notes", *_SECTIONS}
    _refuse_unknown(path, "", content, known)
    for section, record in _SECTIONS.items():
        values = content.get(section)
        if not isinstance(values, dict):
            raise UsageError(f'experiment {path}: the section "{section}" is missing')
        _refuse_unknown(path, f"{section}: ", values, _names(record))
    hardware = dict(content["hardware"])
    if hardware.get("quantization") == "none":
        hardware["quantization"] = None

    def read(key: str, kind: Any, otherwise: object = None) -> Any:
        return msgspec.convert(content.get(key, otherwise), kind)

    try:
        return Experiment(
            name=path.stem,
            record=read("record", str),
            model=read("model", str),
            machines=read("machines", tuple[str, ...]),
            learning=typed_values(LearningSettings, content["learning"]),
            # No trainer of those runs streams layers.
            pins=Pins(**{"streamed_layers": 0, **typed_values(HardwareSettings, hardware)}),
            dataset=read("dataset", Rows),
            recorded=read("recorded", Recorded),
            notes=read("notes", tuple[str, ...], ()),
        )
    except UsageError as error:
        raise UsageError(f"experiment {path}: {error}") from error
    except (msgspec.ValidationError, ValueError) as error:
        raise UsageError(f"experiment {path}: {error}") from error


def _names(record: type) -> set[str]:
    composed = record in (LearningSettings, HardwareSettings)
    return set(paths(record)) if composed else {each.name for each in fields(record)}


def _refuse_unknown(path: Path, where: str, values: dict[str, Any], known: set[str]) -> None:
    for key in values:
        if key not in known:
            hint = did_you_mean(str(key)[:80], known)
            raise UsageError(f"experiment {path}: {where}unknown key {named(key)}.{hint}")
