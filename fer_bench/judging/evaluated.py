"""What stored probabilities add to the rows of a leaderboard. Missing for one seed is missing for the row."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fer_bench.judging.evaluation import Evaluation
from fer_bench.judging.gate import MARK
from fer_bench.judging.inference import standings
from fer_bench.judging.judgement import Judgement
from fer_bench.judging.resampling import ACCURACY, MACRO_F1, mean_of
from fer_bench.judging.tables import FURTHER, METRICS, UNTRAINED, VOTE_METRICS, Row, Statistic
from fer_bench.records.schema import Record, Scores

COLUMNS = {"accuracy": ACCURACY, "macro_f1": MACRO_F1}


def scores_of(run: Record, judgement: Judgement) -> Scores:
    """The test scores of a run that has some: computed again where its probabilities are stored."""
    evaluation = judgement.evaluations.get(run.run_id)
    scores = evaluation.figures.test if evaluation else run.test
    assert scores is not None
    return scores


def validation_f1(run: Record, judgement: Judgement) -> float | None:
    """The macro-F1 by which a run is chosen: of validation images without a copy in train, where these are known.

    That of all of them, which is higher, does not stand in for it: then it is None.
    """
    evaluation = judgement.evaluations.get(run.run_id)
    if evaluation:
        return evaluation.figures.validation_f1
    comparable = judgement.n_choosers in (0, run.n_validation)
    return run.validation.macro_f1 if run.validation and comparable else None


def is_fitted(run: Record) -> bool:
    """Whether a run was fitted to the images of `validation_f1`: the members of an ensemble, an adjustment's tau."""
    return run.family == "ensemble" or run.adjusted_from is not None


def placed(rows: Sequence[Row], runs: Mapping[tuple[str, str], Sequence[Record]], judgement: Judgement) -> list[Row]:
    """`rows` with their standings, and their bands on test-clean. Their scored runs need evaluations."""
    known = [
        [
            judgement.evaluations[run.run_id]
            for run in runs[row.label, row.strategy]
            if run.run_id in judgement.evaluations
        ]
        for row in rows
    ]
    if not known or not all(known):
        return list(rows)
    found = standings([mean_of([one.sample for one in own]) for own in known])
    ranked = [replace(row, standing=standing) for row, standing in zip(rows, found, strict=True)]
    cleans = [[one.clean for one in own if one.clean] for own in known]
    if not all(cleans):
        return ranked
    found = standings([mean_of(own) for own in cleans])
    return [replace(row, clean_band=standing.band) for row, standing in zip(ranked, found, strict=True)]


def mean_recall(tests: Sequence[Scores]) -> tuple[float, ...]:
    """Recall of each class, averaged over runs."""
    by_run = ([one.recall for one in test.per_class] for test in tests)
    return tuple(statistics.fmean(recalls) for recalls in zip(*by_run, strict=True))


def evaluated(runs: Sequence[Record], tests: Sequence[Scores], judgement: Judgement) -> dict[str, Any]:
    """The fields of Row from `intervals` on, for `runs` with the test scores `tests`."""
    known = [judgement.evaluations.get(run.run_id) for run in runs]
    found = [evaluation for evaluation in known if evaluation]
    fields: dict[str, Any] = {
        "further": {name: _statistic([getattr(test, name) for test in tests]) for name in FURTHER}
    }
    if len(found) < len(runs):
        return fields
    fields["further"] |= {
        name: _statistic([getattr(one.figures, name) for one in found]) for name in ("ece_scaled", "temperature")
    }
    sample = mean_of([one.sample for one in found])
    fields["intervals"] = {name: sample.interval(column) for name, column in COLUMNS.items()}
    cleans = [one.clean for one in found if one.clean]
    if len(cleans) == len(found):
        clean = mean_of(cleans)
        fields["clean_intervals"] = {name: clean.interval(column) for name, column in COLUMNS.items()}
        fields["clean"] = {name: _statistic([getattr(one.figures.clean, name) for one in found]) for name in COLUMNS}
        fields["clean_recall"] = mean_recall([one.figures.clean for one in found if one.figures.clean])
    votes = [one.figures.votes for one in found if one.figures.votes]
    if len(votes) == len(found):
        fields["votes"] = {name: _statistic([getattr(one, name) for one in votes]) for name in VOTE_METRICS}
    return fields


def run_figures(judgement: Judgement, run: Record) -> dict[str, float | str | None]:
    """What the CSV shows of one run beside its record; figures that are not known are left out."""
    evaluation = judgement.evaluations.get(run.run_id)
    suspect = judgement.data_suspicions or run.run_id in judgement.suspects
    marks = [MARK] * bool(suspect) + [run.family] * (run.family in UNTRAINED)
    figures: dict[str, float | str | None] = {"marks": "; ".join(marks)}
    figures["choosing_macro_f1"] = validation_f1(run, judgement)
    scores = evaluation.figures.test if evaluation else run.test
    if run.status == "success" and scores:
        figures |= {name: getattr(scores, name) for name in (*METRICS, *FURTHER)}
    return figures | (_evaluation_figures(evaluation) if evaluation else {})


def _evaluation_figures(evaluation: Evaluation) -> dict[str, float | str | None]:
    figures = evaluation.figures
    told: dict[str, float | str | None] = {}
    for name, column in COLUMNS.items():
        interval = evaluation.sample.interval(column)
        told |= {f"{name}_low": interval.low, f"{name}_high": interval.high}
        told[f"clean_{name}"] = getattr(figures.clean, name) if figures.clean else None
    votes = {f"votes_{name}": getattr(figures.votes, name) for name in VOTE_METRICS} if figures.votes else {}
    return {**told, "ece_scaled": figures.ece_scaled, "temperature": figures.temperature, **votes}


def _statistic(values: Sequence[float | None]) -> Statistic | None:
    known = [value for value in values if value is not None]
    return None if len(known) < len(values) else Statistic.of(known)
