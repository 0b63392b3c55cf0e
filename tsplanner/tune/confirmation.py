"""The confirmation: is the candidate better than the baseline, or was it only luckier?

The best of several noisy results is too good on average. So the settings that the search expects to
be best run again beside the baseline on fresh seeds, with the same held-out examples. The baseline
stays unless the candidate wins there and all trials together give it nine chances in ten.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path

from memory_models.frozen import frozen
from memory_models.settings import changed
from tsplanner.planner.settings import LearningSettings
from tsplanner.tune.runner.runner import Search
from tsplanner.tune.search import acquisition
from tsplanner.tune.search.acquisition import Pair
from tsplanner.tune.search.encoding import SearchSpaceEncoding
from tsplanner.tune.search.paired_eval import (
    MIN_EXAMPLES,
    mean_loss,
    paired_difference,
    read_eval_checkpoints,
    read_example_losses,
)
from tsplanner.tune.study.study import Study
from tsplanner.tune.study.trial_result import Result, TrialState

SEED_STEP = 1
"""Distance of fresh seeds, which follow the plan's."""
FEWER_EPOCHS_CHANCE = 0.6
"""Chance that fewer epochs of the baseline are better before a pair ran: they were lower along one
run, which is worth a pair and proves nothing."""
EPOCH_TOLERANCE = 0.01
"""An evaluation this close to the end of an epoch counts as at the end, epochs."""
LEAST_DEVIATION = 1e-12
"""Keeps a normal distribution from having no width, nats per token."""


class Reason(StrEnum):
    """Why a decision is what it is."""

    NO_TIME = "no_time"
    FEW_EXAMPLES = "few_examples"
    BASELINE_EXPECTED_BEST = "baseline_expected_best"
    CANDIDATE_FAILED = "candidate_failed"
    BASELINE_FAILED = "baseline_failed"
    UNLIKELY = "unlikely"
    """The candidate's chance was too small to spend trials on a pair."""
    UNTESTED = "untested"
    """No trial or no time was left to run a pair."""
    PAIRS = "pairs"


@frozen
class Evidence:
    """What speaks for the candidate."""

    difference: float | None = None
    """Held-out loss of the candidate minus that of the baseline, mean over the fresh seeds, nats
    per token; None: no pair ran."""
    half_width: float | None = None
    """Half the width of the 95 % interval of the difference, over examples and seeds."""
    fresh_seeds: int = 0
    chance: float | None = None
    """Probability that the candidate is better, by all trials; None: there was no candidate."""


@frozen
class Decision:
    """Which settings the full run uses, and why."""

    reason: Reason
    keeps_baseline: bool
    candidate: LearningSettings
    """The settings that were expected to be best; the baseline itself if no others were."""
    baseline: LearningSettings
    evidence: Evidence = Evidence()

    @property
    def learning(self) -> LearningSettings:
        """The settings that the full run uses."""
        return self.baseline if self.keeps_baseline else self.candidate

    @property
    def is_confirmed(self) -> bool:
        """Whether the candidate was proven on fresh seeds."""
        return not self.keeps_baseline and self.evidence.fresh_seeds > 0


@frozen
class Comparison:
    """Candidate against baseline."""

    candidate: LearningSettings
    baseline: LearningSettings
    pairs: tuple[Pair, ...] = ()
    candidate_failed: bool = False
    """The candidate failed or diverged on a fresh seed."""
    few_examples: bool = False
    """The held-out examples are too few to tell anything from noise."""


def confirm(
    study: Study,
    search: Search,
    max_pairs: int,
    affords: Callable[[int], bool] | None = None,
) -> Decision | None:
    """Run pairs on fresh seeds until it is clear or ``max_pairs`` are spent; None: no trial ran.

    ``affords`` says whether there is time for a number of pairs. Where time is kept for them, a
    winner runs all of them: what is left over after that is nothing but time.
    """
    comparison = compare(study, search.folder)
    if comparison is None:
        return None
    if comparison.few_examples:
        return _kept(comparison, Reason.FEW_EXAMPLES)
    if comparison.candidate == comparison.baseline:
        return _kept(comparison, Reason.BASELINE_EXPECTED_BEST)
    while len(comparison.pairs) < max_pairs and not comparison.candidate_failed:
        if not _another_pair_pays(comparison, study, spends_all=affords is not None):
            break
        # The first pairs fill all places; each round is judged before the next one begins.
        first = len(comparison.pairs)
        count = min(max(1, search.max_concurrent_trials // 2), max_pairs - first)
        if affords is not None and not affords(count):
            break
        seeds = [fresh_seed(study, first + n) for n in range(count)]
        search.run_again(missing_runs(study, comparison, seeds))
        after = with_pairs(comparison, study, search.folder)
        if len(after.pairs) == len(comparison.pairs):
            break  # a pair was lost otherwise than by the candidate: no further pair is run
        comparison = after
    return decide(comparison, study)


def _another_pair_pays(comparison: Comparison, study: Study, *, spends_all: bool) -> bool:
    pairs = comparison.pairs
    if spends_all and pairs and acquisition.candidate_leads(pairs):
        return True
    return acquisition.another_pair_pays(chance_of(comparison, study), pairs)


def without_trials(baseline: LearningSettings) -> Decision:
    """The decision where there was no time for a trial."""
    return _kept(Comparison(candidate=baseline, baseline=baseline), Reason.NO_TIME)


def compare(study: Study, folder: Path) -> Comparison | None:
    """Candidate and baseline with the pairs that ran already; None if no trial completed."""
    seen, encoding = study.observations(), study.encoding
    results = {one.number: one for one in study.results()}
    completed = [number for number, _ in seen if results[number].state is TrialState.COMPLETED]
    if not completed:
        return None
    best = encoding.settings(acquisition.candidate([one for _, one in seen], encoding.grid))
    # The candidate may never have run: the surrogate expects it to be best. Its epochs are read
    # along the completed trial that is nearest.
    nearest = min(completed, key=lambda n: _distance(encoding, results[n].learning, best))
    epochs = best_epochs(folder / str(nearest), encoding.space.epochs)
    comparison = Comparison(
        candidate=changed(best, num_train_epochs=epochs),
        baseline=encoding.baseline,
        few_examples=len(read_example_losses(folder / str(nearest))) < MIN_EXAMPLES,
    )
    return with_pairs(comparison, study, folder)


def _distance(
    encoding: SearchSpaceEncoding, one: LearningSettings, other: LearningSettings
) -> float:
    a, b = encoding.point(one), encoding.point(other)
    rates = abs(a.log10_lr_offset - b.log10_lr_offset)
    return rates + abs(a.log2_rank_offset - b.log2_rank_offset)


def best_epochs(trial: Path, epochs: Sequence[int | float]) -> int | float:
    """The number of ``epochs`` at whose end a trial's held-out loss was lowest.

    Gives the largest number if the trial left no evaluation. The rate had not been annealed at an
    evaluation before the end, so one that is lowest nevertheless is lowest for a reason.
    """
    found = {
        round(epoch): mean_loss(losses)
        for epoch, losses in read_eval_checkpoints(trial).values()
        if abs(epoch - round(epoch)) < EPOCH_TOLERANCE and round(epoch) in epochs
    }
    return min(found, key=lambda epoch: (found[epoch], epoch)) if found else max(epochs)


def fresh_seed(study: Study, number: int) -> int:
    """The seed of the pair with the number."""
    return study.plan.learning.seed + SEED_STEP * (number + 1)


def missing_runs(
    study: Study, comparison: Comparison, seeds: Sequence[int]
) -> list[tuple[LearningSettings, int]]:
    """The runs of these pairs that have not ended: settings and seed."""
    sides = (comparison.candidate, comparison.baseline)
    wanted = [(side, seed) for seed in seeds for side in sides]
    return [(side, seed) for side, seed in wanted if _run_of(study, side, seed) is None]


def _run_of(study: Study, side: LearningSettings, seed: int) -> Result | None:
    # Results have the plan's seed in their settings, and the fresh seed beside them.
    same = replace(side, seed=study.plan.learning.seed)
    return next((one for one in study.results() if one.seed == seed and one.learning == same), None)


def with_pairs(comparison: Comparison, study: Study, folder: Path) -> Comparison:
    """The comparison with every pair whose two runs have ended."""
    pairs: list[Pair] = []
    while True:
        seed = fresh_seed(study, len(pairs))
        one = _run_of(study, comparison.candidate, seed)
        other = _run_of(study, comparison.baseline, seed)
        if one is None or other is None or other.eval_loss is None:
            return replace(comparison, pairs=tuple(pairs))
        if one.eval_loss is None:
            return replace(comparison, pairs=tuple(pairs), candidate_failed=True)
        compared = paired_difference(
            read_example_losses(folder / str(one.number)),
            read_example_losses(folder / str(other.number)),
        )
        difference, error = compared or (one.eval_loss - other.eval_loss, 0.0)
        pairs.append(Pair(difference=difference, error=error))


def chance_of(comparison: Comparison, study: Study) -> float:
    """Probability that the candidate is better, by all trials."""
    encoding = study.encoding
    one, baseline = encoding.point(comparison.candidate), encoding.point(comparison.baseline)
    seen = [one for _, one in study.observations()]
    if one != baseline:
        return acquisition.chance(seen, comparison.pairs, one, baseline)
    if not comparison.pairs:
        return FEWER_EPOCHS_CHANCE
    # Only the epochs differ, about which the surrogate says nothing: the pairs decide alone.
    mean, half = interval(comparison, study)
    deviation = half / acquisition.NORMAL_95 + LEAST_DEVIATION
    return statistics.NormalDist(mean, deviation).cdf(0.0)


def interval(comparison: Comparison, study: Study) -> tuple[float, float]:
    """Mean difference over the fresh seeds, and half the width of its 95 % interval."""
    encoding = study.encoding
    seen = [one for _, one in study.observations()]
    one, baseline = encoding.point(comparison.candidate), encoding.point(comparison.baseline)
    # Settings that differ in epochs alone are one point to the surrogate, which would take
    # the gain of the epochs for noise.
    pairs = comparison.pairs if one != baseline else ()
    noise = acquisition.noise(seen, pairs, one, baseline)
    return acquisition.interval(comparison.pairs, noise)


def decide(comparison: Comparison, study: Study) -> Decision:
    """The decision on what was run."""
    if comparison.candidate_failed:
        return _kept(comparison, Reason.CANDIDATE_FAILED)
    if not any(study.is_baseline(one) for one in study.results()):
        return replace(_kept(comparison, Reason.BASELINE_FAILED), keeps_baseline=False)
    chance = chance_of(comparison, study)
    evidence = Evidence(fresh_seeds=len(comparison.pairs), chance=chance)
    if comparison.pairs:
        mean, half = interval(comparison, study)
        evidence = replace(evidence, difference=mean, half_width=half)
    worth_a_pair = acquisition.another_pair_pays(chance, ())
    without_pairs = Reason.UNTESTED if worth_a_pair else Reason.UNLIKELY
    return Decision(
        reason=Reason.PAIRS if comparison.pairs else without_pairs,
        keeps_baseline=not acquisition.proven(chance, comparison.pairs),
        candidate=comparison.candidate,
        baseline=comparison.baseline,
        evidence=evidence,
    )


def _kept(comparison: Comparison, reason: Reason) -> Decision:
    return Decision(
        reason=reason,
        keeps_baseline=True,
        candidate=comparison.candidate,
        baseline=comparison.baseline,
        evidence=Evidence(fresh_seeds=len(comparison.pairs)),
    )
