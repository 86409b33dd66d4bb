"""What a strategy does to a model: paired changes against the same model without one, and verdicts in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from fer_bench.judging.inference import Change, compare_scores, compare_shares, holm
from fer_bench.judging.resampling import ALPHA, ECE, MACRO_F1, RECALL, Sample, mean_of

BASE_STRATEGY = "none"
HELPS, HURTS, TRADE_OFF, NO_EVIDENCE, SAME = "helps", "hurts", "trade-off", "no evidence", "same answers"
MEASURES = {
    "macro_f1": "macro-F1", "accuracy": "accuracy", "minority_recall": "minority recall", "ece": "calibration",
}  # fmt: skip
RARE = 0.5
"""A minority class has less than this times an even share of the test images."""


@dataclass(frozen=True)
class StrategyEffect:
    """A model under a strategy against itself under none, on the runs with the same seeds.

    changes: by name in MEASURES, without minority recall where no class is rare; ece falls where calibration gets
    better. recall: per class, None without images. p-values are adjusted (Holm): those of `changes` over all measures
    of all effects of a table, those of `recall` over all its cells. better and worse: measures that changed beyond
    chance. verdict: one of helps, hurts, trade-off, no evidence, by what is predicted: calibration has no say, as
    scaling on the validation images mends it; same answers where every prediction is the same. against: measures that
    make a trade-off of what would help or hurt, as their own intervals, uncorrected, lie wholly on the other side.
    """

    label: str
    strategy: str
    n_runs: int
    changes: dict[str, Change]
    recall: tuple[Change | None, ...]
    verdict: str = NO_EVIDENCE
    better: tuple[str, ...] = ()
    worse: tuple[str, ...] = ()
    against: tuple[str, ...] = ()


def minority(support: Sequence[int]) -> list[int]:
    """The classes, as indices, with less than half an even share of the images."""
    even = sum(support) / sum(n > 0 for n in support)
    return [label for label, n in enumerate(support) if 0 < n < RARE * even]


def strategy_effects(
    samples: Mapping[tuple[str, str], Mapping[tuple[int, str], Sample]], labels: np.ndarray
) -> tuple[StrategyEffect, ...]:
    """The effects of every strategy on every model that ran under it and under none with a common seed.

    samples: by (model, strategy), then by seed; labels: int (n,), of the test images.
    """
    effects = []
    for (label, strategy), runs in samples.items():
        before = samples.get((label, BASE_STRATEGY), {})
        seeds = sorted(runs.keys() & before.keys())
        if strategy != BASE_STRATEGY and seeds:
            pair = mean_of([before[seed] for seed in seeds]), mean_of([runs[seed] for seed in seeds])
            effects.append(_effect(label, strategy, *pair, labels))
    return _judged(effects)


def least_gain(effects: Sequence[StrategyEffect]) -> int:
    """How many more images of some classes one run has to find, losing none, for that to be beyond chance.

    By McNemar's exact test and Holm's correction, which multiplies a p-value that is put beside those of `effects` by
    the number of those that are not below ALPHA.
    """
    factor = max(1, sum(change.p >= ALPHA for effect in effects for change in effect.changes.values()))
    return next(n for n in count(1) if factor * 2 * 0.5**n < ALPHA)


def _effect(label: str, strategy: str, before: Sample, after: Sample, labels: np.ndarray) -> StrategyEffect:
    support = np.bincount(labels, minlength=before.runs.shape[1] - RECALL)
    rare = minority(support.tolist())
    changes = {
        "macro_f1": compare_scores(before, after, MACRO_F1),
        "accuracy": compare_shares(before, after, labels, range(len(support))),
        **({"minority_recall": compare_shares(before, after, labels, rare)} if rare else {}),
        "ece": compare_scores(before, after, ECE),
    }
    recall = tuple(compare_shares(before, after, labels, [c]) if n else None for c, n in enumerate(support))
    same = all(np.array_equal(*pair) for pair in zip(_answers(before), _answers(after), strict=True))
    return StrategyEffect(label, strategy, len(before.runs), changes, recall, SAME if same else NO_EVIDENCE)


def _answers(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """What follows from the predicted classes alone."""
    return sample.correct, sample.influence


def _judged(effects: list[StrategyEffect]) -> tuple[StrategyEffect, ...]:
    """`effects` with adjusted p-values and the verdicts that follow from them."""
    p = iter(holm(np.array([effect.changes[name].p for effect in effects for name in effect.changes])))
    each = iter(holm(np.array([change.p for effect in effects for change in effect.recall if change])))
    judged = []
    for effect in effects:
        changes = {name: replace(effect.changes[name], p=float(next(p))) for name in effect.changes}
        recall = tuple(change and replace(change, p=float(next(each))) for change in effect.recall)
        better, worse = (
            tuple(name for name, change in changes.items() if change.p < ALPHA and _gain(name, change) * sign > 0)
            for sign in (1, -1)
        )
        told = replace(effect, changes=changes, recall=recall, better=better, worse=worse)
        judged.append(_with_verdict(told))
    return tuple(judged)


def _with_verdict(effect: StrategyEffect) -> StrategyEffect:
    """`effect` with the verdict that follows from what changed beyond chance, and from what speaks against it."""
    up, down = (bool({*names} - {"ece"}) for names in (effect.better, effect.worse))
    if up == down:
        return replace(effect, verdict=TRADE_OFF) if up else effect
    predicted = {name: change for name, change in effect.changes.items() if name != "ece"}
    against = tuple(name for name, change in predicted.items() if (change.high < 0 if up else change.low > 0))
    return replace(effect, verdict=TRADE_OFF if against else HELPS if up else HURTS, against=against)


def _gain(measure: str, change: Change) -> float:
    return -change.value if measure == "ece" else change.value
