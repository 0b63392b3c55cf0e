"""From what a person typed to a PlanRequest: reads the model, the data and the machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import field, replace
from pathlib import Path
from typing import TypeVar

from memory_models.device import Machine
from memory_models.frozen import frozen
from memory_models.settings import FinetuningType, changed, from_flat
from memory_models.states.adapters import check_targets, trainable_parameters
from memory_models.states.weights import total_parameters
from tsplanner.datasets.lengths.cache import length_summary
from tsplanner.datasets.records import DataSource, ReadJob
from tsplanner.errors import TsplannerError, UsageError
from tsplanner.hardware.detect import machine_for
from tsplanner.hardware.host_copies import disk_rate
from tsplanner.hardware.nodes import Nodes, several
from tsplanner.models.config import NoReaderError
from tsplanner.models.quantized import stored_base
from tsplanner.models.source import ModelSource, read_model
from tsplanner.models.weights import damage
from tsplanner.planner.advice import default_learning_rate
from tsplanner.planner.files import plan_folder
from tsplanner.planner.gather.inputs import model_files, seen_dataset
from tsplanner.planner.plan import DatasetRef, ModelRef, no_dataset
from tsplanner.planner.request import Pins, PlanRequest
from tsplanner.planner.settings import LearningSettings
from tsplanner.runs import slug
from tsplanner.settings import calibration_file, configs_folder
from tsplanner.trust import is_granted

DEFAULT_MODEL = "tiny-chatts"
Seen = TypeVar("Seen")


@frozen
class Liberty:
    """What the planner may do that nobody pinned."""

    corrections: bool = True
    """Earlier probes on this machine correct the plan."""
    allow_rounding: bool = False
    """What rounds the base or the optimizer's states is taken for its speed alone."""


@frozen
class Surroundings:
    """What a person says of the machine beside its GPUs."""

    host_memory_bytes: int | None = None
    """RAM of the machine; None: as the machine has it."""
    nodes: Nodes = Nodes()


@frozen
class Subject:
    """Model, data and machine, by the names that a person gave."""

    model: str | None = None
    dataset: DataSource | None = None
    tokenizer: str | None = None
    on_bad_rows: str = "refuse"
    gpus: str | None = None
    machine: str | None = None
    around: Surroundings = field(default_factory=Surroundings)
    cpu: bool = False
    rows: DatasetRef | None = None
    """Description of a dataset that is not on this machine; None: there is no such dataset."""
    liberty: Liberty = field(default_factory=Liberty)
    learning: dict[str, object] = field(default_factory=dict)
    """Learning settings that were given; the others have their defaults."""
    pins: Pins = field(default_factory=Pins)


def sample_dataset() -> Path:
    """Path of the dataset that ships with tiny-chatts."""
    return configs_folder() / "datasets" / "sample" / "sample.jsonl"


def plan_request(
    subject: Subject, saves: Path, progress: Callable[[int, int, int], None] | None = None
) -> PlanRequest:
    """The request for a plan; ``progress`` is called while the dataset is read.

    Raises:
        UsageError, TsplannerError: the model, the dataset or the machine cannot be read.
    """
    _refuse_empty(subject)
    source = _source(subject.model or DEFAULT_MODEL)
    learning = learning_settings(subject.learning, source)
    _check_stored(subject, learning, source)
    tokenizer = _tokenizer(subject, source)
    dataset = _dataset(subject, source, learning, tokenizer, saves, progress)
    machine = machine_for(subject.gpus, subject.machine, saves, subject.around.host_memory_bytes)
    machine = several(machine, subject.around.nodes, on_cpu=subject.cpu)
    if machine.detected:
        rate = disk_rate(source.folder)
        machine = replace(machine, host=replace(machine.host, disk_read_bytes_per_second=rate))
    request = PlanRequest(
        architecture=source.architecture,
        model=_model_ref(source, learning, subject.tokenizer, tokenizer),
        dataset=dataset,
        machine=machine,
        learning=learning,
        pins=subject.pins,
        forced_cpu=subject.cpu,
        allow_rounding=subject.liberty.allow_rounding,
    )
    return calibrated(request, machine) if subject.liberty.corrections else request


def _refuse_empty(subject: Subject) -> None:
    """Refuse an empty name: it is an unset variable of a shell, and not the default."""
    given = {name: getattr(subject, name) for name in ("model", "tokenizer", "gpus", "machine")}
    if subject.dataset is not None and not all(subject.dataset.paths):
        given["dataset"] = ""
    for name, value in given.items():
        if value == "":
            raise UsageError(f"--{name} is empty; give a value, or leave the flag out.")


def _source(name: str) -> ModelSource:
    """The model; only ``estimate`` can size a model without a reader, by a trace."""
    try:
        return read_model(name)
    except NoReaderError as error:
        raise TsplannerError(
            f"{error} A plan needs one; tsplanner estimate --trace sizes a configuration without."
        ) from error


def _check_stored(subject: Subject, learning: LearningSettings, source: ModelSource) -> None:
    """Refuse what a base that is stored quantised cannot have."""
    stored = stored_base(source.config)
    if stored is None:
        return
    stored.accept_method(learning.method.finetuning_type)
    if "quantization" in subject.pins:
        stored.accept(subject.pins.get("quantization"))


def calibrated(request: PlanRequest, machine: Machine) -> PlanRequest:
    """The request with the earlier probes on this machine that count for it, if there are any."""
    # Probes ran on this machine, so they say nothing of one that was only described.
    if not machine.detected or not calibration_file().is_file():
        return request
    from tsplanner.planner.gather.probe_points import (
        installed_versions,
        load_calibration,
        why_aged,
    )
    from tsplanner.planner.gather.refine import points_of

    points = points_of(request, load_calibration(machine))
    if not points:
        return request
    installed, now = installed_versions(), time.time()
    fresh = tuple(point for point in points if why_aged(point, installed, now) is None)
    return replace(request, probes=fresh)


def learning_settings(given: dict[str, object], source: ModelSource) -> LearningSettings:
    """Learning settings from those given; the default learning rate follows method and model size.

    Raises:
        UsageError: values exclude each other, or the model cannot have them.
    """
    try:
        learning: LearningSettings = from_flat(
            LearningSettings, **given, given=tuple(sorted(given))
        )
        if "learning_rate" not in given:
            method = learning.method.finetuning_type
            rate = default_learning_rate(method, total_parameters(source.architecture))
            learning = changed(learning, learning_rate=rate)
        # Both calls are for what they refuse: targets, ranks and layers that the model lacks.
        check_targets(source.architecture, learning.method)
        trainable_parameters(source.architecture, learning.method)
    except ValueError as error:
        raise UsageError(f"{error}.") from error
    _check_timeseries_lr(learning, source)
    return learning


def _check_timeseries_lr(learning: LearningSettings, source: ModelSource) -> None:
    if learning.optimization.timeseries_lr is None:
        return
    if source.architecture.encoder is None:
        raise UsageError(
            f"--timeseries-lr is for a time-series encoder, which {source.architecture.name} does "
            "not have: leave it out."
        )
    if learning.method.finetuning_type is FinetuningType.FREEZE:
        raise UsageError(
            "--timeseries-lr has nothing to set: freeze trains the last decoder layers alone; "
            "leave it out, or take another --finetuning-type."
        )


def _tokenizer(subject: Subject, source: ModelSource) -> Path | None:
    if subject.tokenizer is None:
        return source.tokenizer
    folder = Path(subject.tokenizer)
    if not (folder / "tokenizer.json").is_file():
        raise UsageError(f"--tokenizer {folder} has no tokenizer.json.")
    return folder.resolve()


def _model_ref(
    source: ModelSource,
    learning: LearningSettings,
    named_tokenizer: str | None,
    tokenizer: Path | None,
) -> ModelRef:
    broken = damage(source.weights)
    return ModelRef(
        name=source.architecture.name,
        path=str(source.folder) if source.folder else None,
        model_type=source.architecture.model_type,
        parameters_total=total_parameters(source.architecture),
        parameters_trainable=trainable_parameters(source.architecture, learning.method),
        tokenizer=str(tokenizer) if named_tokenizer and tokenizer else None,
        config=source.config,
        has_weights=source.has_weights and broken is None,
        weights_problem=broken or source.weights.problem,
        trust_remote_code=is_granted(),
        files=_read(lambda: model_files(source.folder, source.weights)) or (),
        architecture=source.architecture,
    )


def _dataset(
    subject: Subject,
    source: ModelSource,
    learning: LearningSettings,
    tokenizer: Path | None,
    saves: Path,
    progress: Callable[[int, int, int], None] | None,
) -> DatasetRef:
    """The dataset with its lengths; without a dataset, every sample is cutoff_len long."""
    if subject.rows is not None:
        return subject.rows
    dataset = subject.dataset
    if dataset is None and subject.model in (None, DEFAULT_MODEL):
        dataset = DataSource(paths=(str(sample_dataset()),))
    if dataset is None:
        return no_dataset(learning.data.cutoff_len)
    first, *further = (Path(path) for path in dataset.paths)
    own = plan_folder(
        saves, source.architecture.name, str(source.folder) if source.folder else None
    )
    dropped_file = own / f"dropped-{slug(first.stem)}.txt"
    found = length_summary(
        ReadJob(
            source=dataset,
            cutoff_len=learning.data.cutoff_len,
            encoder=source.architecture.encoder,
            tokenizer_folder=None if tokenizer is None else str(tokenizer),
            loss_on=learning.data.loss_on,
        ),
        on_bad=subject.on_bad_rows,
        dropped_file=dropped_file,
        progress=progress,
    )
    return DatasetRef(
        name=first.stem,
        path=str(first.resolve()),
        further=tuple(str(path.resolve()) for path in further),
        columns=dataset.columns,
        lengths=found,
        on_bad_rows=subject.on_bad_rows,
        dropped_file=str(dropped_file) if dropped_file.is_file() else None,
        seen=_read(lambda: seen_dataset([path.resolve() for path in (first, *further)])),
    )


def _read(look: Callable[[], Seen]) -> Seen | None:
    """What a look at files finds; None if one cannot be read, which the worker will say."""
    try:
        return look()
    except OSError:
        return None
