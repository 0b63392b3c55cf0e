"""What the parent asks of the worker, and how the work can end. No torch in here."""

from __future__ import annotations

from enum import StrEnum

from memory_models.frozen import frozen
from tsplanner.planner.plan import Plan
from tsplanner.planner.settings import LearningSettings

CANNOT_WRITE = 73
"""Exit status of a worker that could not write its record, as sysexits.h numbers it."""
ANSWERS_FILE = "answers.jsonl"
"""In a run's folder: answers to held-out rows after each evaluation, a line each."""
SAMPLE_SECONDS = 60.0
"""Time for the answers after one evaluation; an answer that is not whole by then is left out."""


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
    """A signal ended the worker from outside, and memory had not run out."""
    PEER_LOST = "peer_lost"
    """The process lost the connection to another one of its run: the cause is the other's."""
    HUNG = "hung"
    """The worker gave no sign of life for too long, and was ended."""
    NOT_WRITABLE = "not_writable"
    """The disk was full, or a folder could not be written."""
    CANNOT_SHARE = "cannot_share"
    """The trial cannot share its base with other trials; it may still run alone."""

    @property
    def is_failure(self) -> bool:
        """Whether the run failed by a fault that is neither a lack of memory nor one of time."""
        return self in FAILURES

    @property
    def is_from_outside(self) -> bool:
        """Whether something outside the run ended it, which says nothing of its settings."""
        return self in FROM_OUTSIDE


FROM_OUTSIDE = frozenset(
    {Status.STOPPED, Status.KILLED, Status.PEER_LOST, Status.HUNG, Status.NOT_WRITABLE}
)
FAILURES = (FROM_OUTSIDE - {Status.STOPPED}) | {
    Status.CRASHED,
    Status.DIVERGED,
    Status.CANNOT_SHARE,
}


@frozen
class MultiLoraTrial:
    """One of several trials on one base: what it learns, and the folder that is its own."""

    learning: LearningSettings
    folder: str
    """Gets record.json and metrics.jsonl, and adapter/ of a full run; a file named stop in it ends
    this trial alone."""
    evals_per_epoch: int | None = None
    """None: the job's."""


@frozen
class SharedTrials:
    """The trials of a job that share one base."""

    trials: tuple[MultiLoraTrial, ...] = ()
    """In the order in which they start."""
    max_concurrent_trials: int | None = None
    """Most trials that train at once; the place of one that ends goes to the next. None: all."""
    open: bool = False
    """More trials may come: files in the folder ``queue``, until one named ``closed`` is there."""


@frozen
class SampledAnswers:
    """Held-out rows that a full run answers after each evaluation, the same ones each time."""

    rows: int
    """Most rows; those that have the room are drawn by the seed of the held-out rows."""
    new_tokens: int
    """Most tokens of an answer."""
    room: int = 0
    """Most decoder positions of a prompt and its answer, whose bytes the peak of a step covers; 0:
    nobody has asked yet how many these are."""


@frozen
class Extras:
    """What a full run does beside training and evaluating."""

    check_values: bool = True
    """A full run of a ChatTS model ends with answers to held-out rows, whose values are checked."""
    report_to: tuple[str, ...] = ()
    """Trackers that a full run reports to, by Trainer's names for them."""
    samples: SampledAnswers | None = None
    """None: no rows are answered while the run trains."""


@frozen
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
    extras: Extras = Extras()
    shared: SharedTrials | None = None
    """Trials that share the base; None: the plan's own learning settings alone."""
