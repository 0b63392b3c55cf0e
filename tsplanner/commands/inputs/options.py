"""Flags that several verbs share. A flag carries the name of the field it sets."""

from __future__ import annotations

import argparse

from tsplanner.commands.inputs.values import (
    memory_size,
    path,
    path_text,
    positive,
    positive_float,
)
from tsplanner.datasets.records import DataSource
from tsplanner.errors import UsageError
from tsplanner.runs import SAVES


class Added(argparse.Action):
    """A flag that adds up where it is repeated: two ``--gpus`` describe one machine."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        """Add the value to those before it."""
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, values if before is None else f"{before} + {values}")


def add_subject(parser: argparse.ArgumentParser) -> None:
    """Model, data and machine."""
    group = parser.add_argument_group("what and where")
    group.add_argument(
        "--model", metavar="NAME", help="folder, config.json, preset or hub id [tiny-chatts]"
    )
    group.add_argument(
        "--dataset",
        type=path_text,
        nargs="+",
        action="extend",
        metavar="FILE",
        help="files or folders of training rows [none: full-length rows; tiny-chatts: a sample]",
    )
    group.add_argument(
        "--columns",
        metavar="PAIRS",
        help="your names of the fields: prompt=instruction,answer=reply [found by name]",
    )
    group.add_argument(
        "--tokenizer",
        type=path_text,
        metavar="FOLDER",
        help="folder of another tokenizer [the model's own]",
    )
    group.add_argument(
        "--on-bad-rows",
        choices=["refuse", "drop"],
        default="refuse",
        help="what to do about rows that cannot be read [%(default)s]",
    )
    group.add_argument(
        "--gpus",
        "--device",
        action=Added,
        metavar="TEXT",
        help="GPUs, such as '2x RTX 3090'; repeated flags add up [those of this machine]",
    )
    group.add_argument(
        "--machine",
        metavar="FILE",
        help="a machine file, or one that ships here: 8x-h100-80gib [this machine]",
    )
    group.add_argument(
        "--host-memory",
        type=memory_size,
        metavar="SIZE",
        help="RAM there, such as 1TiB [its own; with --gpus by a rule, printed where it decides]",
    )
    group.add_argument(
        "--nodes", type=positive, metavar="N", help="machines like that, used together [1]"
    )
    group.add_argument(
        "--node-link",
        type=positive_float,
        metavar="GBIT",
        help="network of one of them in Gbit/s [by its cards, which a note says]",
    )
    group.add_argument("--cpu", action="store_true", help="plan for the CPU despite the GPUs")


def add_plan_argument(parser: argparse.ArgumentParser) -> None:
    """--plan and --saves."""
    parser.add_argument(
        "--plan",
        type=path,
        metavar="FILE",
        help="plan.json to start from [the newest under --saves]",
    )
    add_saves_argument(parser)


def add_saves_argument(parser: argparse.ArgumentParser) -> None:
    """--saves, the folder that plans and runs are kept in."""
    parser.add_argument(
        "--saves",
        type=path,
        default=SAVES,
        metavar="FOLDER",
        help="folder of all runs [%(default)s]",
    )


def add_random_weights_argument(parser: argparse.ArgumentParser) -> None:
    """--random-weights, for a model that has none on purpose."""
    parser.add_argument(
        "--random-weights",
        action="store_true",
        help="train a model that has no weights from random ones",
    )


def add_force_argument(parser: argparse.ArgumentParser, more: str = "") -> None:
    """--force, for what starts a worker; ``more`` is what else it means to the verb."""
    parser.add_argument(
        "--force",
        action="store_true",
        help="start even where less memory is free than the plan needs, or files changed since"
        + (more and f"; {more}"),
    )


def data_source(options: argparse.Namespace) -> DataSource | None:
    """The dataset that was typed; None: none was.

    Raises UsageError: --columns is no list of pairs, or comes without a dataset.
    """
    if options.dataset is None:
        if options.columns is not None:
            raise UsageError("--columns names the fields of a dataset: add --dataset FILE.")
        return None
    if options.columns is None:
        return DataSource(paths=tuple(options.dataset))
    from tsplanner.datasets.rows.columns import parsed_columns

    return DataSource(paths=tuple(options.dataset), columns=parsed_columns(options.columns))
