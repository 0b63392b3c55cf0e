"""The last word: is the challenger better than the default, or was it only luckier?

The best of several noisy results is too good on average. So the settings that the search expects to
be best run again beside the default on fresh seeds, with the same rows held out. The default stays
unless the challenger wins there and all that was seen gives it nine chances in ten.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tsplanner.planner.plan import LearningSettings
from tsplanner.tune.runner.runner import Search
from tsplanner.tune.search import acquisition
from tsplanner.tune.search.acquisition import Pair
from tsplanner.tune.search.encoding import Places
from tsplanner.tune.search.paired_eval import (
    FEWEST_ROWS,
    mean_loss,
    paired_difference,
    read_marks,
    read_rows,
)
from tsplanner.tune.study.study import Result, Study
from tsplanner.tune.study.trial_result import TrialState

SEED_STEP = 1
"""Fresh seeds follow the plan's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Which settings the full run uses, and why."""

    learning: LearningSettings
    is_default: bool
    difference: float | None
    """Challenger's held-out loss minus the default's, mean over the fresh seeds; None: no pair."""
    half_width: float | None
    """Of the 95 % interval of that, rows and seeds together."""
    fresh_seeds: int
    chance: float | None
    """That the challenger is better, by all trials; None if there was none."""
    sentence: str
    challenger: LearningSettings
    """What was expected to be best; the default itself if nothing was."""
    default: LearningSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """Challenger against default."""

    challenger: LearningSettings
    default: LearningSettings
    pairs: tuple[Pair, ...] = ()
    lost: bool = False
    """The challenger failed or diverged on a fresh seed."""
    few_rows: bool = False
    """The held-out rows are too few to tell anything from noise."""


def last_word(
    study: Study,
    search: Search,
    most_pairs: int,
    affords: Callable[[int], bool] | None = None,
) -> Decision | None:
    """Run pairs on fresh seeds until it is clear or ``most_pairs`` are spent; None: nothing ran.

    ``affords`` says whether there is time for so many pairs. Where time is kept for them, a winner
    runs all of them: what is over after that is nothing but time.
    """
    contest = contest_of(study, search.folder)
    if contest is None:
        return None
    if contest.few_rows:
        words = f"Fewer than {FEWEST_ROWS} held-out rows tell nothing from noise: "
        return _kept(contest, f"{words}keeping the default.")
    if contest.challenger == contest.default:
        return _kept(contest, "No settings are expected to beat the default: keeping it.")
    while len(contest.pairs) < most_pairs and not contest.lost:
        spends = affords is not None and bool(contest.pairs) and acquisition.won(contest.pairs)
        if not (spends or acquisition.wanted(chance_of(contest, study), contest.pairs)):
            break
        # The first pairs fill all places; each is judged before the next ones begin.
        at_once = max(1, search.at_once // 2)
        first = len(contest.pairs)
        count = min(at_once, most_pairs - first)
        if affords is not None and not affords(count):
            break
        seeds = [fresh(study, first + n) for n in range(count)]
        search.again(missing(study, contest, seeds))
        after = with_pairs(contest, study, search.folder)
        if len(after.pairs) == len(contest.pairs):
            break  # a pair was lost otherwise than by the challenger: no more of them
        contest = after
    return decided(contest, study)


def untried(default: LearningSettings) -> Decision:
    """What to train where there was no time for a trial."""
    contest = Contest(challenger=default, default=default)
    return _kept(contest, "The budget has room for the full run alone: keeping the default.")


def contest_of(study: Study, folder: Path) -> Contest | None:
    """Who meets whom; None if no trial of the search finished. Pairs of earlier runs count."""
    seen, where = study.seen(), study.where
    results = {one.number: one for one in study.results()}
    done = [number for number, _ in seen if results[number].state is TrialState.COMPLETED]
    if not done:
        return None
    best = where.settings(acquisition.challenger([one for _, one in seen], where.grid))
    nearest = min(done, key=lambda number: _apart(where, results[number].learning, best))
    epochs = read_epochs(folder / str(nearest), where.space.epochs)
    contest = Contest(challenger=replace(best, num_train_epochs=epochs), default=where.default)
    few = len(read_rows(folder / str(nearest))) < FEWEST_ROWS
    return with_pairs(replace(contest, few_rows=few), study, folder)


def _apart(where: Places, one: LearningSettings, other: LearningSettings) -> float:
    a, b = where.point(one), where.point(other)
    return abs(a.decades - b.decades) + abs(a.halvings - b.halvings)


def read_epochs(trial: Path, epochs: Sequence[int]) -> int:
    """The epochs of a range at whose end a trial's held-out loss was lowest; the most if unknown.

    A mark before the end was not annealed, so one that is lowest nevertheless is so for a reason.
    """
    found = {
        round(epoch): mean_loss(rows)
        for epoch, rows in read_marks(trial).values()
        if abs(epoch - round(epoch)) < 0.01 and round(epoch) in epochs
    }
    return min(found, key=lambda epoch: (found[epoch], epoch)) if found else max(epochs)


def fresh(study: Study, number: int) -> int:
    """The seed of the pair of that number."""
    return study.plan.learning.seed + SEED_STEP * (number + 1)


def missing(
    study: Study, contest: Contest, seeds: Sequence[int]
) -> list[tuple[LearningSettings, int]]:
    """What of these pairs has not been run."""
    wanted = [(side, seed) for seed in seeds for side in (contest.challenger, contest.default)]
    return [(side, seed) for side, seed in wanted if _run_of(study, side, seed) is None]


def _run_of(study: Study, side: LearningSettings, seed: int) -> Result | None:
    same = replace(side, seed=study.plan.learning.seed)
    return next((one for one in study.results() if one.seed == seed and one.learning == same), None)


def with_pairs(contest: Contest, study: Study, folder: Path) -> Contest:
    """The contest with every pair whose two runs have ended."""
    pairs: list[Pair] = []
    number = 0
    while True:
        seed = fresh(study, number)
        one, other = (_run_of(study, s, seed) for s in (contest.challenger, contest.default))
        if one is None or other is None or other.eval_loss is None:
            return replace(contest, pairs=tuple(pairs))
        if one.eval_loss is None:
            return replace(contest, pairs=tuple(pairs), lost=True)
        compared = paired_difference(
            read_rows(folder / str(one.number)), read_rows(folder / str(other.number))
        )
        difference, error = compared or (one.eval_loss - other.eval_loss, 0.0)
        pairs.append(Pair(difference=difference, error=error))
        number += 1


def chance_of(contest: Contest, study: Study) -> float:
    """Probability that the challenger is better, by all trials."""
    where = study.where
    one, default = where.point(contest.challenger), where.point(contest.default)
    seen = [one for _, one in study.seen()]
    if one != default:
        return acquisition.chance(seen, contest.pairs, one, default)
    if not contest.pairs:
        return 0.6  # seen to be lower along one run: worth a pair, and no proof
    # Only the epochs differ, about which the belief says nothing: the pairs alone.
    mean, half = interval(contest, study)
    return statistics.NormalDist(mean, half / acquisition.NORMAL_95 + 1e-12).cdf(0.0)


def interval(contest: Contest, study: Study) -> tuple[float, float]:
    """Mean difference over the fresh seeds and half of its 95 % interval."""
    where = study.where
    seen = [one for _, one in study.seen()]
    one, default = where.point(contest.challenger), where.point(contest.default)
    noise = acquisition.noise(seen, contest.pairs if one != default else (), one, default)
    return acquisition.interval(contest.pairs, noise)


def decided(contest: Contest, study: Study) -> Decision:
    """The verdict on what was run."""
    name = told(contest.challenger)
    if contest.lost:
        words = f"{name} did not finish on a fresh seed: keeping the default."
        return _kept(contest, words)
    if not any(study.is_default(one) for one in study.results()):
        return replace(
            _kept(contest, f"The default did not finish: using {name}."),
            learning=contest.challenger,
            is_default=False,
        )
    chance = chance_of(contest, study)
    better = acquisition.proven(chance, contest.pairs)
    verdict = "using it" if better else "no proof that it is better: keeping the default"
    if not contest.pairs:
        words = (
            f"The trials give {name} {chance:.0%} to beat the default, not run again: {verdict}."
        )
        chosen = contest.challenger if better else contest.default
        kept = _kept(contest, words)
        return replace(kept, learning=chosen, is_default=not better, chance=chance)
    mean, half = interval(contest, study)
    seeds = f"{len(contest.pairs)} fresh seed{'s' if len(contest.pairs) > 1 else ''}"
    words = (
        f"{name} run again beside the default on {seeds}: {mean:+.4f} ± {half:.4f} (95 %); all "
        f"trials give it {chance:.0%} to be better: {verdict}."
    )
    return Decision(
        learning=contest.challenger if better else contest.default,
        is_default=not better,
        difference=mean,
        half_width=half,
        fresh_seeds=len(contest.pairs),
        chance=chance,
        sentence=words,
        challenger=contest.challenger,
        default=contest.default,
    )


def told(learning: LearningSettings) -> str:
    """Settings in a few words."""
    return (
        f"Rank {learning.lora_rank}, lr {learning.learning_rate:.1e}, "
        f"{learning.num_train_epochs} epochs"
    )


def _kept(contest: Contest, sentence: str) -> Decision:
    return Decision(
        learning=contest.default,
        is_default=True,
        difference=None,
        half_width=None,
        fresh_seeds=len(contest.pairs),
        chance=None,
        sentence=sentence,
        challenger=contest.challenger,
        default=contest.default,
    )
