"""The tools over stdin and stdout, by the official SDK of the Model Context Protocol.

Imported where the verb runs, and nowhere else: the SDK is an extra.
"""

from __future__ import annotations

import json
import sys
import traceback

import anyio
import anyio.to_thread
from mcp.server import Server
from mcp.server.context import ServerRequestContext
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    ToolAnnotations,
)
from mcp_types import Tool as ToolShown

from tsplanner import __version__
from tsplanner.commands.mcp.tools import TOOLS, Tool
from tsplanner.errors import EXIT_BUG, EXIT_OK, did_you_mean, named

INSTRUCTIONS = (
    "Plans the fine-tuning of language models: what fits a GPU, which settings are fastest, and "
    "how long it takes. Arguments are the flags of the command line with underscores; a default "
    "stands in brackets, and what is left out is chosen. Sizes in answers are bytes, times are "
    "seconds. Every error is one sentence that says how to mend the call."
)


def serve() -> None:
    """Answer until the client closes stdin."""
    anyio.run(_serve)


async def _serve() -> None:
    served = server()
    async with stdio_server() as (incoming, outgoing):
        await served.run(incoming, outgoing, served.create_initialization_options())


def server() -> Server:
    """The server, for any transport."""
    one_at_a_time = anyio.CapacityLimiter(1)  # answers share caches

    async def call_tool(_: ServerRequestContext, params: CallToolRequestParams) -> CallToolResult:
        """The answer of a tool, found beside the loop that reads from the client."""
        tool = tool_named(params.name)
        given = params.arguments or {}
        # The thread is left behind when the client takes its question back.
        return await anyio.to_thread.run_sync(
            lambda: result(tool, given), abandon_on_cancel=True, limiter=one_at_a_time
        )

    return Server(
        "tsplanner",
        version=__version__,
        title="tsplanner",
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


async def list_tools(_: ServerRequestContext, __: PaginatedRequestParams | None) -> ListToolsResult:
    """All tools, on one page."""
    return ListToolsResult(tools=[shown(tool) for tool in TOOLS])


def shown(tool: Tool) -> ToolShown:
    """A tool as a client sees it."""
    return ToolShown(
        name=tool.name,
        title=tool.title,
        description=tool.about,
        input_schema=tool.schema(),
        output_schema={"type": "object"},
        annotations=ToolAnnotations(
            title=tool.title,
            read_only_hint=not tool.writes,
            destructive_hint=False,
            idempotent_hint=True,
            open_world_hint="model" in tool.arguments(),  # a hub id is asked of the hub
        ),
    )


def tool_named(name: str) -> Tool:
    """A tool by its name. Raises MCPError: there is none, with what was meant."""
    for tool in TOOLS:
        if tool.name == name:
            return tool
    known = [tool.name for tool in TOOLS]
    hint = did_you_mean(name, known)
    raise MCPError(INVALID_PARAMS, f"No tool {named(name)}.{hint} Tools: {', '.join(known)}.")


def result(tool: Tool, given: dict[str, object]) -> CallToolResult:
    """The answer of a tool: its document, and the same as text."""
    try:
        document, exit_status = tool.call(given)
    except Exception as error:
        # Stderr is the client's log; the answer says what a person can look for there.
        traceback.print_exc(file=sys.stderr)
        exit_status = EXIT_BUG
        document = {
            "error": f"this is a bug of tsplanner ({type(error).__name__}); its log has the rest",
            "exit_status": exit_status,
        }
    texts = [str(document["error"])] if "error" in document else []
    if document.keys() - {"error", "exit_status"}:
        texts.append(json.dumps(document))
    return CallToolResult(
        content=[TextContent(text=text) for text in texts],
        structured_content=document,
        is_error=exit_status != EXIT_OK,
    )
