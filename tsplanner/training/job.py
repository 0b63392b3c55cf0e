"""What the parent asks of the worker, and the one record it gets back. No torch in here."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from tsplanner.planner.plan import Plan
from tsplanner.planner.settings import LearningSettings


def record_file(folder: Path, rank: int) -> Path:
    """Where a rank leaves its record: the first one's is the run's, the others' are numbered."""
    return folder / ("record.json" if rank == 0 else f"record-{rank}.json")


class JobKind(StrEnum):
    """The same worker does all three."""

    PROBE = "probe"
    """A few optimizer steps on the longest batch."""
    TRIAL = "trial"
    """Training with evals for the search; keeps no checkpoint."""
    TRAIN = "train"
    """The full run: checkpoints, evals, adapter."""


class Status(StrEnum):
    """How the worker ended. Decisions read the status; a message is for people alone."""

    OK = "ok"
    STOPPED = "stopped"
    """The worker ended early on request (a pruned trial)."""
    DEVICE_OOM = "device_oom"
    HOST_OOM = "host_oom"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    """The worker raised an error, or ended without a record, for a cause not named below."""
    DIVERGED = "diverged"
    """The training loss became NaN or infinite."""
    KILLED = "killed"
    """SIGKILL ended the worker from outside, and memory had not run out."""
    PEER_LOST = "peer_lost"
    """The process lost the connection to another one of its run: the cause is the other's."""
    CANNOT_SHARE = "cannot_share"
    """The trial cannot share its base with other trials; it may still run alone."""

    @property
    def is_failure(self) -> bool:
        """Whether the run failed by a fault that is neither a lack of memory nor one of time."""
        return self in FAILURES


FAILURES = frozenset(
    {Status.CRASHED, Status.DIVERGED, Status.KILLED, Status.PEER_LOST, Status.CANNOT_SHARE}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedTrial:
    """One of several trials on one base: what it learns, and the folder that is its own."""

    learning: LearningSettings
    folder: str
    """Gets record.json and metrics.jsonl, and adapter/ of a full run; a file named stop in it ends
    this trial alone."""
    evals_per_epoch: int | None = None
    """None: the job's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One piece of work for one worker process. Written as job.json in ``folder``."""

    kind: JobKind
    plan: Plan
    folder: str
    """Holds job.json, record.json, metrics.jsonl, worker.log, stop (asks to end early)."""
    probe_steps: int = 6
    probe_micro_batches: int = 4
    """Micro-batches a probe runs of each step at most; the rest is counted at their rate."""
    evals_per_epoch: int = 1
    resume: bool = False
    """Continue from the newest checkpoint in the folder."""
    memory_limit_bytes: int | None = None
    """Cap on the CUDA allocator, to stand in for a smaller card; None: none."""
    threads: int | None = None
    """CPU threads of torch; None: torch's own choice."""
    packed: tuple[PackedTrial, ...] = ()
    """Trials that share the base, in this order; empty: the plan's own learning settings."""
    packed_together: int | None = None
    """Most trials that train at once; the place of one that ends goes to the next. None: all."""
    packed_open: bool = False
    """More trials may come: files in the folder ``queue``, until one named ``closed`` is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One pass over the held-out rows."""

    epoch: float
    step: int
    loss: float
    """Mean cross-entropy per answer token, nats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankMemory:
    """Peaks of one rank, in bytes; None: not known."""

    rank: int
    allocated: int | None
    reserved: int | None
    process: int | None
    host: int | None
    pinned: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What the worker saw. Written once, whole, as record.json."""

    status: Status
    kind: JobKind
    message: str = ""
    """One sentence for a failure; empty for a success."""
    rank: int = 0
    device_name: str = ""
    peak_allocated_bytes: int | None = None
    """CUDA allocator; None on the CPU."""
    peak_reserved_bytes: int | None = None
    process_bytes: int | None = None
    """What the driver sees for this process at its peak; on the CPU the peak resident bytes."""
    host_bytes: int | None = None
    """Peak resident bytes of the process; of a run of several ranks, of all of them."""
    pinned_bytes: int | None = None
    """Page-locked host bytes at their peak, as PyTorch's host allocator holds them."""
    ranks: tuple[RankMemory, ...] = field(default=())
    """Of a run of several ranks: each one's peaks."""
    baseline_bytes: int | None = None
    """Resident bytes once the libraries were imported, before the model was built (CPU)."""
    allocation_retries: int = 0
    load_seconds: float | None = None
    step_seconds: tuple[float, ...] = field(default=())
    """Optimizer steps in order, warm-up included; of a pack its passes of the base.

    A probe may run fewer micro-batches a step than the plan; these are seconds of whole steps.
    """
    warmup_steps: int = 0
    """How many of them to leave out."""
    steps: int = 0
    epochs: float = 0.0
    seconds: float = 0.0
    """Wall time of the training loop."""
    samples_per_second: float | None = None
    first_loss: float | None = None
    last_loss: float | None = None
    mean_loss: float | None = None
    """Mean training loss over the run."""
    start_eval_loss: float | None = None
    """Held-out loss before the first step."""
    evaluations: tuple[Evaluation, ...] = field(default=())
    versions: dict[str, str] = field(default_factory=dict)
