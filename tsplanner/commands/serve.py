"""``tsplanner serve``: the page "Will it fit?" with this machine's cards, and answers as JSON."""

from __future__ import annotations

import argparse
import json
import webbrowser

from tsplanner.commands.inputs.values import port
from tsplanner.commands.page.server import Server
from tsplanner.errors import EXIT_OK, TsplannerError
from tsplanner.processes.signals import signals_as_interrupts

EPILOG = """examples:
  tsplanner serve                        the page in your browser, until Ctrl-C
  tsplanner serve --no-browser --port 8765

The page's address holds a token, which programs send with a question:
  curl -H "Authorization: Bearer TOKEN" -H "Content-Type: application/json" \\
    -d '{"given": {"model": "qwen2.5-7b", "gpus": "RTX 4090"}}' http://127.0.0.1:8765/api/plan
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb."""
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
    return run(number=options.port, opens=not options.no_browser, as_json=options.json)


def run(*, number: int, opens: bool, as_json: bool) -> int:
    """Serve the page on loopback until somebody ends it; 0 then.

    Raises TsplannerError: the port is taken.
    """
    try:
        server = Server(number)
    except OSError as error:
        raise TsplannerError(
            f"Port {number} cannot be listened on ({error.strerror}): give another --port, or 0 "
            "for a free one."
        ) from error
    words = f"Will it fit?  {server.address}   (Ctrl-C ends it; only this machine can reach it)"
    print(json.dumps({"address": server.address}) if as_json else words, flush=True)
    if opens and not as_json:
        webbrowser.open(server.address)
    try:
        with server, signals_as_interrupts():
            server.serve_forever()
    except KeyboardInterrupt:
        pass  # the way in which this verb ends
    return EXIT_OK
