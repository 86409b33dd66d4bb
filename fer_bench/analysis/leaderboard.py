"""The tables of a leaderboard put together, and what is picked by which rule."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from fer_bench.analysis import overview
from fer_bench.analysis.comparisons import MEASURES, Draws, DrawsBySubset, Pick, row_draws
from fer_bench.analysis.effects import BASE_STRATEGY, Changes, pooled_effects, strategy_effects
from fer_bench.analysis.evidence.ensemble import unlike_members
from fer_bench.analysis.evidence.leakage import against_data, against_run, selects_on_test
from fer_bench.analysis.findings import Finding, findings
from fer_bench.analysis.picks import best_of_model, picks, versus
from fer_bench.analysis.predictions import Predictions, Run, Split, newest_splits
from fer_bench.analysis.references import REFERENCES, Reference
from fer_bench.analysis.rows import UNTRAINED, recall_frame, rows_frame, runs_frame
from fer_bench.analysis.scores import TEST, Evaluation, Evaluator, scores_frame
from fer_bench.analysis.slices import Sliced, families_by_slice, slices_frame
from fer_bench.errors import FerBenchError
from fer_bench.records import Audit

if TYPE_CHECKING:
    from fer_bench.records import ReadableFolder


@dataclass(frozen=True)
class Leaderboard:
    """Everything that is shown of the runs of one split.

    rows: a line per model and strategy, best first, indexed by "label / strategy": see `rows.rows_frame`. runs, scores:
    see `rows.runs_frame`, `scores.scores_frame`. recall: of each class, indexed by row and subset. effects, pooled: by
    subset "test" and "clean": see `effects`. picks: by "all", "classical", "deep", "minutes", "hours", "gpu"; absent
    where there is none. versus: classical against deep. best_of_model: a line per model at the strategy picked on
    validation. grid: macro-F1, model by strategy, and grid_status why there is none. unranked: suspect, reasons
    (findings), accuracy, macro_f1. slices, families_by_slice: see `slices`, empty without any.
    clean, predicted, reliability, draws: what pages draw from.
    """

    predictions: Predictions
    data: overview.DataFacts
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
    clean: np.ndarray | None
    predicted: Mapping[str, np.ndarray]
    reliability: Mapping[str, np.ndarray]
    draws: Mapping[str, Draws]
    slices: pd.DataFrame = field(default_factory=pd.DataFrame)
    families_by_slice: pd.DataFrame = field(default_factory=pd.DataFrame)
    findings: tuple[Finding, ...] = ()

    @property
    def labels(self) -> np.ndarray:
        """Of the test images, int64 (n,)."""
        return self.predictions.labels[TEST]

    @property
    def suffix(self) -> str:
        """What names of its files have before their ending: "-5-folds" for those of five folds."""
        return f"-{self.data.n_folds}-folds" if self.data.n_folds else ""

    @property
    def may_be_best(self) -> set[tuple[str, str]]:
        """Model and strategy of the rows that the test images cannot tell from the best one."""
        tied = self.rows[self.rows["in_best_set"].eq(True)]
        return set(zip(tied["model"], tied["strategy"], strict=True))

    @property
    def timed_alike(self) -> bool:
        """Whether all runs had the same processor and as many cores."""
        return all(len(self.environment.get(name, ())) < 2 for name in ("processor", "cores per run"))


def load_leaderboard(folder: ReadableFolder, split: Split | None = None, cached: bool = True) -> Leaderboard:
    """Judge the runs of `split` in `folder`, by default that of the newest record, one without folds if there is any.

    cached: whether scores that were computed before are believed. The same folder gives the same leaderboard. Raises
    FerBenchError where there is no record, or what is stored is damaged.
    """
    records = folder.records()
    if not records:
        raise FerBenchError(f"no records in {folder.path}; `fer_bench run` makes some")
    _, split_fingerprint, n_folds = split or newest_splits(records)[0]
    predictions = Predictions.load(folder, split_fingerprint, n_folds, records)
    board = _judged(predictions, Evaluator(predictions, cached), predictions.audit)
    return replace(board, findings=findings(board))


def _judged(predictions: Predictions, evaluator: Evaluator, audit: Audit | None) -> Leaderboard:
    """All that is shown but the findings, which speak of it."""
    evaluations, problems = evaluator.evaluate([run for run in predictions.runs if run.is_scored])
    for run_id, problem in _outdated(predictions, evaluations).items():
        problems[run_id] = problem
        del evaluations[run_id]
    suspicions = against_data(audit) if audit else ()
    runs = runs_frame(predictions.runs)
    labels_only = set(runs.index[runs["is_labels_only"]])
    scores = scores_frame(evaluations, labels_only)
    unranked = _unranked(predictions, runs, evaluations, problems, audit, suspicions)
    ranked = runs[runs["is_scored"] & ~runs["row"].isin(unranked.index)]
    run_draws, measures = evaluator.draws(evaluations), (*MEASURES, *predictions.class_names)
    draws = _draws(ranked, run_draws, measures)
    rows = rows_frame(ranked, scores, evaluations, evaluator, run_draws, draws)
    effects, pooled = _effects(ranked, rows, run_draws, evaluator, measures)
    grid, grid_status = overview.grid(runs, rows, unranked)
    picked = picks(rows, draws)
    predicted = {run_id: one.predicted[TEST] for run_id, one in evaluations.items()}
    sliced = Sliced.of(
        predictions.slices, evaluator.labels, len(predictions.class_names), ranked, predicted, predictions.groups(TEST),
        evaluator.cached,
    )  # fmt: skip
    return Leaderboard(
        predictions=predictions,
        data=overview.data_facts(predictions, evaluator),
        audit=None if predictions.split[2] else audit,
        rows=rows,
        recall=recall_frame(rows, evaluations, predictions.class_names),
        runs=runs,
        scores=scores,
        effects=effects,
        pooled=pooled,
        picks=picked,
        versus=versus(rows, draws),
        best_of_model=best_of_model(rows, draws),
        grid=grid,
        grid_status=grid_status,
        unranked=unranked,
        failures=overview.failures(runs),
        not_applicable=overview.not_applicable(runs),
        environment=overview.environment(predictions),
        command=overview.newest_command(predictions),
        references=REFERENCES.get(predictions.runs[-1].record.dataset, ()),
        suspicions=suspicions,
        clean=evaluator.clean,
        predicted=predicted,
        reliability={
            run_id: np.array(one.figures.reliability)
            for run_id, one in evaluations.items()
            if run_id not in labels_only
        },
        draws=draws,
        slices=slices_frame(sliced, rows),
        families_by_slice=families_by_slice(sliced, picked),
    )


def _outdated(predictions: Predictions, evaluated: Collection[str]) -> dict[str, str]:
    """Why ensembles among the runs `evaluated` are not what their members are now."""
    runs = [run for run in predictions.runs if run.record.members and run.run_id in evaluated]
    faults = {run.run_id: unlike_members(predictions, run.record, predictions.stored(run)) for run in runs}
    return {run_id: found[0] for run_id, found in faults.items() if found}


def _unranked(
    predictions: Predictions, runs: pd.DataFrame, evaluations: Mapping[str, Evaluation], problems: Mapping[str, str],
    audit: Audit | None, suspicions: tuple[Finding, ...],
) -> pd.DataFrame:  # fmt: skip
    """Rows whose scores cannot be believed (suspect) or compared, and why; index row."""
    reasons: dict[str, list[Finding]] = defaultdict(list)
    scores: dict[str, list[tuple[float, float]]] = defaultdict(list)
    suspect: set[str] = set()
    scored = set(runs.loc[runs["is_scored"], "row"])  # by another seed, whose runs rank it
    for run in predictions.runs:
        row = runs.at[run.run_id, "row"]
        against = _against(predictions, run, run.run_id in evaluations, audit) if run.is_scored else []
        if run.is_scored and (against or suspicions):
            suspect.add(row)
        if run.run_id in problems:
            against.append(Finding("NOT_COMPARABLE", {"run_id": run.run_id, "problem": problems[run.run_id]}))
        if row not in scored and run.missing_folds and any(record.status == "success" for record in run.records):
            against.append(Finding("FOLDS_MISSING", {"run_id": run.run_id, "folds": list(run.missing_folds)}))
        reasons[row] += [*against, *(suspicions if run.is_scored else ())]
        scores[row] += [(one.test.accuracy, one.test.macro_f1) for one in run.records if one.test]
    lines = {
        row: {"suspect": row in suspect, "reasons": _distinct(found), **_reported(scores[row])}
        for row, found in reasons.items()
        if found
    }
    return pd.DataFrame.from_dict(lines, orient="index", columns=["suspect", "reasons", "accuracy", "macro_f1"])


def _against(predictions: Predictions, run: Run, is_evaluated: bool, audit: Audit | None) -> list[Finding]:
    """The gate's evidence against a run; one that predicted the split's images has not selected on test images."""
    folder = predictions.folder
    return list(
        against_run(run.records, audit, not is_evaluated and any(selects_on_test(folder, one) for one in run.records))
    )


def _distinct(found: list[Finding]) -> tuple[Finding, ...]:
    return tuple({repr(one): one for one in found}.values())


def _reported(scores: list[tuple[float, float]]) -> dict[str, float]:
    accuracy, macro_f1 = np.mean(scores, axis=0) if scores else (np.nan, np.nan)
    return {"accuracy": float(accuracy), "macro_f1": float(macro_f1)}


def _draws(runs: pd.DataFrame, run_draws: DrawsBySubset, measures: tuple[str, ...]) -> dict[str, Draws]:
    """By subset the draws of rows; those of validation only of rows all of whose runs stored its probabilities."""
    found = {}
    for subset, own in run_draws.items():
        lacking = set(runs.loc[~runs.index.isin(own), "row"])
        known = runs[~runs["row"].isin(lacking)]
        if len(known):
            found[subset] = row_draws(own, known, measures)
    return found


def _effects(
    runs: pd.DataFrame, rows: pd.DataFrame, run_draws: DrawsBySubset, evaluator: Evaluator, measures: tuple[str, ...]
) -> tuple[dict[str, pd.DataFrame], dict[str, pd.DataFrame]]:
    """What strategies did to each model, and over the models that beat a constant answer under none, by subset."""
    base = rows[(rows["strategy"] == BASE_STRATEGY) & rows["speaks"]]
    about = ["row", "model", "strategy", "seed", "family", "stochastic", "adjusted_from"]
    speaking, trained = set(base["model"]), runs.loc[~runs["family"].isin(UNTRAINED), about]
    effects, pooled = {}, {}
    for subset, labels in evaluator.test_labels.items():
        support = np.bincount(labels, minlength=len(measures) - len(MEASURES))
        changes = Changes.of(run_draws[subset], trained, measures, support)
        effects[subset] = strategy_effects(changes)
        pooled[subset] = pooled_effects(changes, effects[subset], speaking)
    return effects, pooled
