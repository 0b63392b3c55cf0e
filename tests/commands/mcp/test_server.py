"""The server as a client of the SDK meets it, over the stdin and stdout of a real child."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, MCPError, StdioServerParameters, stdio_client

from tests.support.planning import environment, plan
from tsplanner.commands.mcp import server as module
from tsplanner.commands.mcp.server import result, tool_named
from tsplanner.commands.mcp.tools import TOOLS, Tool

LINE = [sys.executable, "-m", "tsplanner", "mcp"]


def ask(folder: Path, questions: Callable[[Client], Awaitable[Any]], *, mode: str = "auto") -> Any:
    """What a client that starts the server in ``folder`` makes of its answers."""

    async def run() -> Any:
        """One conversation."""
        child = StdioServerParameters(
            command=LINE[0], args=LINE[1:], env=environment(folder), cwd=folder
        )
        async with Client(stdio_client(child), mode=mode) as client:
            return await questions(client)

    return anyio.run(run)


def test_a_client_gets_the_very_documents_of_the_command_line(tmp_path: Path) -> None:
    """A plan, and the sentence for a word that the verb does not know."""
    flags = {"model": "qwen2.5-7b", "gpus": "RTX 4090", "host_memory": "64GiB"}

    async def questions(client: Client) -> Any:
        """The list, a plan, and a word that is wrong."""
        listed = [tool.name for tool in (await client.list_tools()).tools]
        fits = await client.call_tool("plan", flags)
        wrong = await client.call_tool("plan", {"modle": "qwen2.5-7b"})
        return listed, fits, wrong

    listed, fits, wrong = ask(tmp_path, questions)
    assert listed == ["plan", "estimate", "doctor", "report", "gpus", "models"]
    line = ["--model", "qwen2.5-7b", "--gpus", "RTX 4090", "--host-memory", "64GiB", "--json"]
    expected = json.loads(plan(tmp_path, *line).stdout)
    assert not fits.is_error
    assert json.loads(fits.content[0].text) == fits.structured_content
    assert expected.pop("path") == "saves/qwen2.5-7b/plan.json"
    assert fits.structured_content.pop("path") is None  # a tool stores nothing
    assert fits.structured_content == expected
    assert wrong.is_error
    assert [each.text for each in wrong.content] == ['plan takes no "modle". Did you mean "model"?']
    assert wrong.structured_content == {"error": wrong.content[0].text, "exit_status": 2}


def test_a_client_of_the_older_handshake_is_answered_too(tmp_path: Path) -> None:
    """Most clients of 2026 begin with ``initialize``."""

    async def questions(client: Client) -> Any:
        """A tool that is none, and one that is."""
        with pytest.raises(MCPError, match=r'No tool "pan". Did you mean "plan"\? Tools: plan, '):
            await client.call_tool("pan", {})
        return await client.call_tool("gpus", {"filter": "4090 D"})

    found = ask(tmp_path, questions, mode="legacy")
    assert [card["name"] for card in found.structured_content["gpus"]] == ["RTX 4090 D"]


def test_stdout_carries_the_protocol_alone_and_the_server_ends_with_its_client(
    tmp_path: Path,
) -> None:
    """With --quiet, too; status 0 once stdin is closed."""
    hello = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "by hand", "version": "1"},
        },
    }
    done = subprocess.run(
        [*LINE, "--quiet"],
        check=False,
        input=json.dumps(hello) + "\n",
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["result"]["serverInfo"]["name"] == "tsplanner"
    assert (done.returncode, done.stderr) == (0, "")


def test_what_nothing_fits_says_what_would(capsys: pytest.CaptureFixture[str]) -> None:
    """The sentence first, then the whole document, as the status 4 of the command line."""
    given = {"model": "llama-3.1-70b", "gpus": "T4", "host_memory": "8GiB"}
    found = result(tool_named("plan"), given)
    assert found.is_error
    assert found.structured_content["exit_status"] == 4
    assert found.structured_content["remedies"] != []
    assert [each.text for each in found.content] == [  # type: ignore[union-attr]
        found.structured_content["error"],
        json.dumps(found.structured_content),
    ]
    assert capsys.readouterr().out == ""


def test_a_bug_is_a_sentence_for_the_client_and_a_traceback_for_its_log(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The server goes on."""

    def broken(_: object) -> dict[str, object]:
        raise KeyError("lost")

    tool = Tool(name="gpus", title="", about="", answer=broken)
    found = result(tool, {})
    assert found.is_error
    assert found.structured_content == {
        "error": "this is a bug of tsplanner (KeyError); its log has the rest",
        "exit_status": 3,
    }
    said = capsys.readouterr()
    assert said.out == ""
    assert "KeyError: 'lost'" in said.err


def test_a_client_is_told_which_tool_writes() -> None:
    """The report alone."""
    hints = {tool.name: module.shown(tool).annotations for tool in TOOLS}
    writing = [name for name, hint in hints.items() if hint and not hint.read_only_hint]
    assert writing == ["report"]
