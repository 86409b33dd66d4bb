"""What a leaderboard says of its data and runs beside scores: counts, gaps, failures, surroundings."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fer_bench.analysis.effects import BASE_STRATEGY, minority
from fer_bench.analysis.predictions import Predictions
from fer_bench.analysis.rows import UNTRAINED
from fer_bench.analysis.scores import TEST, VALIDATION, Evaluator
from fer_bench.metrics import NOT_AN_EMOTION, OTHER_EMOTION, TIED, majority, vote_columns


@dataclass(frozen=True)
class DataFacts:
    """What was learned from and how it was split. support: test images per class.

    clean_support: those without a copy in train, () where that is not known. n_choosers: validation images that choose
    between rows. minority: classes with less than half an even share of the test images. vote_counts: test images with
    a majority, without a usable one, of an emotion that the data do not have, tied; None without votes. grouped_by:
    "person" where it is known who is on the images ("image", "clip": what else keeps some together), n_groups: how many
    are tested.
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
    grouped_by: str = ""
    n_groups: int = 0

    @property
    def constant_scores(self) -> tuple[float, float]:
        """Accuracy and macro-F1 of who always names the most frequent class: its precision is its share."""
        share = max(self.support) / sum(self.support)
        return share, 2 * share / (1 + share) / len(self.support)

    @property
    def test_has_copies(self) -> bool:
        """Whether it is known which test images have copies in train, and some do: then test-clean tells more."""
        return 0 < sum(self.clean_support) < sum(self.support)


def data_facts(predictions: Predictions, evaluator: Evaluator) -> DataFacts:
    """Of the data and split that `predictions` are of."""
    record, names = predictions.runs[-1].record, predictions.class_names
    support = np.bincount(evaluator.labels, minlength=len(names))
    clean = () if evaluator.clean is None else np.bincount(evaluator.labels[evaluator.clean], minlength=len(names))
    notes = (note for run in predictions.runs for one in run.records for note in one.data_notes)
    data_fingerprint, split_fingerprint, n_folds = predictions.split
    groups = predictions.groups(TEST)
    return DataFacts(
        name=record.dataset,
        fingerprint=data_fingerprint,
        split_fingerprint=split_fingerprint,
        split_source=record.split_source,
        n_folds=n_folds,
        n_train=predictions.n_train,
        n_validation=len(predictions.labels[VALIDATION]),
        n_test=len(predictions.labels[TEST]),
        class_names=names,
        support=tuple(support.tolist()),
        clean_support=tuple(int(n) for n in clean),
        n_choosers=int(predictions.choosers.sum()),
        minority=tuple(names[label] for label in minority(support.tolist())),
        notes=tuple(dict.fromkeys(notes)),
        vote_counts=_vote_counts(evaluator, names),
        grouped_by=predictions.grouped_by,
        n_groups=0 if groups is None else len(np.unique(groups)),
    )


def _vote_counts(evaluator: Evaluator, class_names: tuple[str, ...]) -> tuple[int, int, int, int] | None:
    facts = evaluator.facts
    if facts is None or facts.votes is None:
        return None
    truth = majority(facts.votes, vote_columns(facts.vote_names, class_names))
    counts = ((truth >= 0), (truth == NOT_AN_EMOTION), (truth == OTHER_EMOTION), (truth == TIED))
    return tuple(int(which.sum()) for which in counts)  # type: ignore[return-value]


def grid(runs: pd.DataFrame, rows: pd.DataFrame, unranked: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Macro-F1, model by strategy, NaN where there is none; and why: "n/a", "not run", a status, or "" where there is.

    Models stand as their best rows do, "none" is the first strategy. Families that were not trained are left out.
    """
    trained = runs[~runs["family"].isin(UNTRAINED)]
    own = rows[~rows["family"].isin(UNTRAINED)]
    models = list(dict.fromkeys([*own["model"], *sorted(trained["model"])]))
    strategies = sorted(trained["strategy"].unique(), key=strategy_order)
    found = own.pivot(index="model", columns="strategy", values="macro_f1").reindex(index=models, columns=strategies)
    odd = trained.sort_values("seed", ascending=False, kind="stable").groupby(["model", "strategy"])["status"].last()
    status = odd.replace({"not-applicable": "n/a"}).unstack().reindex(index=models, columns=strategies)
    status = status.fillna("not run").mask(found.notna(), "")
    for row in trained[trained["row"].isin(unranked.index)].drop_duplicates("row").itertuples():
        mark = "suspect" if unranked.at[row.row, "suspect"] else "not comparable"
        status.loc[row.model, row.strategy] = mark
    return found, status


def strategy_order(strategy: str) -> tuple[bool, str]:
    """Sorting key: "none" first, as every other strategy is compared with it."""
    return strategy != BASE_STRATEGY, strategy


def failures(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs that were tried and did not succeed: model, strategy, seed, status, reason, run_id."""
    failed = runs[~runs["is_scored"] & (runs["status"] != "not-applicable")].reset_index()
    columns = ["model", "strategy", "seed", "status", "reason", "run_id"]
    return failed.sort_values(["model", "strategy", "seed"])[columns].reset_index(drop=True)


def not_applicable(runs: pd.DataFrame) -> pd.DataFrame:
    """strategies and models, tuples, that do not go together for one reason, which reads on from the model's name."""
    strategies: dict[tuple[str, str], set[str]] = defaultdict(set)
    for run in runs[runs["status"] == "not-applicable"].itertuples():
        reason = run.reason.removeprefix(f"{run.model_name} ")
        strategies[reason, run.model].add(run.strategy)
    models: dict[tuple[tuple[str, ...], str], set[str]] = defaultdict(set)
    for (reason, model), names in strategies.items():
        models[tuple(sorted(names, key=strategy_order)), reason].add(model)
    lines = [(names, tuple(sorted(members)), reason) for (names, reason), members in sorted(models.items())]
    return pd.DataFrame(lines, columns=["strategies", "models", "reason"])


def environment(predictions: Predictions) -> dict[str, tuple[str, ...]]:
    """Distinct values by name: processor, cores per run, platform, git revision, python, then packages."""
    facts = [one.environment for run in predictions.runs for one in run.records if one.environment]
    found: dict[str, set[Any]] = defaultdict(set)
    for fact in facts:
        found["processor"].add(fact.processor)
        found["cores per run"].add(fact.n_jobs)
        found["platform"].add(fact.platform)
        found["git revision"].add(fact.git_revision)
        found["python"].add(fact.python)
    for fact in facts:
        for package, version in sorted(fact.versions.items()):
            found[package].add(version)
    return {name: tuple(sorted(map(str, values - {None, ""}))) for name, values in found.items() if values - {None, ""}}


def newest_command(predictions: Predictions) -> str:
    """What started the newest run that was trained here."""
    trained = (run.record.command for run in reversed(predictions.runs) if run.record.family not in UNTRAINED)
    return next(trained, "")
