"""``tsplanner mcp``: the flags, and what stands before the server."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys

from tsplanner import install
from tsplanner.errors import EXIT_OK
from tsplanner.install import Extra

PACKAGES = ("mcp", "anyio")
EPILOG = """A client starts it; in its configuration:
  {"mcpServers": {"tsplanner": {"command": "tsplanner", "args": ["mcp"]}}}

examples:
  tsplanner mcp            answer until stdin is closed; stdout carries the protocol alone
  tsplanner mcp --json     the tools with their arguments, without serving them
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb."""
    parser.add_argument(
        "--json", action="store_true", help="print the tools as one JSON document, and end"
    )


def from_arguments(options: argparse.Namespace) -> int:
    """Run the verb from parsed flags."""
    return run(as_json=options.json)


def run(*, as_json: bool) -> int:
    """Serve until the client ends it, or list the tools.

    Raises TsplannerError: the SDK is not installed.
    """
    if as_json:
        print(json.dumps(tools_document()))
        return EXIT_OK
    install.require("mcp", PACKAGES, Extra.MCP)
    from tsplanner.commands.mcp.server import serve  # the SDK is an extra

    if sys.stdin.isatty():
        print("Waiting for a client on stdin (Ctrl-C ends it): see docs/mcp.md.", file=sys.stderr)
    # The protocol needs the stream itself: it must not fold, and --quiet must not swallow it.
    with contextlib.redirect_stdout(sys.__stdout__), contextlib.suppress(KeyboardInterrupt):
        serve()
    return EXIT_OK


def tools_document() -> dict[str, object]:
    """The tools with their arguments, as plain values."""
    from tsplanner.commands.mcp.tools import TOOLS

    return {
        "tools": [
            {"name": tool.name, "description": tool.about, "arguments": tool.schema()}
            for tool in TOOLS
        ]
    }
