"""A stand-in for a worker whose trials share a base: real files, a real queue, no training."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from memory_models.settings import from_flat
from tests.support.stand_in import Call, StandIn, over
from tsplanner.planner.settings import LearningSettings
from tsplanner.processes import ProcessResult
from tsplanner.training.job import Job, JobKind, MultiLoraTrial, Status
from tsplanner.training.multi_lora.loop import max_concurrent_trials
from tsplanner.training.multi_lora.queue import Queue
from tsplanner.training.record import Evaluation, Record

MARKS = 6
Loss = Callable[[LearningSettings], float]


@dataclass(slots=True)
class Trial:
    """One trial at work, or a job of its own."""

    folder: Path
    learning: LearningSettings
    loss: float
    evaluations: list[Evaluation] = field(default_factory=list)
    kind: JobKind = JobKind.TRIAL

    def advance(self) -> None:
        """One more evaluation of six; the loss falls by one each time."""
        mark = len(self.evaluations) + 1
        loss = self.loss + MARKS - mark
        epoch = self.learning.optimization.num_train_epochs * mark / MARKS
        rows = [[loss, 10]] * 6
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, line in (
            ("eval_rows.jsonl", {"step": mark, "epoch": epoch, "rows": rows}),
            ("metrics.jsonl", {"step": mark, "epoch": epoch, "eval_loss": loss}),
        ):
            with (self.folder / name).open("a") as file:
                file.write(json.dumps(line) + "\n")
        (self.folder / "eval_rows.json").write_text(json.dumps({"step": mark, "rows": rows}))
        self.evaluations.append(Evaluation(epoch=epoch, step=mark, loss=loss))

    def end(self, status: Status, message: str = "", process_bytes: int | None = None) -> None:
        """Leave the record."""
        record = from_flat(
            Record,
            status=status,
            kind=self.kind,
            message=message,
            process_bytes=process_bytes,
            evaluations=tuple(self.evaluations),
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        written = self.folder / "written"
        written.write_bytes(msgspec.json.encode(record))
        written.replace(self.folder / "record.json")


@dataclass(slots=True)
class Trouble:
    """What befalls a worker after some rounds."""

    rounds: int
    status: Status | None = None
    """Written in all records; None: the worker is killed and writes none."""
    process_bytes: int | None = None


class MultiLoraWorker(StandIn):
    """Runs trials that share a base round by round, and trials alone; remembers its jobs."""

    def __init__(
        self,
        loss: Loss,
        troubles: Sequence[Trouble] = (),
        refused: Callable[[LearningSettings], str | None] = lambda _: None,
    ) -> None:
        self.loss, self.troubles, self.refused = loss, list(troubles), refused
        self.shared: list[Job] = []
        self.alone: list[Job] = []
        self.begun: list[list[str]] = []
        """Names of the folders of the trials that each worker began, in order."""
        self.most: list[int] = []
        """Largest number of trials at once of each worker."""

    def answer(self, call: Call) -> ProcessResult:
        """Do a job's work, calling ``poll`` after every round."""
        job = call.job
        if job.shared:
            return self._run_shared(job, call.poll)
        self.alone.append(job)
        learning = job.plan.learning
        member = Trial(Path(job.folder), learning, self.loss(learning))
        for _ in range(MARKS):
            member.advance()
            call.poll()
        member.end(Status.OK)
        return over()

    def _run_shared(self, job: Job, poll: Callable[[], None]) -> ProcessResult:
        self.shared.append(job)
        self.begun.append([])
        self.most.append(0)
        trouble = self.troubles.pop(0) if self.troubles else None
        queue, active, round_ = Queue(job), list[Trial](), 0
        whole = Trial(Path(job.folder), job.plan.learning, 0.0)
        while not (queue.ended and not active):
            while len(active) < max_concurrent_trials(job) and (trial := queue.next()):
                active += self._begin(trial)
            self.most[-1] = max(self.most[-1], len(active))
            if trouble is not None and round_ == trouble.rounds:
                return self._broken(whole, active, trouble)
            for member in list(active):
                member.advance()
                stop = (member.folder / "stop").exists()
                if stop or len(member.evaluations) == MARKS:
                    member.end(Status.STOPPED if stop else Status.OK)
                    active.remove(member)
            round_ += 1
            poll()
        whole.end(Status.OK)
        return over()

    def _begin(self, trial: MultiLoraTrial) -> list[Trial]:
        self.begun[-1].append(Path(trial.folder).name)
        member = Trial(Path(trial.folder), trial.learning, self.loss(trial.learning))
        sentence = self.refused(trial.learning)
        if sentence is None:
            return [member]
        member.end(Status.CANNOT_SHARE, sentence)
        return []

    @staticmethod
    def _broken(whole: Trial, active: list[Trial], trouble: Trouble) -> ProcessResult:
        if trouble.status is None:
            return over(signal=9)
        for member in active:
            member.end(trouble.status, "The GPU ran out of memory.")
        whole.end(trouble.status, "The GPU ran out of memory.", trouble.process_bytes)
        return over()
