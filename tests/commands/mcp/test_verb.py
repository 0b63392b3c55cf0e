"""``tsplanner mcp`` before a client is there."""

from __future__ import annotations

import json

import pytest

from tsplanner import install
from tsplanner.commands.mcp.verb import run
from tsplanner.errors import TsplannerError
from tsplanner.install import Extra, install_command


def test_without_the_sdk_it_is_one_sentence_with_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That works where it is printed."""
    monkeypatch.setattr(install, "missing", lambda _: ["mcp"])
    with pytest.raises(TsplannerError) as caught:
        run(as_json=False)
    assert str(caught.value) == (
        f"mcp needs mcp, which is not installed: {install_command(Extra.MCP)}."
    )


def test_the_tools_are_listed_without_the_sdk(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As one document: what a person looks at before registering it."""
    monkeypatch.setattr(install, "missing", lambda _: ["mcp"])
    assert run(as_json=True) == 0
    tools = json.loads(capsys.readouterr().out)["tools"]
    assert [tool["name"] for tool in tools] == [
        "plan",
        "estimate",
        "doctor",
        "report",
        "gpus",
        "models",
    ]
    assert "lora_rank" in tools[0]["arguments"]["properties"]
