"""``tsplanner serve``: the page "Will it fit?" and answers as JSON, or a page that follows runs."""

from __future__ import annotations

import argparse
import json
import webbrowser
from pathlib import Path

from tsplanner.commands.inputs.values import path, port
from tsplanner.commands.page.server import PageOf, Server
from tsplanner.errors import EXIT_OK, TsplannerError
from tsplanner.processes.signals import signals_as_interrupts

EPILOG = """examples:
  tsplanner serve                        the page in your browser, until Ctrl-C
  tsplanner serve --no-browser --port 8765
  tsplanner serve saves/my-model/lora/20261129-1      follows a run or a search while it goes on
  tsplanner serve saves                               all runs, and those at work first

The page's address holds a token, which programs send with a question:
  curl -H "Authorization: Bearer TOKEN" -H "Content-Type: application/json" \\
    -d '{"given": {"model": "qwen2.5-7b", "gpus": "RTX 4090"}}' http://127.0.0.1:8765/api/plan
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb."""
    parser.add_argument(
        "folder",
        nargs="?",
        type=path,
        metavar="FOLDER",
        help="a run folder, or a folder of runs such as saves: a page of its progress and report, "
        'which follows it and changes nothing there [the page "Will it fit?"]',
    )
    parser.add_argument(
        "--port",
        type=port,
        default=8765,
        metavar="N",
        help="port of this machine alone; 0: a free one [%(default)s]",
    )
    parser.add_argument(
        "--no-browser", action="store_true", help="print the address and open nothing"
    )
    parser.add_argument("--json", action="store_true", help="the address as one JSON document")


def from_arguments(options: argparse.Namespace) -> int:
    """Run the verb from parsed flags."""
    return run(
        number=options.port,
        opens=not options.no_browser,
        as_json=options.json,
        folder=options.folder,
    )


def run(*, number: int, opens: bool, as_json: bool, folder: Path | None = None) -> int:
    """Serve the page on loopback until somebody ends it; 0 then.

    ``folder``: of a run or of runs, which the page follows. Raises TsplannerError: the port is
    taken, or there is no such folder and none that it could come to be in.
    """
    title, page = ("Will it fit?", None) if folder is None else following(folder)
    try:
        server = Server(number, page)
    except OSError as error:
        raise TsplannerError(
            f"Port {number} cannot be listened on ({error.strerror}): give another --port, or 0 "
            "for a free one."
        ) from error
    words = f"{title}  {server.address}   (Ctrl-C ends it; only this machine can reach it)"
    print(json.dumps({"address": server.address}) if as_json else words, flush=True)
    if opens and not as_json:
        webbrowser.open(server.address)
    try:
        with server, signals_as_interrupts():
            server.serve_forever()
    except KeyboardInterrupt:
        pass  # the way in which this verb ends
    return EXIT_OK


def following(folder: Path) -> tuple[str, PageOf]:
    """What the terminal says of the page of a folder, and the page.

    Raises TsplannerError: it is no folder, and none that a run could make.
    """
    from tsplanner.commands.page.live import LivePage  # what the page "Will it fit?" does without

    if not folder.is_dir() and (folder.exists() or not folder.parent.is_dir()):
        raise TsplannerError(
            f"{folder} is no folder: name a run folder, such as saves/<model>/<method>/<date>-<n>, "
            "or the folder of all runs."
        )
    try:
        begun = folder.is_dir() and any(folder.iterdir())
    except OSError as error:
        raise TsplannerError(f"{folder} cannot be read ({error.strerror}).") from error
    return f"{folder}{'' if begun else ' (nothing there yet)'}", LivePage(folder)
