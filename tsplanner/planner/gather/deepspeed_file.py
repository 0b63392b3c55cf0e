"""A user's own DeepSpeed configuration: what it fixes of a plan, and what of it is not sized.

"auto" is what transformers fills in from its own arguments; a key that is absent has DeepSpeed's
default. Sources: transformers integrations/deepspeed.py (``trainer_config_process`` and
``trainer_config_finalize``); deepspeed runtime/zero/config.py and runtime/config.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from memory_models.frozen import frozen
from memory_models.settings import DeepSpeedConfig, Dtype
from tsplanner.errors import UsageError, did_you_mean, quoted
from tsplanner.reading import decoded, read_text

MOST_BYTES = 1 << 20
AUTO = "auto"
MOST_ELEMENTS = 1 << 50
DEFAULT_ELEMENTS: Mapping[str, int] = {
    "reduce_bucket_size": 500_000_000,
    "stage3_prefetch_bucket_size": 50_000_000,
    "stage3_param_persistence_threshold": 100_000,
    "stage3_max_live_parameters": 1_000_000_000,
    "stage3_max_reuse_distance": 1_000_000_000,
    "sub_group_size": 1_000_000_000,
}
"""Sizes that memory depends on, in elements, with DeepSpeed's defaults."""
FILLED = frozenset(
    {"reduce_bucket_size", "stage3_prefetch_bucket_size", "stage3_param_persistence_threshold"}
)
"""Sizes for which transformers takes "auto"."""
STAGE_3 = "stage3_"
"""Beginning of names that DeepSpeed takes without it as well (``populate_by_name``)."""
PLAIN = frozenset(
    {
        "train_batch_size",
        "train_micro_batch_size_per_gpu",
        "gradient_accumulation_steps",
        "gradient_clipping",
        "steps_per_print",
        "wall_clock_breakdown",
        "zero_allow_untested_optimizer",
        "zero_force_ds_cpu_optimizer",
        "fp16",
        "bf16",
        "zero_optimization",
        "optimizer",
        "scheduler",
    }
)
"""Keys of the file that the plan reads, or that change nothing in its bytes."""
PLAIN_ZERO = frozenset(
    {
        *DEFAULT_ELEMENTS,
        "stage",
        "offload_optimizer",
        "offload_param",
        "overlap_comm",
        "contiguous_gradients",
        "round_robin_gradients",
        "allgather_partitions",
        "allgather_bucket_size",
        "reduce_scatter",
        "stage3_gather_16bit_weights_on_model_save",
        "stage3_gather_fp16_weights_on_model_save",
        "cpu_offload",
        "memory_efficient_linear",
        "ignore_unused_parameters",
        "load_from_fp32_weights",
    }
)
"""Keys of ``zero_optimization`` of the same kind: DeepSpeed gathers in place, so its all-gather
bucket takes no memory."""
UNSIZED = frozenset(
    {
        "activation_checkpointing",
        "aio",
        "amp",
        "autotuning",
        "communication_data_type",
        "data_types",
        "flops_profiler",
        "hybrid_engine",
        "pipeline",
        "prescale_gradients",
        "sparse_attention",
        "tensor_parallel",
        "torch_autocast",
        "zero_hpz_partition_size",
        "zero_quantized_weights",
        "zero_quantized_nontrainable_weights",
        "zero_quantized_gradients",
        "mics_shard_size",
        "mics_hierarchical_params_gather",
        "stage3_module_granularity_threshold",
        "stage3_use_all_reduce_for_fetch_params",
        "zenflow",
    }
)
"""Keys that DeepSpeed has and that the estimate leaves out."""


def _swift(stage: int, *offloads: str) -> dict[str, Any]:
    """One of the files that ms-swift has under a name."""
    sizes: dict[str, Any] = {"reduce_bucket_size": 200_000_000}
    if stage == 3:
        sizes = dict.fromkeys(FILLED, AUTO)
    places = {f"offload_{part}": {"device": "cpu"} for part in offloads}
    zero = {"stage": stage, "overlap_comm": False, **sizes, **places}
    return {"fp16": {"enabled": AUTO}, "bf16": {"enabled": AUTO}, "zero_optimization": zero}


NAMED: Mapping[str, dict[str, Any]] = {
    "zero0": _swift(0),
    "zero1": _swift(1),
    "zero2": _swift(2),
    "zero2_offload": _swift(2, "optimizer"),
    "zero3": _swift(3),
    "zero3_offload": _swift(3, "optimizer", "param"),
}
"""What ``--deepspeed zero2`` and its like mean to ms-swift 4 (swift/config, 2026-08), without the
keys whose values are "auto" or DeepSpeed's own. A file of such a name goes before it."""


@frozen
class DeepSpeedFile:
    """A configuration as it was read."""

    name: str
    """Name of the file, for messages."""
    config: DeepSpeedConfig
    pins: dict[str, object]
    """Hardware settings that the file fixes, by field name; without ``deepspeed`` itself."""
    effective_batch_size: int | None = None
    """``train_batch_size``, if it is a number."""


def read_deepspeed(path: Path) -> DeepSpeedFile:
    """Read a user's DeepSpeed configuration: a file, or one of ``NAMED`` where there is none.

    Raises:
        UsageError: the file cannot be read, or has a value that no run can have.
    """
    document = _document(path)
    reader = _Reader(path, document)
    stage = reader.stage()
    optimizer, parameters = (reader.offloads(name) for name in ("optimizer", "param"))
    if parameters and stage != 3:
        raise reader.error("offload_param needs stage 3")
    pins: dict[str, object] = {
        "zero_stage": stage,
        "offload_optimizer": optimizer,
        "offload_param": parameters,
    }
    if (dtype := reader.dtype()) is not None:
        pins["model_dtype"] = dtype
    if (micro := reader.number(document, "train_micro_batch_size_per_gpu")) is not None:
        pins["micro_batch_size"] = micro
    if (steps := reader.number(document, "gradient_accumulation_steps")) is not None:
        pins["gradient_accumulation_steps"] = steps
    return DeepSpeedFile(
        name=path.name,
        config=DeepSpeedConfig(
            **reader.sizes(),
            overlap_comm=reader.overlaps(stage),
            text=json.dumps(document),
            warnings=tuple(reader.warnings()),
        ),
        pins=pins,
        effective_batch_size=reader.number(document, "train_batch_size"),
    )


def merged(given: Mapping[str, object], file: DeepSpeedFile) -> dict[str, object]:
    """Settings that were given and those of the file.

    Raises:
        UsageError: the two contradict each other.
    """
    for name, value in file.pins.items():
        if name in given and given[name] != value:
            flag = f"--{name.replace('_', '-')} {given[name]}"
            raise UsageError(
                f"{flag} and {file.name} ({name} {value}) contradict each other: leave one out."
            )
    return {**file.pins, **given}


def _document(path: Path) -> dict[str, Any]:
    if str(path) in NAMED and not path.exists():
        return NAMED[str(path)]
    try:
        found = decoded(read_text(path, MOST_BYTES), finite=False)
    except OSError as error:
        raise UsageError(f"--deepspeed {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise UsageError(f"--deepspeed {path} is not valid JSON ({error!s:.120}).") from error
    if not isinstance(found, dict):
        raise UsageError(f"--deepspeed {path} must hold a JSON object.")
    return found


class _Reader:
    """Reads the keys of one file; every error names the file."""

    def __init__(self, path: Path, document: dict[str, Any]) -> None:
        self.path, self.document = path, document
        zero = self.section(document, "zero_optimization")
        full = {name: f"{STAGE_3}{name}" for name in zero if f"{STAGE_3}{name}" in PLAIN_ZERO}
        self.zero = {full[name]: zero[name] for name in full} | {
            name: value for name, value in zero.items() if name not in full
        }

    def error(self, what: str) -> UsageError:
        """A sentence about this file."""
        return UsageError(f"--deepspeed {self.path}: {what}.")

    def section(self, where: Mapping[str, Any], name: str) -> dict[str, Any]:
        """A section of the file; empty where it is absent."""
        found = where.get(name) or {}
        if not isinstance(found, dict):
            raise self.error(f"{name} must be an object")
        return found

    def number(self, where: Mapping[str, Any], name: str, least: int = 1) -> int | None:
        """A whole number; None: absent or "auto". DeepSpeed also takes 5e8, which JSON reads so."""
        value = where.get(name)
        if value is None or value == AUTO:
            return None
        whole = isinstance(value, int | float) and not isinstance(value, bool)
        if not whole or not least <= value <= MOST_ELEMENTS or value != int(value):
            raise self.error(
                f"{name} must be a whole number of at least {least}, not {quoted(value)}"
            )
        return int(value)

    def stage(self) -> int:
        """ZeRO's stage."""
        found = self.zero.get("stage", 0)
        if isinstance(found, bool) or found not in (0, 1, 2, 3):
            raise self.error(f"stage must be 0, 1, 2 or 3, not {quoted(found)}")
        if found == 0:
            raise self.error("stage 0 shards nothing: leave out --deepspeed for DDP")
        return int(found)

    def offloads(self, part: str) -> bool:
        """Whether a part lies in the host's memory."""
        device = self.section(self.zero, f"offload_{part}").get("device", "none")
        if device == "nvme":
            raise self.error(f"offload_{part} to nvme is not sized: take cpu or none")
        if device not in ("cpu", "none", None):
            raise self.error(f"offload_{part}.device must be cpu or none, not {quoted(device)}")
        return device == "cpu" or (part == "optimizer" and self.zero.get("cpu_offload") is True)

    def dtype(self) -> Dtype | None:
        """The precision that the file fixes; None: "auto", which follows the plan."""
        states = {
            name: self.section(self.document, str(name)).get("enabled", False)
            for name in (Dtype.BF16, Dtype.FP16)
        }
        for name, state in states.items():
            if state not in (True, False, AUTO):
                raise self.error(f'{name}.enabled must be true, false or "auto"')
        fixed = [name for name, state in states.items() if state is True]
        if len(fixed) == 2:
            raise self.error("fp16 and bf16 are both enabled: take one")
        if fixed:
            return fixed[0]
        if AUTO in states.values():
            return None
        raise self.error('neither bf16 nor fp16 is enabled: set one to true or "auto"')

    def sizes(self) -> dict[str, Any]:
        """Sizes in elements; None for those that transformers fills in."""
        found: dict[str, int | None] = {}
        for name, default in DEFAULT_ELEMENTS.items():
            value = self.zero.get(name, default)
            if value == AUTO and name not in FILLED:
                raise self.error(f'{name} is "auto", which nobody fills in: give a number')
            least = 1 if name == "reduce_bucket_size" else 0
            found[name] = self.number({name: value}, name, least)
        return found

    def overlaps(self, stage: int) -> bool:
        """Whether communication overlaps with backward; by default under stage 3 alone."""
        found = self.zero.get("overlap_comm", stage == 3)
        if not isinstance(found, bool):
            raise self.error(f"overlap_comm must be true or false, not {quoted(found)}")
        return found

    def warnings(self) -> Iterator[str]:
        """What is unknown, contradicts itself, or is not sized."""
        for where, known, label in (
            (self.document, PLAIN, ""),
            (self.zero, PLAIN_ZERO, "zero_optimization."),
        ):
            for name, value in where.items():
                if name in known or (name in UNSIZED and value in (False, None)):
                    continue
                if name in UNSIZED:
                    yield f"{label}{name} is not sized"
                else:
                    hint = did_you_mean(name, [*known, *UNSIZED])
                    yield f"{label}{name} is no key that is known here: not sized.{hint}"
        yield from self._of_offload()
        for name in ("optimizer", "scheduler"):
            if name in self.document:
                yield f"{name}: the plan's own is sized, and trainers refuse two that differ"
        if self.zero.get("contiguous_gradients") is False:
            yield "contiguous_gradients off is not sized: on is assumed"
        if self.zero.get("round_robin_gradients") is not True and self.stage() < 3:
            yield "round_robin_gradients is off: sized as if it were on"
        micro, steps, whole = (
            self.number(self.document, name)
            for name in (
                "train_micro_batch_size_per_gpu",
                "gradient_accumulation_steps",
                "train_batch_size",
            )
        )
        if micro and steps and whole and whole % (micro * steps):
            yield (
                f"train_batch_size {whole} is no multiple of {micro} x {steps}: DeepSpeed stops "
                "at the start"
            )

    def _of_offload(self) -> Iterator[str]:
        if self.offloads("optimizer") and self.document.get("zero_force_ds_cpu_optimizer", True):
            yield (
                "offload_optimizer without zero_force_ds_cpu_optimizer: false takes DeepSpeed's "
                "own CPU Adam alone, which needs a compiler"
            )
        for part in ("optimizer", "param"):
            section = self.section(self.zero, f"offload_{part}")
            if section.get("device") == "cpu" and section.get("pin_memory") is not True:
                yield f"offload_{part}: memory that is not pinned is sized as pinned"
