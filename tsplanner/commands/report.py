"""``tsplanner report``: every run under saves/ in one table, and its loss curve."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tsplanner import runs
from tsplanner.errors import EXIT_OK
from tsplanner.report.curves import write_curve
from tsplanner.report.runs_table import REPORT_FILE, documents, markdown, run_folders, run_row

EPILOG = """examples:
  tsplanner report
  tsplanner report --saves saves/chatts-14b --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    parser.add_argument(
        "--saves", type=Path, default=runs.SAVES, metavar="FOLDER", help="[%(default)s]"
    )
    parser.add_argument("--no-plots", action="store_true", help="leave the loss curves out")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def from_arguments(namespace: argparse.Namespace) -> int:
    """Call `run` with what was parsed."""
    return run(saves=namespace.saves, plots=not namespace.no_plots, as_json=namespace.json)


def run(*, saves: Path = runs.SAVES, plots: bool = True, as_json: bool = False) -> int:
    """Write <saves>/report.md and a loss.png a run; print the table."""
    folders = run_folders(saves)
    rows = [row for folder in folders if (row := run_row(folder, saves)) is not None]
    text = markdown(rows) if rows else "No finished run yet.\n"
    runs.write_text(saves / REPORT_FILE, f"# Runs under {saves}\n\n{text}")
    if plots:
        for row in rows:
            write_curve(saves / row.run, row.run)
    if as_json:
        print(json.dumps({"runs": documents(rows), "report": str(saves / REPORT_FILE)}, indent=2))
    else:
        print(text, end="")
        print(f"Written to {saves / REPORT_FILE}")
    return EXIT_OK
