"""What a strategy does to a model: paired changes against the same model without one, and verdicts as codes.

All intervals of a table hold together, 95 times in 100, so that an interval without 0 is the verdict.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fer_bench.analysis.comparisons import (
    RunDraws,
    TrainingNoise,
    is_deterministic,
    joint_reach,
    mean_draws,
    noise_of,
    runs_of_rows,
    training_noise,
)  # fmt: skip

if TYPE_CHECKING:
    import pandas as pd

BASE_STRATEGY = "none"
HELPS, HURTS, TRADE_OFF, NO_EVIDENCE, SAME = "helps", "hurts", "trade-off", "no-evidence", "same-answers"
DECIDING = ("macro_f1", "accuracy", "minority_recall")
RARE = 0.5
"""A minority class has less than this times an even share of the test images."""


def minority(support: Sequence[int]) -> list[int]:
    """The classes, as indices, with less than half an even share of the images."""
    even = sum(support) / sum(n > 0 for n in support)
    return [label for label, n in enumerate(support) if 0 < n < RARE * even]


@dataclass(frozen=True)
class Changes:
    """How much higher each model scores under each strategy than under none, on the runs of the same seeds.

    effects: model, strategy, n_runs, same (all answers are equal). measures: macro_f1, accuracy, minority_recall, then
    the recall of each class under its name. values: float (E, M). deviations: float32 (draws, E, M), by images and
    training. smoothing: float (E, M), variance that the redraws of few images do not show. shrinkage: float (M,), NaN
    for a measure of no images.
    """

    effects: pd.DataFrame
    measures: tuple[str, ...]
    values: np.ndarray
    deviations: np.ndarray
    smoothing: np.ndarray
    shrinkage: np.ndarray

    @classmethod
    def of(cls, run_draws: RunDraws, runs: pd.DataFrame, measures: Sequence[str], support: np.ndarray) -> Changes:
        """From the draws of runs, float32 (1 + draws, 2 + k), of accuracy, macro_f1 and the recall of each class.

        runs: index run_id; columns row, model, strategy, seed, family, stochastic, adjusted_from. measures: what the
        2 + k are. support: int (k,), test images per class.
        """
        import pandas as pd

        shares = _shares(support)
        columns = {run: np.hstack([draws[:, 1:2], draws[:, 2:] @ shares.T]) for run, draws in run_draws.items()}
        rows = runs_of_rows(runs)
        noise, lines, values, deviations, spreads = training_noise(columns, rows), [], [], [], []
        pairs = list(_pairs(rows.values()))
        adjusting = _adjustment_noise(columns, pairs)
        for before, after in pairs:
            change = mean_draws(columns, after) - mean_draws(columns, before)
            same = not change.any()
            lines.append((after[0].model, after[0].strategy, max(len(before), len(after)), same))
            values.append(change[0])
            spreads.append(change[1:].var(axis=0, ddof=1))
            if not same and (own := adjusting.get(_kind(after))):
                change[1:] += own.of(after)
            elif not same:
                change[1:] += noise_of(noise, after) - noise_of(noise, before)
            deviations.append((change[1:] - change[1:].mean(axis=0)).astype(np.float32))
        own_measures = (*DECIDING, *measures[2:])
        shape = (len(lines), len(own_measures))
        stacked = np.stack(deviations, axis=1) if lines else np.zeros((1, *shape), dtype=np.float32)
        changed, spread = (np.array(rows).reshape(shape) for rows in (values, spreads))
        smoothing, shrinkage = _smoothing(changed, spread, shares, support)
        effects = pd.DataFrame(lines, columns=["model", "strategy", "n_runs", "same"]).astype({"same": bool})
        smoothing[effects["same"]] = 0
        return cls(effects, own_measures, changed, stacked, smoothing, shrinkage)


def _shares(support: np.ndarray) -> np.ndarray:
    """The weights, float32 (2 + k, k), that make accuracy, minority recall and recall of each class of recalls."""
    n, rare = support.astype(float), minority(support.tolist())
    few = np.where(np.isin(np.arange(len(n)), rare), n, 0)
    return np.vstack([n / n.sum(), few / max(few.sum(), 1), np.eye(len(n))]).astype(np.float32)


def _pairs(rows: Iterable[list[Any]]) -> Iterator[tuple[list[Any], list[Any]]]:
    """The runs of a model under none and under a strategy, of the same seeds; a run that no seed changes has all."""
    variants = {(runs[0].model, runs[0].strategy): runs for runs in rows}
    for (model, strategy), after in sorted(variants.items()):
        before = variants.get((model, BASE_STRATEGY), [])
        if strategy != BASE_STRATEGY and not (is_deterministic(before) or is_deterministic(after)):
            common = {run.seed for run in before} & {run.seed for run in after}
            before, after = ([run for run in runs if run.seed in common] for runs in (before, after))
        if strategy != BASE_STRATEGY and before and after:
            yield before, after


def _kind(runs: Sequence[Any]) -> tuple[str, str]:
    return runs[0].family, runs[0].strategy


def _adjustment_noise(
    columns: RunDraws, pairs: Iterable[tuple[list[Any], list[Any]]]
) -> dict[tuple[str, str], TrainingNoise]:
    """How changes differ by seed where a strategy adjusts the very runs it is compared with; none from single seeds.

    What another training changes is in both, and goes: by family and strategy the spread of the difference is less.
    """
    apart = defaultdict(list)
    for before, after in pairs:
        base = {run.Index: columns[run.Index] for run in before}
        if not is_deterministic(after) and all(run.adjusted_from in base for run in after):
            apart[_kind(after)].append([columns[run.Index] - base[run.adjusted_from] for run in after])
    noise = {kind: TrainingNoise.pooled(rows) for kind, rows in apart.items()}
    return {kind: one for kind, one in noise.items() if one.df}


def _smoothing(
    changes: np.ndarray, spread: np.ndarray, shares: np.ndarray, support: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What two more images, one won and one lost, add to the variance of a share, (E, M), and how they shrink it, (M,).

    Without them a class of three images, all of them won, has no spread. spread: variance over redraws, (E, M). Bonett
    and Price (2012), Adjusted Wald Confidence Interval for a Difference of Binomial Proportions Based on Paired Data.
    """
    n = (shares > 0) @ support
    squares = (spread[:, 3:] * np.maximum(support - 1, 0) + changes[:, 3:] ** 2) @ shares.T  # mean squared change
    changed = changes[:, 1:]
    more, shrunk = n + 2, changed * n / (n + 2)
    plain = (squares - changed**2) / np.maximum(n, 1)
    smoothed = ((squares * n + 2) / more - shrunk**2) / more
    smoothing = np.hstack([np.zeros((len(changes), 1)), np.maximum(smoothed - plain, 0)])
    return smoothing, np.concatenate([[1.0], np.where(n > 0, n / more, np.nan)])


def strategy_effects(changes: Changes) -> pd.DataFrame:
    """What each strategy does to each model: model, strategy, n_runs, verdict; each measure m with m_low and m_high.

    Intervals of the deciding measures hold together over the table, those of the recall of each class likewise.
    verdict: helps where a measure is better beyond chance, none worse and macro-F1 not lower; hurts where one is worse
    and none better; trade-off where one is better and another worse, or macro-F1 lower; no-evidence; same-answers.
    """
    centre, decide = changes.values * changes.shrinkage, slice(len(DECIDING))
    reach = _reach(changes.deviations, changes.smoothing)
    better = (centre - reach > 0)[:, decide].any(axis=1)
    worse = (centre + reach < 0)[:, decide].any(axis=1)
    same, lower = changes.effects["same"].to_numpy(dtype=bool), changes.values[:, 0] < 0
    verdict = np.select([same, better & (worse | lower), better, worse], [SAME, TRADE_OFF, HELPS, HURTS], NO_EVIDENCE)
    about = changes.effects.drop(columns="same").assign(verdict=verdict)
    return _with_intervals(about, changes.measures, changes.values + 0 * centre, centre, reach)


def pooled_effects(changes: Changes, effects: pd.DataFrame, speaking: set[str]) -> pd.DataFrame:
    """The mean change over the models `speaking`, and how many have which verdict in `effects`; the best first.

    strategy, n_models, n_helps, n_hurts, n_trade_off, n_no_evidence, n_same; each measure m with m_low and m_high. The
    intervals are for these models, on other images and trained anew; they hold together over the table.
    """
    import pandas as pd

    counted, values, deviations, smoothing = [], [], [], []
    heard = effects[effects["model"].isin(speaking)]
    for strategy, of_strategy in heard.groupby("strategy"):
        lines, verdicts = of_strategy.index.to_numpy(), of_strategy["verdict"].tolist()
        counts = [verdicts.count(code) for code in (HELPS, HURTS, TRADE_OFF, NO_EVIDENCE, SAME)]
        counted.append((strategy, len(lines), *counts))
        values.append(changes.values[lines].mean(axis=0))
        deviations.append(changes.deviations[:, lines].mean(axis=1))
        smoothing.append(changes.smoothing[lines].mean(axis=0) / len(lines))
    columns = ["strategy", "n_models", "n_helps", "n_hurts", "n_trade_off", "n_no_evidence", "n_same"]
    about, shape = pd.DataFrame(counted, columns=columns), (len(counted), len(changes.measures))
    changed = np.array(values).reshape(shape)
    spread = np.stack(deviations, axis=1) if counted else changes.deviations[:, :0]
    centre, reach = changed * changes.shrinkage, _reach(spread, np.array(smoothing).reshape(shape))
    table = _with_intervals(about, changes.measures, changed + 0 * centre, centre, reach)
    return table.sort_values("macro_f1", ascending=False, kind="stable", ignore_index=True)


def _reach(deviations: np.ndarray, smoothing: np.ndarray) -> np.ndarray:
    """Half of the intervals, float (E, M), that hold together over a table."""
    if not len(smoothing):
        return smoothing
    families = (slice(len(DECIDING)), slice(len(DECIDING), None))
    return np.hstack([joint_reach(deviations[:, :, own], smoothing[:, own], (1, 2)) for own in families])


def _with_intervals(
    about: pd.DataFrame, measures: Sequence[str], values: np.ndarray, centre: np.ndarray, reach: np.ndarray
) -> pd.DataFrame:
    import pandas as pd

    limits = {"": values, "_low": np.maximum(centre - reach, -1), "_high": np.minimum(centre + reach, 1)}
    columns = {m + end: limit[:, i] for i, m in enumerate(measures) for end, limit in limits.items()}
    return pd.concat([about, pd.DataFrame(columns, index=about.index)], axis=1)  # at once: there may be 200 classes
