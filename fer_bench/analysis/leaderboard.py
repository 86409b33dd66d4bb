"""The tables of a leaderboard put together, and what is picked by which rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from fer_bench.analysis.findings import Finding

if TYPE_CHECKING:
    from fer_bench.analysis.comparisons import Draws, Pick
    from fer_bench.analysis.references import Reference
    from fer_bench.records import Audit, PublishedFolder, ResultsFolder


@dataclass(frozen=True)
class DataFacts:
    """What was learned from and how it was split. support: test images per class.

    clean_support: those without a copy in train, () where that is not known. n_choosers: validation images that choose
    between rows. minority: classes with less than half an even share of the test images. vote_counts: test images with
    a majority, without a usable one, of an emotion that the data do not have, tied; None without votes.
    """

    name: str
    fingerprint: str
    split_fingerprint: str
    split_source: str
    n_folds: int
    n_train: int
    n_validation: int
    n_test: int
    class_names: tuple[str, ...]
    support: tuple[int, ...]
    clean_support: tuple[int, ...] = ()
    n_choosers: int = 0
    minority: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    vote_counts: tuple[int, int, int, int] | None = None

    @property
    def test_has_copies(self) -> bool:
        """Whether it is known which test images have copies in train, and some do: then test-clean tells more."""
        return 0 < sum(self.clean_support) < sum(self.support)


@dataclass(frozen=True)
class Leaderboard:
    """Everything that is shown of the runs of one split.

    rows: a line per model and strategy, best first, indexed by "label / strategy": see `rows.rows_frame`. runs, scores:
    see `rows.runs_frame`, `scores.scores_frame`. recall: of each class, indexed by row and subset. effects, pooled: by
    subset "test" and "clean": see `effects`. picks: by "all", "classical", "deep", "minutes", "hours", "gpu"; absent
    where there is none. versus: classical against deep. best_of_model: a line per model at the strategy picked on
    validation. grid: macro-F1, model by strategy, and grid_status why there is none. unranked: suspect, reasons
    (findings), accuracy, macro_f1. labels, clean, predicted, reliability, draws: what pages draw from.
    """

    folder: ResultsFolder | PublishedFolder
    data: DataFacts
    audit: Audit | None
    rows: pd.DataFrame
    recall: pd.DataFrame
    runs: pd.DataFrame
    scores: pd.DataFrame
    effects: Mapping[str, pd.DataFrame]
    pooled: Mapping[str, pd.DataFrame]
    picks: Mapping[str, Pick]
    versus: pd.DataFrame
    best_of_model: pd.DataFrame
    grid: pd.DataFrame
    grid_status: pd.DataFrame
    unranked: pd.DataFrame
    failures: pd.DataFrame
    not_applicable: pd.DataFrame
    environment: Mapping[str, tuple[str, ...]]
    command: str
    references: tuple[Reference, ...]
    suspicions: tuple[Finding, ...]
    labels: np.ndarray
    clean: np.ndarray | None
    image_ids: np.ndarray
    predicted: Mapping[str, np.ndarray]
    reliability: Mapping[str, np.ndarray]
    draws: Mapping[str, Draws]
    findings: tuple[Finding, ...] = ()
    n_elsewhere: int = 0

    @property
    def suffix(self) -> str:
        """What names of its files have before their ending: "-5-folds" for those of five folds."""
        return f"-{self.data.n_folds}-folds" if self.data.n_folds else ""

    @property
    def timed_alike(self) -> bool:
        """Whether all runs had the same processor and as many cores."""
        return all(len(self.environment.get(name, ())) < 2 for name in ("processor", "cores per run"))
