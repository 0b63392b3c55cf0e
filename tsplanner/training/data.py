"""The rows of a plan, split into training rows and held-out rows."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from memory_models.architecture import TimeSeriesEncoder
from memory_models.frozen import frozen
from tsplanner.datasets.records import Conversation, ReadJob
from tsplanner.datasets.split import held_out_places
from tsplanner.datasets.store.build import rows_store, stored
from tsplanner.datasets.tokens.library import prepared
from tsplanner.datasets.tokens.reading import KeptRow, RowReader
from tsplanner.datasets.tokens.tokenizer import tokenizer_over
from tsplanner.errors import TsplannerError
from tsplanner.planner.packing import full_pass
from tsplanner.planner.plan import Plan
from tsplanner.training.batches import EncodedSample, labels_of, longest_batch, samples_of
from tsplanner.training.packing.batch import laid_end_to_end
from tsplanner.training.stored_rows import RowsAt, StoredRows

Beat = Callable[[str], None]


@frozen
class SplitRows:
    """Encoded rows; ``validation`` is never trained on."""

    train: Sequence[EncodedSample]
    validation: Sequence[EncodedSample]


def load_rows(
    plan: Plan, tokenizer: Any | None, config: Any, *, beat: Beat = lambda _: None
) -> SplitRows:
    """The rows of the plan's dataset, split; raises TsplannerError as ``stored_rows``."""
    return split_rows(stored_rows(plan, tokenizer, config, beat=beat), plan)


def split_rows(rows: StoredRows, plan: Plan) -> SplitRows:
    """Training rows and held-out rows by the plan's fraction and seed, each in file order."""
    learning = plan.learning.data
    held_out = held_out_places(len(rows), learning.validation_fraction, learning.split_seed)
    trained = np.ones(len(rows), np.bool_)
    trained[list(held_out)] = False
    return SplitRows(
        train=RowsAt(rows, np.flatnonzero(trained)),
        validation=RowsAt(rows, np.flatnonzero(~trained)),
    )


def held_out_rows(
    plan: Plan, tokenizer: Any, config: Any, count: int
) -> Iterator[tuple[Conversation, EncodedSample]]:
    """The held-out ones of a dataset's ``count`` usable rows, also as they were read.

    The file is read anew, since training keeps no conversations, and only as far as it is asked
    for. Raises TsplannerError as ``stored_rows``.
    """
    learning = plan.learning.data
    held_out = held_out_places(count, learning.validation_fraction, learning.split_seed)
    for place, row in enumerate(kept_rows(plan, tokenizer, config)):
        if place in held_out:
            yield row.row, encoded(row)


def kept_rows(plan: Plan, tokenizer: Any, config: Any) -> Iterator[KeptRow]:
    """The usable rows of a plan's dataset in file order, read no further than they are asked for.

    Raises TsplannerError as ``stored_rows``.
    """
    document, job = tokenizer_document(tokenizer), read_job(plan, config)
    library = prepared(importlib.import_module("tokenizers").Tokenizer.from_str(document.decode()))
    reader = RowReader(job, tokenizer_over(library, document))
    yield from (row for row in reader.rows(reader.raw.rows()) if isinstance(row, KeptRow))


def encoded(row: KeptRow) -> EncodedSample:
    """A row as it is trained on."""
    columns = stored(row)
    ids = np.array(columns.ids)
    labels = labels_of(ids, columns.learned)
    return EncodedSample(input_ids=ids, labels=labels, series=columns.series)


def stored_rows(
    plan: Plan, tokenizer: Any | None, config: Any, *, beat: Beat = lambda _: None
) -> StoredRows:
    """The rows of the plan's dataset, tokenised once and kept for later runs.

    ``beat`` is called with a sentence now and then while they are tokenised.

    Raises TsplannerError if the plan names no dataset or no tokenizer, if no row is left, or if the
    state folder has no room for the tokens.
    """
    if plan.dataset.source is None:
        raise TsplannerError("The plan names no dataset: make it again with --dataset FILE.")
    if tokenizer is None:
        raise TsplannerError(
            f"{plan.model.name} has no tokenizer: make the plan again with --tokenizer FOLDER."
        )
    folder, key = rows_store(
        read_job(plan, config),
        tokenizer_document(tokenizer),
        on_bad=plan.dataset.on_bad_rows,
        beat=beat,
    )
    return StoredRows(folder, key)


def read_job(plan: Plan, config: Any) -> ReadJob:
    """What is read for a plan, and how."""
    source, folder = plan.dataset.source, plan.model.tokenizer or plan.model.path
    assert source is not None  # `stored_rows` says what is missing
    return ReadJob(
        source=source,
        cutoff_len=plan.learning.data.cutoff_len,
        encoder=series_encoder(config),
        tokenizer_folder=folder,
        loss_on=plan.learning.data.loss_on,
    )


def tokenizer_document(tokenizer: Any) -> bytes:
    """A tokenizer of transformers as the bytes of a tokenizer.json.

    Raises TsplannerError: it is written in Python, and has none.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise TsplannerError(
            f"{type(tokenizer).__name__} has no tokenizer.json: convert it to a fast tokenizer "
            "(AutoTokenizer.from_pretrained(FOLDER, use_fast=True).save_pretrained(FOLDER))."
        )
    document: str = tokenizer.backend_tokenizer.to_str()
    return document.encode()


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
    if plan.hardware.batch.is_packed:
        batch = laid_end_to_end(probe_rows(plan, config), pad_id=0)
    else:
        batch = _longest(plan, config)
    return [batch] * (micro_batches * plan.hardware.sharding.world_size)


def probe_rows(plan: Plan, config: Any) -> list[EncodedSample]:
    """The rows of one such micro-batch; packed, usual rows that fill a pass."""
    layout = plan.hardware.batch
    if not layout.is_packed:
        return samples_of(_longest(plan, config))
    share = plan.dataset.patches_of(layout) / plan.sequence_length
    found = []
    for number, length in enumerate(full_pass(plan.dataset.lengths, layout)):
        batch = longest_batch(
            config,
            micro_batch_size=1,
            sequence_length=length,
            series_patches=round(share * length),
            seed=plan.learning.seed + number,
        )
        found += samples_of(batch)
    return found


def _longest(plan: Plan, config: Any) -> dict[str, Tensor]:
    return longest_batch(
        config,
        micro_batch_size=plan.hardware.batch.micro_batch_size,
        sequence_length=plan.sequence_length,
        series_patches=plan.dataset.series_patches(plan.sequence_length),
        seed=plan.learning.seed,
    )
