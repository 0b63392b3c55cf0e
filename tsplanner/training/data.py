"""The rows of a plan, split into training rows and held-out rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from memory_models.architecture import TimeSeriesEncoder
from memory_models.frozen import frozen
from tsplanner.datasets.records import Conversation
from tsplanner.datasets.rendering.choice import renderer
from tsplanner.datasets.rows.readers import read_conversations
from tsplanner.datasets.split import held_out_places
from tsplanner.errors import TsplannerError
from tsplanner.planner.plan import Plan
from tsplanner.training.batches import (
    EncodedSample,
    encode_row,
    encoder_of,
    longest_batch,
)

T = TypeVar("T")


@frozen
class SplitRows:
    """Encoded rows; ``validation`` is never trained on."""

    train: list[EncodedSample]
    validation: list[EncodedSample]


def split(rows: Sequence[T], fraction: float, seed: int) -> tuple[list[T], list[T]]:
    """Training rows and held-out rows, each in file order; the draw depends only on the seed."""
    held_out = held_out_places(len(rows), fraction, seed)
    train = [row for index, row in enumerate(rows) if index not in held_out]
    return train, [rows[index] for index in sorted(held_out)]


def load_rows(plan: Plan, tokenizer: Any | None, config: Any) -> SplitRows:
    """Read, encode and split the plan's dataset; raises TsplannerError as ``encoded_rows``."""
    return split_rows(encoded_rows(plan, tokenizer, config), plan)


def split_rows(encoded: list[EncodedSample], plan: Plan) -> SplitRows:
    """Split encoded rows by the plan's fraction and seed."""
    learning = plan.learning
    train, validation = split(encoded, learning.data.validation_fraction, learning.data.split_seed)
    return SplitRows(train=train, validation=validation)


def held_out_rows(
    plan: Plan, tokenizer: Any, config: Any, count: int
) -> Iterator[tuple[Conversation, EncodedSample]]:
    """The held-out ones of a dataset's ``count`` usable rows, also as they were read.

    The file is read anew, since training keeps no conversations, and only as far as it is asked
    for. Raises TsplannerError as ``encoded_rows``.
    """
    learning = plan.learning.data
    _, places = split(range(count), learning.validation_fraction, learning.split_seed)
    held_out = set(places)
    for place, pair in enumerate(_kept_rows(plan, tokenizer, config)):
        if place in held_out:
            yield pair


def encoded_rows(plan: Plan, tokenizer: Any | None, config: Any) -> list[EncodedSample]:
    """Read and encode the plan's dataset.

    Raises TsplannerError if the plan names no dataset or no tokenizer, or if no row is left.
    """
    if plan.dataset.source is None:
        raise TsplannerError("The plan names no dataset: make it again with --dataset FILE.")
    if tokenizer is None:
        raise TsplannerError(
            f"{plan.model.name} has no tokenizer: make the plan again with --tokenizer FOLDER."
        )
    encoded = [found for _, found in _kept_rows(plan, tokenizer, config)]
    if not encoded:
        raise TsplannerError(
            f"No row of {plan.dataset.path} is left at cutoff_len {plan.learning.data.cutoff_len}: "
            "raise --cutoff-len."
        )
    return encoded


def _kept_rows(
    plan: Plan, tokenizer: Any, config: Any
) -> Iterator[tuple[Conversation, EncodedSample]]:
    """The rows of the plan's dataset that are trained on or held out, in the order of the file."""
    folder = plan.model.tokenizer or plan.model.path
    rendering = renderer(
        Path(folder) if folder else None,
        has_encoder=getattr(config, "ts", None) is not None,
        loss_on=plan.learning.data.loss_on,
    )
    source, encoder = plan.dataset.source, series_encoder(config)
    assert source is not None  # `encoded_rows` says what is missing
    rows = read_conversations(
        source,
        encoder=encoder,
        on_bad=plan.dataset.on_bad_rows,
        text_only=encoder is None,
    )
    encode, cutoff = encoder_of(tokenizer), plan.learning.data.cutoff_len
    for row in rows:
        found = encode_row(row, rendering, encode, cutoff_len=cutoff)
        if found is not None:
            yield row, found


def series_encoder(config: Any) -> TimeSeriesEncoder | None:
    """The shape of a model's time-series encoder for the checks of the dataset."""
    ts = getattr(config, "ts", None)
    if ts is None:
        return None
    return TimeSeriesEncoder(
        patch_size=ts["patch_size"],
        num_layers=ts["num_layers"],
        hidden_size=ts["hidden_size"],
        max_sequence_length=ts.get("max_sequence_length", ts.get("max_length", 32768)),
        use_position_embedding=bool(ts.get("use_position_embedding", False)),
    )


def probe_batches(plan: Plan, config: Any, micro_batches: int) -> list[dict[str, Tensor]]:
    """``micro_batches`` micro-batches of the plan's longest length for every process."""
    batch = longest_batch(
        config,
        micro_batch_size=plan.hardware.batch.micro_batch_size,
        sequence_length=plan.sequence_length,
        series_patches=plan.dataset.series_patches(plan.sequence_length),
        seed=plan.learning.seed,
    )
    return [batch] * (micro_batches * plan.hardware.sharding.world_size)
