"""The tables of a leaderboard, as plain data: what is compared, what is missing and why."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fer_bench.judging.effects import StrategyEffect
from fer_bench.judging.inference import Standing
from fer_bench.judging.ranks import RankTest
from fer_bench.judging.references import Reference
from fer_bench.judging.resampling import Interval
from fer_bench.records.audit import Audit
from fer_bench.records.schema import Record

METRICS = ("accuracy", "macro_precision", "macro_recall", "macro_f1", "balanced_accuracy")
FURTHER = (
    "weighted_precision", "weighted_recall", "weighted_f1", "mcc", "kappa", "pr_auc", "top2_accuracy", "log_loss",
    "brier", "ece",
)  # fmt: skip
VOTE_METRICS = ("accuracy", "macro_f1", "cross_entropy", "sided")
UNTRAINED = ("external", "ensemble")
"""Families of rows that this suite did not train."""
RANK_DECIMALS = 4
MISSING = NOT_RUN = "-"
NOT_APPLICABLE = "n/a"


@dataclass(frozen=True)
class Statistic:
    """Mean over seeds and folds; sample standard deviation where there are at least two."""

    mean: float
    sd: float | None = None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Statistic":
        """Of one value or more."""
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


@dataclass(frozen=True)
class Row:
    """One model under one strategy, over its seeds and folds.

    label: the model with its budget and what else differs from its own recipe, so that variants are told apart.
    scores: by name in METRICS, on the test images; recall: per class. f1_by_run: test macro-F1 by seed and fold.
    missing: the seeds and folds that did not succeed, in words. lacks_folds: whether folds are among them.
    run_id: of the first run, for links. feature_seconds: of what its runs share with others; fit_seconds: of one run.
    on_gpu: whether all its runs were. Where only some were, its seconds are those of the others.
    weights: what the network started from. unpretrained: it could have started from trained weights, and did not.
    validation_f1: of the validation images by which rows are chosen. fitted: something of it was fitted to these.

    What follows is known where probabilities are stored. standing: None where the row could not be compared.
    intervals: of accuracy and macro-F1. clean, clean_intervals, clean_recall, clean_band: on test-clean. further: by
    name in FURTHER, and ece_scaled and temperature. votes: by name in VOTE_METRICS. What is missing for one seed is
    missing for the row.
    """

    rank: int
    label: str
    strategy: str
    family: str
    scores: dict[str, Statistic]
    validation_f1: float | None
    recall: tuple[float, ...]
    f1_by_run: dict[tuple[int, str], float]
    missing: tuple[str, ...]
    lacks_folds: bool
    run_id: str
    feature_seconds: float | None
    fit_seconds: float | None
    ms_per_image: float | None
    on_gpu: bool
    n_parameters: int | None
    weights: str
    unpretrained: bool
    fitted: bool
    standing: Standing | None = None
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    clean: Mapping[str, Statistic] = field(default_factory=dict)
    clean_intervals: Mapping[str, Interval] = field(default_factory=dict)
    clean_recall: tuple[float, ...] = ()
    clean_band: int | None = None
    further: Mapping[str, Statistic | None] = field(default_factory=dict)
    votes: Mapping[str, Statistic | None] = field(default_factory=dict)

    @property
    def macro_f1(self) -> float:
        """Mean macro-F1 on the test images."""
        return self.scores["macro_f1"].mean

    @property
    def name(self) -> str:
        """`model / strategy`, as the tables name a row."""
        return f"{self.label} / {self.strategy}"


@dataclass(frozen=True)
class Unranked:
    """A row that is not ranked, and why, one line each. suspect: because its score cannot be believed."""

    row: Row
    reasons: tuple[str, ...]
    suspect: bool


@dataclass(frozen=True)
class Facts:
    """What is known of the images beside the records. Counts of images; None or empty where it is not known.

    clean_support: per class, without a copy in train. n_choosers: validation images that choose between rows.
    votes: n_images, n_unusable, n_other_class, n_tied.
    suspicions: evidence against the data. missing: why there are no intervals.
    """

    audit: Audit | None = None
    clean_support: tuple[int, ...] = ()
    n_choosers: int = 0
    votes: tuple[int, int, int, int] | None = None
    minority: tuple[str, ...] = ()
    suspicions: tuple[str, ...] = ()
    missing: str = ""


@dataclass(frozen=True)
class Failure:
    """A run that was tried and has no test scores."""

    label: str
    strategy: str
    seed: int
    fold: str
    status: str
    reason: str
    run_id: str


@dataclass(frozen=True)
class NotApplicable:
    """Strategies that cannot be applied to some models, for one reason that reads on from the model's name."""

    strategies: tuple[str, ...]
    labels: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Effect:
    """What a strategy did to macro-F1, over models that have scores under it and under "none" with the same seeds."""

    strategy: str
    n_models: int
    n_higher: int
    n_lower: int
    median_change: float


@dataclass(frozen=True)
class Grid:
    """cells[i][j]: the row of labels[i] under strategies[j], or a word saying why there is none."""

    labels: tuple[str, ...]
    strategies: tuple[str, ...]
    cells: tuple[tuple[Row | str, ...], ...]


@dataclass(frozen=True)
class Data:
    """What was learned from and how it was split. support: test images per class, once a run has succeeded."""

    name: str
    fingerprint: str
    split_fingerprint: str
    split_source: str
    n_train: int
    n_validation: int
    n_test: int
    class_names: tuple[str, ...]
    support: tuple[int, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Leaderboard:
    """Everything that is shown of the records of one split.

    data: None where there is no record at all. environment: distinct values by name, usually one each.
    notes: labels of rows by what their runs noted. ranks: by run id, runs without scores left out.
    n_elsewhere: records of other data or another split, which cannot be compared and are left out.
    unranked: rows whose scores are not to be believed or cannot be compared. strategy_effects: one per model and
    strategy, with intervals, where probabilities are stored; clean_effects: the same on test-clean. rank_test: None
    with too few seeds. figures: by run id, what the CSV shows of a run beside its record. drawings: by row, paths of
    what was drawn of its first run.
    """

    data: Data | None
    rows: tuple[Row, ...]
    grid: Grid
    effects: tuple[Effect, ...]
    failures: tuple[Failure, ...]
    not_applicable: tuple[NotApplicable, ...]
    notes: dict[str, tuple[str, ...]]
    environment: dict[str, tuple[str, ...]]
    records: tuple[Record, ...]
    ranks: dict[str, int]
    n_elsewhere: int
    command: str
    unranked: tuple[Unranked, ...] = ()
    facts: Facts = Facts()
    strategy_effects: tuple[StrategyEffect, ...] = ()
    clean_effects: tuple[StrategyEffect, ...] = ()
    rank_test: RankTest | None = None
    references: tuple[Reference, ...] = ()
    figures: Mapping[str, Mapping[str, float | str | None]] = field(default_factory=dict)
    drawings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def n_folds(self) -> int:
        """How many folds were drawn; 0 for one split."""
        return next((record.spec.n_folds for record in self.records), 0)

    @property
    def suffix(self) -> str:
        """What names of its files have before their ending: "-5-folds" for those of five folds."""
        return f"-{self.n_folds}-folds" if self.n_folds else ""

    @property
    def timed_alike(self) -> bool:
        """Whether all runs had the same processor and as many cores."""
        return all(len(self.environment.get(name, ())) < 2 for name in ("processor", "cores per run"))

    @property
    def test_has_copies(self) -> bool:
        """Whether it is known which test images have copies in train, and some do: then test-clean tells more."""
        return self.data is not None and 0 < sum(self.facts.clean_support) < sum(self.data.support)
