"""Paths of the configs that ship with the package and of the state of this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def configs_folder() -> Path:
    """The folder configs/: inside an installed wheel, or at the top of a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "_configs"
    return installed if installed.is_dir() else package.parent / "configs"


def calibration_file() -> Path:
    """The file of the factors that probes measured on this machine."""
    return state_folder() / "calibration.jsonl"


def host_links_file() -> Path:
    """The file of the rates of links to the host that were measured on this machine."""
    return state_folder() / "host_links.json"


def recordings_folder() -> Path:
    """The folder of the recordings of models without a formula."""
    return state_folder() / "recordings"


def state_parts() -> dict[str, Path]:
    """Files and folders that tsplanner keeps in the state folder, by what they are of."""
    folder = state_folder()
    return {
        "corrections": calibration_file(),
        "host links": host_links_file(),
        "search times": folder / "tune_times.jsonl",
        "row lengths": folder / "lengths",
        "tokens": folder / "tokens",
        "recordings": recordings_folder(),
    }


def state_folder() -> Path:
    """The folder for measurements of this machine: $TSPLANNER_STATE or the user's state folder."""
    given = os.environ.get("TSPLANNER_STATE")
    if given:
        return Path(given).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "tsplanner"
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "tsplanner"
