"""What a strategy does to a model: paired changes against the same model without one, and verdicts in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fer_bench.judging.inference import Change, compare_scores, compare_shares, holm
from fer_bench.judging.resampling import ALPHA, ECE, MACRO_F1, Sample, mean_of

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
    scaling on the validation images mends it; same answers where every prediction is the same.
    """

    label: str
    strategy: str
    n_runs: int
    changes: dict[str, Change]
    recall: tuple[Change | None, ...]
    verdict: str = NO_EVIDENCE
    better: tuple[str, ...] = ()
    worse: tuple[str, ...] = ()


def minority(support: Sequence[int]) -> list[int]:
    """The classes, as indices, with less than half an even share of the images."""
    even = sum(support) / sum(n > 0 for n in support)
    return [label for label, n in enumerate(support) if 0 < n < RARE * even]


def strategy_effects(
    samples: Mapping[tuple[str, str], Mapping[tuple[int, str], Sample]], labels: np.ndarray, base: str = "none"
) -> tuple[StrategyEffect, ...]:
    """The effects of every strategy on every model that ran under it and under `base` with a common seed.

    samples: by (model, strategy), then by seed; labels: int (n,), of the test images.
    """
    effects = []
    for (label, strategy), runs in samples.items():
        before = samples.get((label, base), {})
        seeds = sorted(runs.keys() & before.keys())
        if strategy != base and seeds:
            pair = mean_of([before[seed] for seed in seeds]), mean_of([runs[seed] for seed in seeds])
            effects.append(_effect(label, strategy, *pair, labels))
    return _judged(effects)


def _effect(label: str, strategy: str, before: Sample, after: Sample, labels: np.ndarray) -> StrategyEffect:
    support = np.bincount(labels, minlength=before.runs.shape[1] - 3)
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
        words = {(True, True): TRADE_OFF, (True, False): HELPS, (False, True): HURTS}
        verdict = words.get((bool({*better} - {"ece"}), bool({*worse} - {"ece"})), effect.verdict)
        judged.append(replace(effect, changes=changes, recall=recall, verdict=verdict, better=better, worse=worse))
    return tuple(judged)


def _gain(measure: str, change: Change) -> float:
    return -change.value if measure == "ece" else change.value
