"""plan.json: it is written whole or not at all, and read strictly."""

from __future__ import annotations

import errno
import itertools
import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from memory_models.architecture import Role
from memory_models.estimate import MOST_BYTES
from memory_models.settings import paths
from memory_models.settings.flat import nested_values, with_fields_of_today
from tsplanner import __version__
from tsplanner.errors import TsplannerError, quoted
from tsplanner.folders.leftovers import remove_leftovers
from tsplanner.folders.newest import make_newest
from tsplanner.models import strangers
from tsplanner.models.source import preset_folder, preset_names, read_architecture
from tsplanner.planner.gather.typed import LARGEST
from tsplanner.planner.plan import SCHEMA_VERSION, Corrections, ModelRef, Plan
from tsplanner.planner.settings import HardwareSettings, LearningSettings
from tsplanner.reading import decoded, read_text
from tsplanner.runs import PLAN_FILE, clear_disk_errors, latest_plan, slug, write_text
from tsplanner.trust import is_granted

LENGTHS = {
    "longest_sequence": "longest",
    "mean_sequence": "mean",
    "length_quantiles": "quantiles",
    **{
        name: name
        for name in (
            "rows_total",
            "rows_kept",
            "longest_batch",
            "most_patches",
            "dropped",
            "mean_text",
            "histogram",
            "counted_by",
        )
    },
}
"""Fields of the dataset in version 1, with their names of today."""
FLAT_VERSION = 1
"""Schema version of plans by tsplanner 0.1, which listed all settings in two flat records."""


def plan_values(plan: Plan) -> dict[str, Any]:
    """The plan as plain values, with the versions of the schema and of the program."""
    made = {"schema_version": SCHEMA_VERSION, "tsplanner_version": __version__}
    return made | asdict(plan)


def plan_document(plan: Plan) -> str:
    """The plan as indented JSON."""
    return json.dumps(plan_values(plan), indent=2, ensure_ascii=False) + "\n"


def write_plan(plan: Plan, path: Path) -> Path:
    """Write the plan to ``path`` through a temporary name, and return the path.

    It becomes the newest of the plans in the folders beside its own, whatever the clock says.
    """
    with clear_disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent)
    write_text(path, plan_document(plan))
    make_newest(path, path.parent.parent.glob(f"*/{PLAN_FILE}"))
    return path


def plan_folder(saves: Path, name: str, model_path: str | None) -> Path:
    """The folder of a model's plan and runs: saves/<name>, or saves/<name>-2 and so on.

    Two models may share a name (a/model and b/model), and then the second gets a folder of its
    own. ``model_path`` is the model's folder; None: a bare preset.
    """
    for number in itertools.count(1):
        folder = saves / (slug(name) if number == 1 else f"{slug(name)}-{number}")
        if not _is_of_other_model(folder / PLAN_FILE, model_path):
            return folder
    raise AssertionError("the numbers have no end")


def _is_of_other_model(file: Path, model_path: str | None) -> bool:
    """Whether a plan of another model lies there; a file that is no plan may be replaced."""
    try:
        known = json.loads(file.read_text(encoding="utf-8"))["model"]["path"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
    return _same_place(known) != _same_place(model_path)


def _same_place(path: str | None) -> str | None:
    return None if path is None else os.path.realpath(path)


def folder_of_plan(saves: Path, plan: Plan) -> Path:
    """The folder of a plan and of the runs by it; see `plan_folder`."""
    return plan_folder(saves, plan.model.name, plan.model.path)


def model_word(model: ModelRef) -> str:
    """What ``--model`` takes for the model of a plan: a preset's name, or where its files are."""
    if model.path is None:
        return model.name
    folder = Path(model.path)
    if model.name in preset_names() and folder == preset_folder(model.name):
        return model.name
    bare = folder / f"{model.name}.json"
    return str(bare if bare.is_file() else folder)


def read_plan(path: Path) -> Plan:
    """Read a plan.json.

    Raises:
        TsplannerError: the file is missing, is not JSON, or has another version or wrong fields.
    """
    try:
        document = decoded(read_text(path))
    except FileNotFoundError as error:
        raise TsplannerError(f"{path} is missing; make one with tsplanner plan.") from error
    except (OSError, ValueError) as error:
        raise TsplannerError(f"{path} is not a readable plan ({error}); plan again.") from error
    if not isinstance(document, dict) or "schema_version" not in document:
        raise TsplannerError(f"{path} is not a plan of tsplanner; make one with tsplanner plan.")
    version = document["schema_version"]
    if version == FLAT_VERSION:
        try:
            document = upgraded(document)
        except (KeyError, TypeError, AttributeError) as error:
            raise TsplannerError(
                f"{path} is not a valid plan: {quoted(error)}; plan again."
            ) from error
        return _converted(path, document)
    if version != SCHEMA_VERSION:
        raise TsplannerError(
            f"{path} has schema version {quoted(version)}, this tsplanner reads {SCHEMA_VERSION}: "
            "plan again with this version."
        )
    return _converted(path, document)


def _converted(path: Path, document: dict[str, Any]) -> Plan:
    import msgspec

    try:
        plan = msgspec.convert(_with_streaming_of_today(document), Plan)
        _check(plan)
    except (msgspec.ValidationError, ValueError) as error:
        raise TsplannerError(f"{path} is not a valid plan: {error!s:.300}; plan again.") from error
    strangers.remember(plan.architecture, plan.model.config, folder=plan.model.path)
    # Whoever wrote the file has no say in what code may run here.
    return replace(plan, model=replace(plan.model, trust_remote_code=is_granted()))


ATTENTION_PARTS = (
    frozenset({Role.QKV, Role.OUTPUT}),
    frozenset({Role.QUERY, Role.KEY, Role.VALUE, Role.OUTPUT}),
)
"""The linears of attention: query, key and value in one or apart."""
MLP_PARTS = (frozenset({Role.GATE_UP, Role.DOWN}), frozenset({Role.UP, Role.DOWN}))
"""The linears of the MLP, which may have a gate of its own beside them."""


def _check(plan: Plan) -> None:
    """Refuse what no plan can hold, although each value by itself could stand.

    Raises:
        ValueError: the first contradiction.
    """
    hardware, devices = plan.hardware, plan.machine.devices
    if hardware.accelerator not in ("cuda", "cpu"):
        raise ValueError(f"the accelerator {quoted(hardware.accelerator)} is not cuda or cpu")
    if any(not 0 <= place < len(devices) for place in hardware.devices):
        raise ValueError(f"it uses GPUs {hardware.devices} of a machine with {len(devices)}")
    roles = {linear.role for linear in plan.architecture.layer.linears}
    recorded = plan.architecture.layer.recorded
    if (
        (not roles)
        if recorded
        else not any(way <= roles for way in ATTENTION_PARTS)
        or not any(way <= roles for way in MLP_PARTS)
    ):
        raise ValueError("its model lacks linears that every decoder layer has")
    for place in (plan.model.path, plan.model.tokenizer, plan.dataset.path, *plan.dataset.further):
        _check_path(place)
    for name, least in (("rows_total", 0), ("rows_kept", 0), ("longest", 1), ("mean", 0)):
        value = getattr(plan.dataset.lengths, name)
        if not least <= value <= LARGEST:
            raise ValueError(f"{name} cannot be {value}")
    times = plan.time
    figures = (times.step_seconds, times.total_seconds, times.relative_error)
    if min(figures) < 0 or max(figures) > LARGEST:
        raise ValueError(f"no run takes {times.total_seconds} s")
    if not 0 < plan.memory.process_bytes.expected <= plan.memory.process_bytes.upper < MOST_BYTES:
        raise ValueError("its memory estimate is not one")


def _check_path(place: str | None) -> None:
    try:
        os.lstat(place or ".")
    except OSError as error:
        # What is not there now may be there on another machine; what is too long never is.
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise ValueError(f"{quoted(place)} cannot be a path ({error.strerror})") from None


def upgraded(document: dict[str, Any]) -> dict[str, Any]:
    """A document of version 1, whose records were flat, as a document of this version."""
    model, dataset = document["model"], document["dataset"]
    # Plans of version 1 held no architecture, only the config that it is read from.
    found = read_architecture(model["config"], name=model["name"], source="plan")
    lengths = {LENGTHS[key]: value for key, value in dataset.items() if key in LENGTHS}
    factors = {name: document[name] for name in paths(Corrections) if name in document}
    return {
        **document,
        "schema_version": SCHEMA_VERSION,
        "model": {**model, "architecture": asdict(found)},
        "dataset": {**dataset, "lengths": lengths},
        "learning": nested_values(LearningSettings, document["learning"]),
        "hardware": nested_values(HardwareSettings, document["hardware"]),
        "corrections": factors,
    }


def _with_streaming_of_today(owner: Any) -> Any:
    """A plan or an alternative whose settings of streamed layers have the fields of today."""
    if not isinstance(owner, dict):
        return owner
    found = dict(owner)
    if "hardware" in owner:
        found["hardware"] = with_fields_of_today(owner["hardware"], "streaming")
    if isinstance(others := owner.get("alternatives"), list):
        found["alternatives"] = [_with_streaming_of_today(each) for each in others]
    return found


def find_plan(path: Path | None, saves: Path) -> tuple[Plan, Path]:
    """The plan at ``path``, or the newest one under ``saves``, and the file that it came from.

    A folder stands for the plan.json in it.

    Raises:
        TsplannerError: there is no plan, or it cannot be read.
    """
    file = latest_plan(saves) if path is None else path / "plan.json" if path.is_dir() else path
    return read_plan(file), file


def method_name(plan: Plan) -> str:
    """Name of the method's folder under saves/: ``qlora`` stands for LoRA on bitsandbytes' base.

    A base that multiplies in 8 bits goes by the method alone: nobody calls that QLoRA.
    """
    packed = plan.hardware.base.needs_bitsandbytes
    return f"{'q' if packed else ''}{plan.learning.method.finetuning_type}"
