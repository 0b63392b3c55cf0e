"""``tsplanner report``: every run under saves/ on one page, and which of them may be compared."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tsplanner import runs
from tsplanner.commands.inputs.options import add_saves_argument
from tsplanner.commands.inputs.values import path
from tsplanner.commands.views.screen import Screen
from tsplanner.console import columns, width
from tsplanner.errors import EXIT_OK
from tsplanner.report.files import Format, Wanted, now, write_report
from tsplanner.report.messages.translate import Language, translate
from tsplanner.report.records.read_runs import read_runs
from tsplanner.report.records.recorded import recorded_runs
from tsplanner.report.records.run_record import Found, LeftOut, RunSummary
from tsplanner.report.runs_table import document as run_document
from tsplanner.report.runs_table import markdown, short_list
from tsplanner.report.sections.comparisons import documents as comparison_documents
from tsplanner.report.sections.overview import left_out_words

EPILOG = """examples:
  tsplanner report
  tsplanner report --saves saves/chatts-14b --format html --language zh --output handed-on
  tsplanner report --experiments      the recorded runs of configs/experiments beside one's own
"""

FORMATS = {"html": (Format.HTML,), "md": (Format.MARKDOWN,), "both": tuple(Format)}
LANGUAGES = {"en": (Language.EN,), "zh": (Language.ZH,), "both": tuple(Language)}
SHIPPED = "configs/experiments"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.epilog = EPILOG
    add_saves_argument(parser)
    parser.add_argument(
        "--format", choices=FORMATS, default="both", help="kind of the files [%(default)s]"
    )
    parser.add_argument(
        "--language", choices=LANGUAGES, default="both", help="of the pages [%(default)s]"
    )
    parser.add_argument(
        "--output", type=path, metavar="FOLDER", help="where the files go [the saves folder]"
    )
    parser.add_argument(
        "--experiments",
        nargs="?",
        const=SHIPPED,
        metavar="FOLDER",
        help="show recorded runs, too, of FOLDER or those that come with tsplanner [none]",
    )
    parser.add_argument("--no-plots", action="store_true", help="write no loss.svg into the runs")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def from_arguments(namespace: argparse.Namespace) -> int:
    """Call `run` with what was parsed."""
    return run(
        saves=namespace.saves,
        wanted=wanted_from(namespace),
        experiments=namespace.experiments,
        as_json=namespace.json,
    )


def wanted_from(namespace: argparse.Namespace) -> Wanted:
    """Which files were asked for."""
    return Wanted(
        output=namespace.output or namespace.saves,
        formats=FORMATS[namespace.format],
        languages=LANGUAGES[namespace.language],
        pictures=not namespace.no_plots,
    )


def run(
    *,
    saves: Path = runs.SAVES,
    wanted: Wanted | None = None,
    experiments: str | None = None,
    as_json: bool = False,
) -> int:
    """Write the report's files; print the table and where they are.

    ``experiments`` is a folder of recorded runs; SHIPPED means those that come with tsplanner.
    Raises TsplannerError if ``saves`` does not exist, unless recorded runs are shown.
    """
    found, paths = written(saves, wanted, experiments)
    if as_json:
        print(json.dumps(document(found, paths), indent=2))
        return EXIT_OK
    print(runs_text(found.runs) if found.runs else "No finished run yet.\n", end="")
    for each in found.runs:
        if each.random_weights is not None:
            words = f"RANDOM WEIGHTS   {each.name}: {each.random_weights}"
            Screen().line(words, "bold red")
    for left_out in found.left_out:
        print(f"left out  {translate(left_out_words(left_out), Language.EN)}", file=sys.stderr)
    print(f"Written to {', '.join(str(path) for path in paths)}")
    return EXIT_OK


def written(
    saves: Path, wanted: Wanted | None = None, experiments: str | None = None
) -> tuple[Found, list[Path]]:
    """The runs, and the files of the report that were written; see `run`."""
    found = found_runs(saves, experiments)
    return found, write_report(found, saves, wanted or Wanted(output=saves), when=now())


def runs_text(shown: Sequence[RunSummary]) -> str:
    """The runs as a table, or as a list on a terminal that is narrower than the table."""
    table = markdown(shown)
    fits = not sys.stdout.isatty() or width(table.partition("\n")[0]) <= columns(sys.stdout)
    return table if fits else short_list(shown)


def found_runs(saves: Path, experiments: str | None) -> Found:
    """The runs under ``saves``, then the recorded runs if ``experiments`` asks for them."""
    if experiments is None:
        return read_runs(saves)
    recorded = recorded_runs(None if experiments == SHIPPED else Path(experiments))
    own = read_runs(saves) if saves.is_dir() else Found(runs=())
    return Found(runs=(*own.runs, *recorded), left_out=own.left_out)


def document(found: Found, paths: list[Path]) -> dict[str, object]:
    """The report as plain values, and where its files are."""

    def reason(left_out: LeftOut) -> dict[str, str]:
        return asdict(left_out) | {"key": left_out.key.removeprefix("left_out_")}

    return {
        "runs": [run_document(each) for each in found.runs],
        "left_out": [reason(each) for each in found.left_out],
        "comparisons": comparison_documents(found.runs),
        "report": str(paths[0]),
        "files": [str(path) for path in paths],
    }
