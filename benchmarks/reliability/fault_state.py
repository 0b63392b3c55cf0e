"""What a run had finished before a fault, and what is there after it."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.reliability.fault_verbs import DISK, TRIALS, Verbs
from tsplanner.planner.files import read_plan
from tsplanner.probe.finished import is_over, weights_name
from tsplanner.probe.process_records import read_record
from tsplanner.tune.study.queue import RETRY_OF, SEED, STATE, parameters_of, told_state
from tsplanner.tune.study.storage import holds_study, open_storage
from tsplanner.tune.study.trial_result import TrialState

DISK_MIB = 200
TRIAL_FILES = ("outcome.json", "eval_rows.json", "eval_rows.jsonl", "record.json", "metrics.jsonl")
TEMPORARY = re.compile(r"\..*\d+-\d+(\.[0-9a-f]{8})?|\..*\.(new|old)")


def mount_disk(folder: Path) -> bool:
    """A small disk in the folder; False where none may be mounted."""
    (folder / DISK).mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(folder / DISK)]
    if subprocess.run(words, check=False, capture_output=True).returncode == 0:
        return True
    (folder / DISK).rmdir()
    return False


def unmount_disk(folder: Path) -> None:
    """Take the small disk away again."""
    if (folder / DISK).is_dir():
        subprocess.run(["umount", "-l", str(folder / DISK)], check=False, capture_output=True)


@dataclass
class State:
    """What had finished."""

    trials: dict[int, Any] = field(default_factory=dict)
    """Trials that were told: values, parameters and state."""
    files: dict[str, bytes] = field(default_factory=dict)
    """Files of these trials, by their path in the run folder."""
    checkpoint: int = 0
    """Step of the newest checkpoint."""
    losses: dict[int, float] = field(default_factory=dict)
    """Training loss of each step up to it."""

    @classmethod
    def of(cls, run: Path) -> State:
        """The state of a run folder now."""
        trials = told(run)
        files = {
            f"trials/{number}/{name}": path.read_bytes()
            for number in trials
            for name in TRIAL_FILES
            if (path := run / "trials" / str(number) / name).is_file()
        }
        steps = [
            int(path.parent.name.rsplit("-", 1)[1])
            for path in run.glob("checkpoints/checkpoint-*/trainer_state.json")
        ]
        last = max(steps, default=0)
        losses = {step: loss for step, loss in step_losses(run) if step <= last}
        return cls(trials, files, last, losses)


def trials_of(run: Path) -> list[Any]:
    """All trials of a run's study; none before there is one."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if not holds_study(run):
        return []
    place = open_storage(run)
    try:
        return optuna.load_study(study_name=place.name, storage=place.storage).get_trials()
    except KeyError:
        return []
    finally:
        if hasattr(place.storage, "engine"):
            place.storage.engine.dispose()


def told(run: Path) -> dict[int, Any]:
    """Trials that the study knows the end of."""
    return {
        one.number: (one.values, one.params, one.user_attrs[STATE])
        for one in trials_of(run)
        if STATE in one.user_attrs and one.state.is_finished()
    }


def step_losses(run: Path) -> list[tuple[int, float]]:
    """Step and loss of every line of the full run, in order; half a line is an error."""
    path = run / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.is_file() else []
    rows = [json.loads(line) for line in lines[:-1]]
    if lines:
        # The last line may be a killed worker's; after the resumption `broken` looks for it.
        with contextlib.suppress(ValueError):
            rows.append(json.loads(lines[-1]))
    return [(row["step"], row["loss"]) for row in rows if row.get("loss") is not None]


def complaints(verbs: Verbs, before: State, deleted: set[str]) -> tuple[list[str], int]:
    """What is wrong with a run that was resumed to its end, and how much of it is a loss."""
    run, losses = verbs.run, []
    after = told(run)
    for number, trial in before.trials.items():
        if after.get(number) != trial:
            losses.append(f"trial {number} had ended and is {after.get(number)}, was {trial}")
    for name, content in before.files.items():
        path = run / name
        if name not in deleted and (not path.is_file() or path.read_bytes() != content):
            losses.append(f"{name} is not what it was")
    steps = step_losses(run)
    kept = dict(steps)
    taken = any(name.startswith("checkpoints/") for name in deleted)
    if (
        before.losses
        and not taken
        and {step: kept.get(step) for step in before.losses} != before.losses
    ):
        losses.append(f"the steps up to the checkpoint of step {before.checkpoint} were run again")
    wrong = [*pretended(run, [step for step, _ in steps]), *repeated(run), *broken(run)]
    wrong += touched(verbs)
    return [*losses, *wrong], len(losses)


def pretended(run: Path, steps: list[int]) -> list[str]:
    """A success that was none: no record, no weights, or steps that are missing or doubled."""
    if not is_over(run):
        record = read_record(run)
        return [f"the run is not over: {record and (record.status, record.message)}"]
    plan = read_plan(run / "plan.json")
    weights = list((run / weights_name(plan)).glob("*.safetensors"))
    found = []
    if not weights or min(path.stat().st_size for path in weights) < 100:
        found.append("no weights")
    if steps != list(range(1, plan.time.total_steps + 1)):
        found.append(f"steps {steps} of {plan.time.total_steps}")
    return found


def repeated(run: Path) -> list[str]:
    """A study against itself: settings run twice, trials open, too few, or queued again amiss."""
    trials = trials_of(run)
    if not trials:
        return []
    found = [f"trial {one.number} is open" for one in trials if not one.state.is_finished()]
    ended = [one for one in trials if STATE in one.user_attrs]
    keys = [(one.user_attrs.get(SEED), *sorted(parameters_of(one).items())) for one in ended]
    if len(set(keys)) != len(keys):
        found.append("settings were run twice to their end")
    searched = [one for one in ended if one.user_attrs.get(SEED) is None]
    counted = [one for one in searched if told_state(one) is not TrialState.REJECTED]
    pairs = TRIALS // 4
    if len(counted) != TRIALS - 2 * pairs or len(ended) - len(searched) > 2 * pairs:
        found.append(f"{len(counted)} trials of the search, {len(ended) - len(searched)} others")
    copies = Counter(one.user_attrs[RETRY_OF] for one in trials if RETRY_OF in one.user_attrs)
    lost = {one.number for one in trials if STATE not in one.user_attrs and one.params}
    if set(copies) != lost or any(count > 1 for count in copies.values()):
        found.append(f"lost {sorted(lost)}, queued again {dict(copies)}")
    return found


def broken(run: Path) -> list[str]:
    """Files that are half written, and names that no run should leave."""
    found = []
    for path in run.rglob("*"):
        if TEMPORARY.fullmatch(path.name):
            found.append(f"{path.relative_to(run)} was left")
        if path.suffix not in (".json", ".jsonl", ".journal") or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8")
        try:
            for part in [text] if path.suffix == ".json" else text.splitlines():
                json.loads(part)
        except ValueError:
            found.append(f"{path.relative_to(run)} is broken")
    return found


def touched(verbs: Verbs) -> list[str]:
    """A run that is over is resumed once more: status 0, and nothing in its folder changes."""
    before = contents(verbs.run)
    verb = "tune" if holds_study(verbs.run) else "train"
    ended = verbs.ends(verbs.call(verb, "--run-folder", str(verbs.run), "--resume"))
    after = contents(verbs.run)
    changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    found = [f"resuming a run that is over changed {changed}"] if changed else []
    if ended != 0:
        found.append(f"resuming a run that is over ended with {ended}: {verbs.last_words()}")
    return found


def contents(run: Path) -> dict[str, tuple[bytes, int]]:
    """Every file with its content and its time."""
    return {
        str(path.relative_to(run)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in run.rglob("*")
        if path.is_file()
    }
