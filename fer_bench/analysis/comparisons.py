"""Rows of a leaderboard against one another, on the same redraws of the test images and with the noise of training.

A row is the mean of its runs. Two things make it uncertain: which images were tested, which the redraws show, and which
seeds it was trained with, which the spread of the runs of all rows of its family shows. There are no p-values: an
interval or a set is what is shown and what decides. tests/analysis/test_simulations.py shows how often they are right.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fer_bench.analysis.bootstrap import ALPHA, Resamples, score_draws

if TYPE_CHECKING:
    import pandas as pd

MEASURES = ("accuracy", "macro_f1")
"""The first columns of `bootstrap.score_draws`; the recall of each class follows."""
LEAST_DF = 4
"""Fewer degrees of freedom count as so many: noise with one or two has no variance, and would tie all rows."""
LEAST_ERROR = 1e-6
"""What a standard error is at least, so that equal answers, with none, differ by 0 and rounding of it."""
ABOUT_AS_FAST, A_MINUTE = 2, 60.0
"""Training up to so many times as long as the fastest, or so many seconds longer, counts as equally fast: machines and
days differ by as much."""
Z_95 = 1.96
"""The two-sided 95 % quantile of a normal deviate: how many standard errors an interval reaches. No other quantile is
taken below it, so that where a row is told apart from another, the interval of their difference is without 0."""


@dataclass(frozen=True)
class Draws:
    """What rows score on the test images and on their redraws.

    values: float32 (1 + draws, R, M), means over a row's runs; [0] on the images, [1:] on redraws and with the noise of
    training. seed_spread_known: by family, False where no row was trained with several seeds: its noise is left out.
    """

    rows: tuple[str, ...]
    measures: tuple[str, ...]
    values: np.ndarray
    seed_spread_known: dict[str, bool]

    def of(self, measure: str) -> tuple[np.ndarray, np.ndarray]:
        """Scores, float64 (R,), and how the draws deviate from their means, float32 (draws, R)."""
        values = self.values[:, :, self.measures.index(measure)]
        return values[0].astype(np.float64), values[1:] - values[1:].mean(axis=0, dtype=np.float64).astype(np.float32)


@dataclass(frozen=True)
class TrainingNoise:
    """How the runs of one family of rows differ by their seeds, beyond what the redraws of images show of it.

    root: float32 (M, M), a square root of the covariance between seeds, pooled over rows. scale: float32 (draws, M), by
    how much more or less of it each draw takes. df: degrees of freedom; 0 where no row has several runs.
    """

    root: np.ndarray
    scale: np.ndarray
    df: int

    @classmethod
    def pooled(cls, rows: list[list[np.ndarray]]) -> TrainingNoise:
        """From the draws, float (1 + draws, M), of each row's runs.

        Two runs that are right about different images score differently on these images for that alone, and differ on
        the redraws too: that share of the variance is left out. The variance is known from a few runs only, and each
        draw takes another that it may be, the same for all rows.
        """
        n_draws, m = rows[0][0][1:].shape
        between, on_images, df = np.zeros((m, m)), np.zeros(m), 0
        for runs in rows:
            if len(runs) > 1:
                apart = np.subtract(runs, np.mean(runs, axis=0, dtype=np.float64))
                between += apart[:, 0].T @ apart[:, 0]
                on_images += apart[:, 1:].var(axis=1, ddof=1).sum(axis=0)
                df += len(runs) - 1
        variance = between.diagonal()
        share = np.divide(on_images, variance, out=np.zeros(m), where=variance > 0)
        values, vectors = np.linalg.eigh(between / max(df, 1))
        root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
        doubt = max(df, LEAST_DF)
        may_be = doubt / np.random.default_rng(0).chisquare(doubt, (n_draws, 1))
        scale = np.sqrt(np.maximum(may_be - share, 0))
        return cls(root.astype(np.float32), scale.astype(np.float32), df)

    def of(self, runs: Sequence[Any]) -> np.ndarray:
        """Noise of the mean of `runs`, which are of one row: float32 (draws, M), the same whatever the other rows."""
        seed = int.from_bytes(hashlib.sha256(runs[0].row.encode()).digest()[:8], "big")
        normal = np.random.default_rng(seed).standard_normal(self.scale.shape, dtype=np.float32)
        return normal @ self.root * self.scale / np.float32(len(runs) ** 0.5)


RunDraws = Mapping[str, np.ndarray]
DrawsBySubset = Mapping[str, RunDraws]


def runs_of_rows(runs: pd.DataFrame) -> dict[str, list[Any]]:
    """The runs of each row as named tuples in the order of their Index, the run id; rows sorted."""
    rows = defaultdict(list)
    for run in runs.sort_index().itertuples():
        rows[run.row].append(run)
    return dict(sorted(rows.items()))


def is_deterministic(runs: Sequence[Any]) -> bool:
    """Whether another seed would not change them."""
    return not any(run.stochastic for run in runs)


def training_noise(run_draws: RunDraws, rows: Mapping[str, Sequence[Any]]) -> dict[str, TrainingNoise]:
    """The noise of training of each family with rows that another seed would change."""
    families = defaultdict(list)
    for runs in rows.values():
        if not is_deterministic(runs):
            families[runs[0].family].append([run_draws[run.Index] for run in runs])
    return {family: TrainingNoise.pooled(members) for family, members in families.items()}


def noise_of(noise: Mapping[str, TrainingNoise], runs: Sequence[Any]) -> np.ndarray | float:
    """The noise of training in the mean of `runs`, which are of one row, float32 (draws, M); 0 where it is unknown."""
    known = not is_deterministic(runs) and noise[runs[0].family].df
    return noise[runs[0].family].of(runs) if known else 0.0


def mean_draws(run_draws: RunDraws, runs: Sequence[Any]) -> np.ndarray:
    """The mean over `runs` of their draws, float64 (1 + draws, M)."""
    return np.asarray(np.mean([run_draws[run.Index] for run in runs], axis=0, dtype=np.float64))


def row_draws(run_draws: RunDraws, runs: pd.DataFrame, measures: tuple[str, ...]) -> Draws:
    """The draws of rows from those of their runs, float32 (1 + draws, M).

    runs: index run_id; columns row, family, stochastic. Rows come out sorted. The variance between seeds is pooled over
    the rows of a family, so that a row of one run has it too.
    """
    rows = runs_of_rows(runs)
    noise, values = training_noise(run_draws, rows), []
    for members in rows.values():
        values.append(mean_draws(run_draws, members).astype(np.float32))
        values[-1][1:] += noise_of(noise, members)
    known = {family: family not in noise or noise[family].df > 0 for family in sorted(set(runs["family"]))}
    return Draws(tuple(rows), tuple(measures), np.stack(values, axis=1), known)


def best_set(draws: Draws) -> pd.DataFrame:
    """Which rows may have the best macro-F1, and the ranks of each: index row; in_best_set, rank_low, rank_high.

    The best row is in the set 95 times in 100. rank_low is 1 + the rows that are ahead beyond chance, rank_high R - the
    rows that are behind; each limit holds 95 times in 100. Row j is beyond chance ahead of row i where the difference
    is more than c_i standard errors, the 95 % quantile of the largest that chance makes it for any j: Hsu (1984),
    Ranking and Selection and Multiple Comparisons with the Best; Mogstad, Romano, Shaikh and Wilhelm (2024), Inference
    for Ranks with Applications.
    """
    import pandas as pd

    scores, deviations = draws.of("macro_f1")
    errors = standard_errors(deviations)
    by_row, n = np.ascontiguousarray(deviations.T), len(scores)
    low, high = np.empty(n, dtype=int), np.empty(n, dtype=int)
    apart = np.empty_like(by_row)
    for row in range(n):
        np.subtract(by_row, by_row[row], out=apart)
        apart *= (1 / errors[row]).astype(np.float32)[:, None]
        ahead, behind = np.quantile([apart.max(axis=0), -apart.min(axis=0)], 1 - ALPHA, axis=1)
        gap = (scores - scores[row]) / errors[row]
        low[row] = 1 + (gap > max(ahead, Z_95)).sum()
        high[row] = n - (-gap > max(behind, Z_95)).sum()
    columns = {"in_best_set": low == 1, "rank_low": low, "rank_high": high}
    return pd.DataFrame(columns, index=pd.Index(draws.rows, name="row"))


def standard_errors(deviations: np.ndarray) -> np.ndarray:
    """Standard errors, float (R, R), of the differences between rows from the deviations of their draws."""
    covariance = np.cov(deviations, rowvar=False)
    own = np.diag(np.atleast_2d(covariance))
    return np.sqrt(np.maximum(own[:, None] + own - 2 * covariance, LEAST_ERROR**2))


def joint_reach(deviations: np.ndarray, smoothing: np.ndarray | float, together: int | tuple[int, ...]) -> np.ndarray:
    """Half of the intervals, float (...), that hold together over the axes `together` of `deviations`, (draws, ...).

    smoothing: variance that the redraws do not show. By the 95 % quantile of the largest studentised deviation:
    Westfall and Young (1993), Resampling-Based Multiple Testing.
    """
    spread = deviations.std(axis=0, ddof=1, dtype=np.float64)
    t = np.abs(deviations) * np.divide(1, spread, out=np.zeros_like(spread), where=spread > LEAST_ERROR)
    largest = np.quantile(t.max(axis=together, keepdims=True), 1 - ALPHA, axis=0)
    return np.maximum(largest, Z_95) * np.sqrt(spread**2 + smoothing)


@dataclass(frozen=True)
class Difference:
    """How much higher one row scores than another, and its 95 % interval."""

    value: float
    low: float
    high: float


def difference(draws: Draws, first: str, second: str, measure: str) -> Difference:
    """How much higher `second` scores than `first`, a pair chosen without looking at the test images."""
    scores, deviations = draws.of(measure)
    i, j = draws.rows.index(first), draws.rows.index(second)
    value, reach = scores[j] - scores[i], Z_95 * (deviations[:, j] - deviations[:, i]).std(ddof=1, dtype=np.float64)
    return Difference(float(value), max(-1.0, float(value - reach)), min(1.0, float(value + reach)))


def paired_differences(resamples: Resamples, first: np.ndarray, second: np.ndarray) -> dict[str, Difference]:
    """By measure, how much higher answers `second` score than `first`, int (n,) each, on the images of `resamples`."""
    values = score_draws(resamples, np.stack([first, second])).transpose(1, 0, 2)[:, :, : len(MEASURES)]
    draws = Draws(("first", "second"), MEASURES, values, {})
    return {measure: difference(draws, "first", "second", measure) for measure in MEASURES}


@dataclass(frozen=True)
class Pick:
    """The row to use; those that are as good on the validation images, `row` among them; and the best there."""

    row: str
    within: tuple[str, ...]
    best: str


def about_as_fast(seconds: float) -> float:
    """Up to which time to train a row is about as fast as one of `seconds`: a second time it may well take that."""
    return max(ABOUT_AS_FAST * seconds, seconds + A_MINUTE)


def pick(validation: Draws, rows: pd.DataFrame) -> Pick:
    """Of the rows within one standard error of the best macro-F1, those with most seeds; of these the fastest.

    Where rows are about as fast, macro-F1 decides, then the name.

    validation: draws on the validation images, of all of `rows`: index row; columns n_seeds, seconds (NaN: last). The
    error is that of the paired difference. Breiman, Friedman, Olshen and Stone (1984), section 3.4.3.
    """
    scores, deviations = validation.of("macro_f1")
    names = [validation.rows.index(name) for name in sorted(rows.index)]
    best = max(names, key=lambda row: scores[row])
    errors = (deviations[:, [best]] - deviations).std(axis=0, ddof=1)
    within = [validation.rows[row] for row in names if scores[best] - scores[row] <= errors[row]]
    equal = rows.loc[within]
    surest = equal[equal["n_seeds"] == equal["n_seeds"].max()]
    fast = surest[~(surest["seconds"].fillna(np.inf) > about_as_fast(surest["seconds"].min()))]
    row = max(fast.index, key=lambda name: scores[validation.rows.index(name)])
    return Pick(row, tuple(within), validation.rows[best])
