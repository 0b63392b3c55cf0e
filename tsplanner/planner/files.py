"""plan.json: written whole or not at all, read strictly."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from tsplanner.errors import TsplannerError
from tsplanner.planner.plan import SCHEMA_VERSION, Plan
from tsplanner.runs import clear_disk_errors, latest_plan, write_text


def plan_document(plan: Plan) -> str:
    """The plan as indented JSON."""
    return json.dumps(asdict(plan), indent=2, ensure_ascii=False) + "\n"


def write_plan(plan: Plan, path: Path) -> Path:
    """Write ``plan`` to ``path`` through a temporary name; returns the path."""
    with clear_disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, plan_document(plan))
    return path


def read_plan(path: Path) -> Plan:
    """Read a plan.json.

    Raises:
        TsplannerError: missing, not JSON, of another schema version, or with wrong fields.
    """
    import msgspec  # 30 ms that writing a plan need not wait for

    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TsplannerError(f"{path} is missing; make one with tsplanner plan.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise TsplannerError(f"{path} is no readable plan ({error}); plan again.") from error
    if not isinstance(document, dict) or "schema_version" not in document:
        raise TsplannerError(f"{path} is no plan of tsplanner; make one with tsplanner plan.")
    version = document["schema_version"]
    if version != SCHEMA_VERSION:
        raise TsplannerError(
            f"{path} has schema version {version!r}, this tsplanner reads {SCHEMA_VERSION}: "
            "plan again with this version."
        )
    try:
        return msgspec.convert(document, Plan)
    except (msgspec.ValidationError, ValueError) as error:
        raise TsplannerError(f"{path} is no valid plan: {error}; plan again.") from error


def find_plan(path: Path | None, saves: Path) -> tuple[Plan, Path]:
    """The plan named, or the newest one, and the file it came from.

    A folder stands for the plan.json in it. Raises TsplannerError if there is none.
    """
    file = latest_plan(saves) if path is None else path / "plan.json" if path.is_dir() else path
    return read_plan(file), file


def method_name(plan: Plan) -> str:
    """The method's folder under saves/: qlora for LoRA on a quantised base."""
    quantised = plan.hardware.quantization is not None
    return f"{'q' if quantised else ''}{plan.learning.finetuning_type}"
