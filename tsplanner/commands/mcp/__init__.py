"""``tsplanner mcp``: answers of the other verbs, over the Model Context Protocol."""

from tsplanner.commands.mcp.verb import EPILOG, add_arguments, from_arguments

__all__ = ["EPILOG", "add_arguments", "from_arguments"]
