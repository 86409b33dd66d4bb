"""Ranks over several seeds or datasets: Friedman's test, and Nemenyi's critical difference after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fer_bench.judging.resampling import ALPHA

MIN_ROWS, MIN_BLOCKS = 3, 3
CAVEAT = (
    "Seeds and folds of one dataset share its images. They are not independent, as the test supposes: what it finds "
    "holds for this dataset alone, and is found too easily."
)


@dataclass(frozen=True)
class RankTest:
    """Mean ranks of rows over blocks (1 the best), best first.

    p: Friedman's test that all rows are equal. critical_difference: mean ranks further apart differ (Nemenyi).
    """

    names: tuple[str, ...]
    mean_ranks: tuple[float, ...]
    n_blocks: int
    p: float
    critical_difference: float


def rank_test(scores: Mapping[str, Mapping[tuple[int, str], float]]) -> RankTest | None:
    """Compare rows by their `scores`, by row and block, higher being better, on the blocks that all of them have.

    None with fewer than 3 rows or blocks, where nothing can be said. Demsar (2006), Statistical Comparisons of
    Classifiers over Multiple Data Sets, sections 3.2.2 (Friedman, in Iman and Davenport's form) and equation for
    Nemenyi's critical difference.
    """
    blocks = sorted(set.intersection(*(set(by_block) for by_block in scores.values()))) if scores else []
    k, n = len(scores), len(blocks)
    if k < MIN_ROWS or n < MIN_BLOCKS:
        return None
    from scipy.stats import f as f_distribution  # here, as it takes a second to import and most calls end above
    from scipy.stats import rankdata, studentized_range

    table = np.array([[by_block[block] for by_block in scores.values()] for block in blocks])
    means = rankdata(-table, axis=1).mean(axis=0)
    chi2 = 12 * n / (k * (k + 1)) * ((means**2).sum() - k * (k + 1) ** 2 / 4)
    room = n * (k - 1) - chi2
    p = float(f_distribution.sf((n - 1) * chi2 / room, k - 1, (k - 1) * (n - 1))) if room > 1e-9 else 0.0
    difference = float(studentized_range.ppf(1 - ALPHA, k, np.inf) / np.sqrt(2) * np.sqrt(k * (k + 1) / (6 * n)))
    order = np.argsort(means, kind="stable")
    names, ranks = tuple(np.array(list(scores))[order].tolist()), tuple(means[order].tolist())
    return RankTest(names, ranks, n, p, difference)


def groups(ranks: Sequence[float], difference: float) -> tuple[tuple[int, int], ...]:
    """The longest runs (start, end) of ascending `ranks` within `difference` of each other; those of one left out."""
    found: list[tuple[int, int]] = []
    for start in range(len(ranks)):
        end = start + sum(rank - ranks[start] <= difference for rank in ranks[start:])
        if end - start > 1 and (not found or end > found[-1][1]):
            found.append((start, end))
    return tuple(found)
