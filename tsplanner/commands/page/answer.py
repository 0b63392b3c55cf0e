"""What the page asks and what it is told: plain values in, plain values out, no file needed.

The same functions answer in a browser (compiled to WebAssembly with the interpreter) and behind
``tsplanner serve``, so the bytes are those of the command line whose flags the page sets.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from functools import cache

from memory_models.device import Device
from memory_models.settings import TrainingSettings, flat
from tsplanner import __version__
from tsplanner.commands.estimate import given_values
from tsplanner.commands.inputs.keywords import options, words
from tsplanner.console import command, one_line
from tsplanner.errors import TsplannerError, UsageError, shortened
from tsplanner.hardware.describe import parse_gpus
from tsplanner.hardware.gpus.cards import CATALOG
from tsplanner.models.config import NoReaderError
from tsplanner.models.source import ModelSource, preset_names, read_architecture, read_model
from tsplanner.models.weights import WeightFiles
from tsplanner.planner.gather.cases import case_keys, read_case
from tsplanner.planner.gather.typed import members
from tsplanner.planner.plan import verdict_of
from tsplanner.reading import decoded
from tsplanner.tracing.estimates import by_formula

NOT_OF_THE_PAGE = frozenset({"cases", "deepspeed", "trace", "hybrid_kernels", "trust_remote_code"})
"""Flags of ``estimate`` that read files or run a model's code."""
PASTED = "config.json"
"""Name of a pasted config: the command line finds it where a person saves it."""
FIRST: dict[str, object] = {
    "model": "qwen2.5-7b",
    "gpus": "RTX 4090",
    "loss_kernel": "fused",
    "kernels": "fused",
}
"""Settings that the page opens with: what a plan takes where nothing stands against it."""
MOST_MODELS = 256
KNOWN: dict[str, ModelSource] = {}
"""Models that were read, by preset or by the digest of a pasted config."""
DEVICES: dict[str, Device] = {}


def answer(asked: Mapping[str, object]) -> dict[str, object]:
    """The estimate of one configuration with its verdict, or an error in one sentence.

    ``given``: keywords of ``tsplanner.estimate``; ``config``: the text of a pasted config.json,
    which stands for the model; ``free_bytes``: what is free on the card.
    """
    try:
        return _answer(asked)
    except NoReaderError as error:
        return _error(
            f"{error} This page knows models with a formula; "
            "tsplanner estimate --trace sizes others by running them without values.",
            "no formula",
        )
    except (TsplannerError, ValueError, OverflowError, RecursionError) as error:
        return _error(f"{error}", "wrong")


def _error(sentence: str, kind: str) -> dict[str, object]:
    return {"error": shortened(one_line(sentence)), "kind": kind}


def _answer(asked: Mapping[str, object]) -> dict[str, object]:
    given, pasted = asked.get("given"), asked.get("config")
    if not isinstance(given, dict):
        raise UsageError("given must be an object of settings by name.")
    if pasted is not None:
        given = {**given, "model": PASTED}
    line = words("estimate", given, NOT_OF_THE_PAGE)
    values = given_values(options("estimate", line))
    name = str(values.get("model", ""))
    source = read_pasted(pasted) if pasted is not None else _preset(name)
    case = read_case(values, {} if source is None else {name: source}, DEVICES)
    found = by_formula(case)
    free = asked.get("free_bytes")
    if free is not None and (type(free) is not int or free < 0):
        raise UsageError("free_bytes must be a whole number of bytes, 0 or more.")
    if free is None:
        free = None if case.device is None else case.device.free_bytes
    return {
        "command": command("estimate", *line),
        "model": found.name,
        "free_bytes": free,
        "total_bytes": None if case.device is None else case.device.total_bytes,
        "verdict": None if free is None else verdict_of(found.estimate.process_bytes, free),
        "estimate": found.document,
    }


def _preset(name: str) -> ModelSource | None:
    """A preset that is kept after it was read once; None: it is no preset."""
    if name not in KNOWN and name in preset_names():
        KNOWN[name] = read_model(name, describes=False)
    return KNOWN.get(name)


def read_pasted(text: object) -> ModelSource:
    """The model that a pasted config.json describes.

    Raises:
        UsageError: the text is no JSON object.
        NoReaderError: no formula knows the family. TsplannerError: its shapes are impossible.
    """
    if not isinstance(text, str):
        raise UsageError("config must be the text of a config.json.")
    key = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    if key not in KNOWN:
        try:
            values = decoded(text)
        except ValueError as error:
            raise UsageError(f"This is not the JSON of a config.json: {error}.") from error
        if not isinstance(values, dict):
            raise UsageError("A config.json is a JSON object with a model_type.")
        architecture = read_architecture(values, name="pasted model", source="config.json")
        if len(KNOWN) >= MOST_MODELS:
            KNOWN.clear()
        KNOWN[key] = ModelSource(
            architecture=architecture,
            config=values,
            folder=None,
            weights=WeightFiles(),
            tokenizer=None,
        )
    return KNOWN[key]


@cache
def cards() -> tuple[dict[str, object], ...]:
    """The cards of the catalogue as ``--gpus`` takes them, with the GiB that they are sold with."""
    found = []
    for gpu in CATALOG:
        sizes = (*gpu.memory_gib, *gpu.modified_gib)
        for size in sizes:
            with suppress(UsageError):  # a size that the bare name does not take
                name = gpu.name if len(sizes) == 1 else f"{gpu.name} {size}GiB"
                parse_gpus(name)
                found.append({"name": name, "gib": size})
    return tuple(found)


def facts() -> dict[str, object]:
    """What the page offers: presets, cards, the choices and the default of every setting."""
    defaults = flat(TrainingSettings())
    choices = {
        key: [str(item) for item in kind]
        for key, union in case_keys().items()
        for kind in members(union)[:1]
        if isinstance(kind, type) and issubclass(kind, StrEnum)
    }
    return {
        "version": __version__,
        "presets": list(preset_names()),
        "cards": list(cards()),
        "choices": choices,
        "defaults": {key: value for key, value in defaults.items() if not isinstance(value, tuple)},
        "first": FIRST,
        "first_answer": answer({"given": FIRST}),
    }


def answered(text: str) -> str:
    """An answer as JSON to a question as JSON."""
    return json.dumps(answer(json.loads(text)))


def warm() -> None:
    """Read every preset and load what answers and errors need, for a runtime without files."""
    for name in preset_names():
        _preset(name)
    for given in (
        FIRST,
        {**FIRST, "lora_rnk": 1},
        {**FIRST, "gpus": "RTX 9999"},
        {**FIRST, "model": "no such model"},
        {**FIRST, "world_size": 2, "zero_stage": 3, "offload_param": True},
        {**FIRST, "world_size": 2, "zero_stage": 2, "offload_optimizer": True},
        {**FIRST, "world_size": 4},
        {**FIRST, "finetuning_type": "freeze"},
        {**FIRST, "model": "chatts-14b", "quantization": "nf4", "series_patches": 8},
        {**FIRST, "model": "qwen3-30b-a3b", "finetuning_type": "adalora"},
        {**FIRST, "model": "gemma-3-4b-it", "token_budget": 4096, "row_length": 512.0},
    ):
        answer({"given": given})
    for config in ("{", "[]", '{"model_type": "mystery"}', '{"model_type": "qwen2"}'):
        answer({"given": FIRST, "config": config})
