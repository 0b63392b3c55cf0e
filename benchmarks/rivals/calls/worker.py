"""Run one rival over every case of a file, in one process.

    python worker.py RIVAL CASES.json FIGURES.json

Imports nothing of tsplanner; a rival is imported when it is first called.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from benchmarks.rivals.calls.case import Case, Rival
from benchmarks.rivals.calls.table import RIVALS


def answer(rival: Rival, case: Case) -> dict[str, object]:
    """The rival's figures for one case, or its refusal, and the seconds either took."""
    began = time.perf_counter()
    try:
        allocated, process = rival.estimate(case)
        found: dict[str, object] = {"allocated": allocated, "process": process}
    except Exception as error:  # whatever a rival raises is its answer
        found = {"refused": f"{type(error).__name__}: {error}".splitlines()[0][:160]}
    return {**found, "seconds": time.perf_counter() - began}


def main() -> None:
    """Answer every case; figures go to a file because rivals print."""
    name, source, target = sys.argv[1:]
    rival = RIVALS[name]
    version = importlib.metadata.version(rival.package)  # raises if the rival is not here
    answers = [answer(rival, case) for case in json.loads(Path(source).read_text())]
    Path(target).write_text(json.dumps({"version": version, "answers": answers}))


if __name__ == "__main__":
    main()
