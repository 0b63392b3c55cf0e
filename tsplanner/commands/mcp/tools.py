"""The tools that ``tsplanner mcp`` serves: verbs whose answer is a document, without their words.

A tool takes the flags of its verb as arguments and answers with the document of ``--json``. None of
them writes, but for the report's own files; none runs the code of a model.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from memory_models.frozen import frozen
from tsplanner.commands import doctor, gpus, models, report
from tsplanner.commands.estimate import estimated
from tsplanner.commands.inputs.keywords import NOT_OF_A_SERVER, keywords, options, words
from tsplanner.commands.inputs.verbs import calling, verb_parser
from tsplanner.commands.mcp.schema import tool_schema
from tsplanner.commands.parts.documents import document_of
from tsplanner.commands.plan import planned
from tsplanner.errors import UsageError, did_you_mean, named


@frozen
class Tool:
    """A verb as a tool."""

    name: str
    """Of the verb."""
    title: str
    about: str
    """What it answers, for whoever chooses a tool."""
    answer: Callable[[argparse.Namespace], dict[str, Any]]
    """The document of ``--json`` for the verb's parsed flags."""
    without: frozenset[str] = frozenset()
    """Flags that the tool does not take."""
    writes: bool = False

    def schema(self) -> dict[str, Any]:
        """JSON Schema of the arguments."""
        return tool_schema(self.arguments())

    def arguments(self) -> dict[str, argparse.Action]:
        """The verb's flags by keyword, and the word that it takes without a flag, by its name."""
        parser = verb_parser(self.name)
        known = _bare_words(parser) | keywords(parser, self.without)
        # Of two names for one flag the first: a program needs no second one.
        return {
            name: action
            for place, (name, action) in enumerate(known.items())
            if action not in list(known.values())[:place]
        }

    def call(self, given: dict[str, Any]) -> tuple[dict[str, Any], int]:
        """The answer to arguments by name, or its ``error``; and the exit status of the verb."""
        return document_of(lambda: self._answered(given))

    def _answered(self, given: dict[str, Any]) -> dict[str, Any]:
        known = self.arguments()
        for name in given:
            if name not in known:
                raise UsageError(f"{self.name} takes no {named(name)}.{did_you_mean(name, known)}")
        bare = _bare_words(verb_parser(self.name))
        flags = {name: value for name, value in given.items() if name not in bare}
        line = words(self.name, flags, self.without)
        if texts := [str(given[name]) for name in bare if given.get(name) is not None]:
            line += ["--", *texts]  # after it no word is a flag, whatever it begins with
        parsed = options(self.name, line)
        with calling(parsed):
            return self.answer(parsed)


def _bare_words(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """What a verb takes without a flag, by name."""
    return {each.dest: each for each in parser._actions if not each.option_strings}


def _report(namespace: argparse.Namespace) -> dict[str, Any]:
    found, paths = report.written(
        namespace.saves, report.wanted_from(namespace), namespace.experiments
    )
    return report.document(found, paths)


TOOLS = (
    Tool(
        name="plan",
        title="Plan a fine-tuning run",
        about=(
            "The fastest settings with which a language model can be fine-tuned on given GPUs, or "
            "on this machine: verdict, memory with its 95 % bound, seconds of a step, alternatives "
            "with the reason why each lost, refusals, advice; where nothing fits, what would. "
            "Nothing is stored: the command line `tsplanner plan` with the same flags does that."
        ),
        answer=lambda namespace: planned(namespace).document(),
        without=NOT_OF_A_SERVER,
    ),
    Tool(
        name="estimate",
        title="Estimate memory",
        about=(
            "Bytes of one training step of one configuration, per process, each with its 95 % "
            "bound, and the parts of the peak. Nothing is chosen: plan finds settings."
        ),
        answer=lambda namespace: dict(estimated(namespace).document),
        without=frozenset({"cases", "trust_remote_code"}),
    ),
    Tool(
        name="doctor",
        title="Check this machine",
        about="Which parts of the training environment work here, and how to fix the rest.",
        answer=lambda namespace: doctor.checked(namespace.purpose).document(),
    ),
    Tool(
        name="report",
        title="Report on finished runs",
        about=(
            "Every finished run under a saves folder: settings, losses, memory and time predicted "
            "beside measured, and which runs may be compared. Writes the report's pages there."
        ),
        answer=_report,
        without=frozenset({"output"}),
        writes=True,
    ),
    Tool(
        name="gpus",
        title="List GPUs",
        about="Cards and rented machines that `gpus` of plan and estimate knows, with datasheets.",
        answer=lambda namespace: gpus.document(namespace.filter),
    ),
    Tool(
        name="models",
        title="List models",
        about="Models and families that `model` of plan and estimate knows, how they are sized.",
        answer=lambda namespace: models.document(namespace.filter),
    ),
)
