"""Who is it bad for? Scores of each row on slices of the test images: on those of one value of an attribute.

Slices differ in their classes, so a slice is compared with the images of the other values of its attribute weighed to
the classes of the slice: what is left is not its mix of expressions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from fer_bench.analysis.bootstrap import Resamples, score_draws
from fer_bench.analysis.comparisons import Z_95, Draws, Pick, joint_reach, row_draws
from fer_bench.analysis.scores import computed_once

FEW_IMAGES = 30
"""A slice of fewer test images is small."""
FEW_OF_A_CLASS = 5
"""Of fewer images of a class that it has, the macro-F1 of a slice hangs on single ones."""
MEASURES = ("accuracy", "macro_f1", "difference")
COLUMNS = (
    "row", "model", "strategy", "family", "slice", "value", "n_images", "is_small", "has_few_of_a_class",
    *(measure + end for measure in MEASURES for end in ("", "_low", "_high")), "is_worst", "is_worse",
)  # fmt: skip
FAMILY_COLUMNS = (
    "slice", "value", "n_images", "is_small", "classical", "deep", "is_harder",
    *(measure + end for measure in ("change", "copes") for end in ("", "_low", "_high")),
)  # fmt: skip


@dataclass(frozen=True)
class Sliced:
    """The scores of rows on S slices of the test images.

    about: slice, value, n_images, n_others (of the other values of the attribute), least (images of the rarest class
    that it has). draws: of each slice, of accuracy, macro_f1 (over the classes that the slice has) and difference:
    accuracy less that on the other images weighed to the classes of the slice.
    """

    about: pd.DataFrame
    draws: tuple[Draws, ...]

    @classmethod
    def of(
        cls, slices: Mapping[str, np.ndarray], labels: np.ndarray, n_classes: int, runs: pd.DataFrame,
        predicted: Mapping[str, np.ndarray], groups: np.ndarray | None = None, cached: bool = True,
    ) -> Sliced:  # fmt: skip
        """slices: str (n,) by name. labels: int (n,). runs: as `row_draws` takes them. predicted: int (n,) by run.

        groups: int (n,), who is on the images, where that is known: people are redrawn whole. cached: whether what was
        computed before is taken.

        Attributes with fewer than two values among these images tell nothing apart and are left out.
        """
        answers = np.stack([predicted[run_id] for run_id in runs.index]) if len(runs) else np.empty((0, len(labels)))
        lines, draws = [], []
        for name, values in slices.items():
            found = sorted(set(values.tolist()) - {""}, key=_order)
            if len(found) < 2 or not len(runs):
                continue
            cells = [np.flatnonzero(values == value) for value in found]
            support = np.stack([np.bincount(labels[cell], minlength=n_classes) for cell in cells])
            arrays = (support, labels, *cells, answers, groups)
            compute = partial(_scores, labels, cells, support, answers, groups)
            scores = computed_once("slices", arrays, compute, cached)
            for value, own, of_runs in zip(found, support, scores, strict=True):
                n, least = int(own.sum()), int(own[own > 0].min())
                lines.append((name, value, n, int(support.sum()) - n, least))
                draws.append(row_draws(dict(zip(runs.index, of_runs, strict=True)), runs, MEASURES))
        about = pd.DataFrame(lines, columns=["slice", "value", "n_images", "n_others", "least"])
        return cls(about, tuple(draws))

    def of_measure(self, measure: str) -> tuple[np.ndarray, np.ndarray]:
        """Scores, float64 (R, S), and how the draws deviate from their means, float32 (draws, R, S)."""
        values, deviations = zip(*(draws.of(measure) for draws in self.draws), strict=True)
        return np.stack(values, axis=1), np.stack(deviations, axis=2)

    @property
    def is_small(self) -> pd.Series:
        """Whether a slice has fewer than FEW_IMAGES images, bool (S,)."""
        return self.about["n_images"] < FEW_IMAGES


def slices_frame(sliced: Sliced, rows: pd.DataFrame) -> pd.DataFrame:
    """A line per row, in the order of `rows`, and slice: COLUMNS; shares from 0 to 1.

    Intervals of accuracy and macro-F1 hold 95 times in 100 each, those of the differences of a row all together.
    is_worst: of the slices of a row, that whose difference is lowest by its upper end, so that few images do not make
    a slice the worst by chance. is_worse: whether that end is below 0, so beyond chance.
    has_few_of_a_class: macro-F1 hangs on single images.
    """
    if not sliced.draws or rows.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    n, others = sliced.about["n_images"].to_numpy(), sliced.about["n_others"].to_numpy()
    limits: dict[str, np.ndarray] = {}
    (accuracy, spread), (macro_f1, f1_spread), (difference, apart) = map(sliced.of_measure, MEASURES)
    own, own_centre = _smoothing(accuracy, n)
    rest, rest_centre = _smoothing(np.clip(accuracy - difference, 0, 1), others)
    limits |= _limits("accuracy", accuracy, own_centre, Z_95 * _error(spread, own), 0)
    limits |= _limits("macro_f1", macro_f1, macro_f1, Z_95 * _error(f1_spread, own), 0)
    limits |= _limits("difference", difference, own_centre - rest_centre, joint_reach(apart, own + rest, 2), -1)
    worst = limits["difference_high"].argmin(axis=1)
    is_worst = np.arange(len(n)) == worst[:, None]
    limits |= {"is_worst": is_worst, "is_worse": limits["difference_high"] < 0}
    order = [sliced.draws[0].rows.index(row) for row in rows.index]
    about = sliced.about.assign(is_small=sliced.is_small, has_few_of_a_class=sliced.about["least"] < FEW_OF_A_CLASS)
    frames = [
        about.assign(row=row, **rows.loc[row, ["model", "strategy", "family"]], **_line(limits, at))
        for row, at in zip(rows.index, order, strict=True)
    ]
    return pd.concat(frames, ignore_index=True)[list(COLUMNS)]


def families_by_slice(sliced: Sliced, picks: Mapping[str, Pick]) -> pd.DataFrame:
    """The classical row and the network that are picked against one another, a line per slice: FAMILY_COLUMNS.

    classical, deep: their accuracy. is_harder: whether the two lose on the slice, against the other images, on average.
    change: deep less classical. copes: by how much less deep loses than classical does, whoever is ahead. Each of the
    two has intervals that hold together.
    """
    if not sliced.draws or not {"classical", "deep"} <= set(picks):
        return pd.DataFrame(columns=list(FAMILY_COLUMNS))
    at = [sliced.draws[0].rows.index(picks[family].row) for family in ("classical", "deep")]
    accuracy, _ = sliced.of_measure("accuracy")
    found = sliced.about.assign(is_small=sliced.is_small, classical=accuracy[at[0]], deep=accuracy[at[1]])
    pairs = 2 / (sliced.about["n_images"].to_numpy() + 2) ** 2  # two more images, one won and one lost: as in `effects`
    for name, measure in (("change", "accuracy"), ("copes", "difference")):
        values, deviations = sliced.of_measure(measure)
        value = values[[at[1]]] - values[[at[0]]]
        reach = joint_reach(deviations[:, [at[1]]] - deviations[:, [at[0]]], pairs, 2)
        found = found.assign(**_line(_limits(name, value, value, reach, -1), 0))
    found["is_harder"] = values[at].mean(axis=0) < 0  # by "difference", the last
    return found[list(FAMILY_COLUMNS)]


def _order(value: str) -> tuple[float, str]:
    """Ranges and numbers by size, then texts."""
    number = re.match(r"(< |>= )?(-?\d+(?:\.\d+)?(?:e[-+]?\d+)?)", value)
    if not number:
        return np.inf, value
    return {"< ": -np.inf, ">= ": np.finfo(float).max}.get(number[1] or "", float(number[2])), value


def _scores(
    labels: np.ndarray, cells: list[np.ndarray], support: np.ndarray, answers: np.ndarray, groups: np.ndarray | None
) -> np.ndarray:
    """MEASURES of r runs on each of S slices, the `cells`, and on redraws: float32 (S, r, 1 + draws, 3).

    support: int (S, k), images of each class. The images of a class in a slice are redrawn among themselves, in one
    stream, so that slices are redrawn independently of each other, and all runs alike; people, whole, in all of theirs.
    """
    n_slices, k = support.shape
    part = np.full(len(labels), -1)
    for number, cell in enumerate(cells):
        part[cell] = number
    known = part >= 0
    people = None if groups is None else groups[known]
    strata = Resamples.of((part * k + labels)[known], n_slices * k, groups=people)
    recalls, found = [], []
    for number, own in enumerate(support):
        mine = slice(number * k, (number + 1) * k)
        of_slice = replace(strata, rows=strata.rows[mine], times=strata.times[mine], scales=strata.scales[mine])
        drawn = score_draws(of_slice, answers[:, known])
        drawn[:, :, 1] *= k / np.count_nonzero(own)
        found.append(drawn[:, :, :2])
        recalls.append(drawn[:, :, 2:])
    hits = sum(recall * own for recall, own in zip(recalls, support.astype(np.float32), strict=True))
    for number, own in enumerate(support):
        others = support.sum(axis=0) - own
        rest = (hits - recalls[number] * own.astype(np.float32)) / np.maximum(others, 1).astype(np.float32)
        shared = np.where(others > 0, own, 0)
        weights = (shared / max(shared.sum(), 1)).astype(np.float32)
        found[number] = np.concatenate([found[number], ((recalls[number] - rest) @ weights)[:, :, None]], axis=2)
    return np.stack(found)


def _smoothing(share: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What two more images, one right and one wrong, add to the variance of a share, and the share with them.

    Without them a slice of three images, all of them wrong, has no spread. Agresti and Caffo (2000), Simple and
    Effective Confidence Intervals for Proportions and Differences of Proportions.
    """
    more = n + 2
    centre = (share * n + 1) / more
    return np.maximum(centre * (1 - centre) / more - share * (1 - share) / np.maximum(n, 1), 0), centre


def _error(deviations: np.ndarray, smoothing: np.ndarray) -> np.ndarray:
    return np.sqrt(deviations.std(axis=0, ddof=1, dtype=np.float64) ** 2 + smoothing)


def _limits(name: str, values: np.ndarray, centre: np.ndarray, reach: np.ndarray, least: int) -> dict[str, np.ndarray]:
    """Values and the ends of their intervals, which hold the values and lie between `least` and 1."""
    low = np.minimum(np.maximum(centre - reach, least), values)
    return {name: values, f"{name}_low": low, f"{name}_high": np.maximum(np.minimum(centre + reach, 1), values)}


def _line(limits: Mapping[str, np.ndarray], at: int) -> dict[str, np.ndarray]:
    return {name: of_rows[at] for name, of_rows in limits.items()}
