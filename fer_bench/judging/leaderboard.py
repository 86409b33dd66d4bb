"""Records to ranked tables: what is better, what is a tie, what is missing and why."""

import statistics
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import starmap
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from fer_bench.judging import ranks
from fer_bench.judging.cells import setting
from fer_bench.judging.effects import BASE_STRATEGY, StrategyEffect, minority, strategy_effects
from fer_bench.judging.evaluated import evaluated, is_fitted, mean_recall, placed, run_figures, scores_of, validation_f1
from fer_bench.judging.evaluation import Evaluation
from fer_bench.judging.judgement import Judgement, judge
from fer_bench.judging.references import KNOWN_WEIGHTS, REFERENCES
from fer_bench.judging.resampling import Sample
from fer_bench.judging.tables import (
    METRICS,
    NOT_APPLICABLE,
    NOT_RUN,
    RANK_DECIMALS,
    UNTRAINED,
    Data,
    Effect,
    Facts,
    Failure,
    Grid,
    Leaderboard,
    NotApplicable,
    Row,
    Statistic,
    Unranked,
)
from fer_bench.records.schema import Record, Scores

NO_REASON = "no reason recorded"

Split = tuple[str, str]
Variant = tuple[str, str, str, tuple[tuple[str, Any], ...], bool]
Turn = tuple[int, str]
Runs = dict[tuple[str, str], list[Record]]


def build(
    records: Iterable[Record], command: str | None = None, split: Split | None = None, folder: Path | None = None
) -> Leaderboard:
    """The leaderboard of `split`, (data fingerprint, split fingerprint); by default that of the newest record.

    The order of `records` does not matter. `command` is shown as what made the leaderboard; by default it is that
    of the newest run of this suite. folder: the results folder whose stored probabilities, labels, audit and facts
    about images are used; without it, rows are ranked by the macro-F1 on record, without intervals.
    Raises FerBenchError where what is in `folder` is damaged.
    """
    everything = sorted(records, key=lambda record: (record.started, record.run_id))
    split = split or (_split(everything[-1]) if everything else ("", ""))
    chosen = [record for record in everything if _split(record) == split]
    labels = _labels(chosen)
    # folds have test images of their own: nothing is paired over them, their spread is what there is to see
    judgement = judge(chosen, folder) if folder and not any(run.spec.fold for run in chosen) else Judgement()
    rows, unranked, runs = _rows(chosen, labels, judgement)
    failures = tuple(_failures(chosen, labels))
    members = [(run, row) for row in rows for run in runs[row.label, row.strategy] if _test_scores(run)]
    bands = {run.run_id: {"band": row.standing.band} for run, row in members if row.standing}
    turns = {row.name: row.f1_by_run for row in rows if len(row.f1_by_run) >= ranks.MIN_BLOCKS}
    return Leaderboard(
        data=_data(chosen) if chosen else None,
        rows=rows,
        grid=_grid(chosen, labels, [*rows, *(one.row for one in unranked)]),
        effects=tuple(_effects(rows)),
        failures=failures,
        not_applicable=tuple(_not_applicable(chosen, labels)),
        notes=_notes(chosen, labels),
        environment=_environment(chosen),
        records=tuple(chosen),
        ranks={run.run_id: row.rank for run, row in members},
        n_elsewhere=len(everything) - len(chosen),
        command=command or next((run.command for run in reversed(chosen) if run.family not in UNTRAINED), ""),
        unranked=unranked,
        facts=_facts(judgement, chosen),
        strategy_effects=_strategy_effects(rows, runs, judgement, judgement.labels, attrgetter("sample")),
        clean_effects=_strategy_effects(rows, runs, judgement, judgement.clean_labels, attrgetter("clean")),
        rank_test=ranks.rank_test(turns),
        references=REFERENCES.get(chosen[-1].dataset, ()) if chosen else (),
        drawings={row.name: _drawings(folder, row.run_id) for row in rows} if folder else {},
        figures={run.run_id: run_figures(judgement, run) | bands.get(run.run_id, {}) for run in chosen},
    )


def _drawings(folder: Path, run_id: str) -> dict[str, str]:
    """What was drawn of a run, and the path of each from `folder`."""
    paths = {name: f"runs/{run_id}/{name}.png" for name in ("curves", "confusion")}
    return {name: path for name, path in paths.items() if (folder / path).exists()}


def newest_splits(records: Iterable[Record]) -> list[Split]:
    """The split of the newest record, and that of the newest for each number of folds: those with a page each."""
    newest: dict[int, Split] = {}
    for record in sorted(records, key=lambda record: (record.started, record.run_id)):
        newest[record.spec.n_folds] = _split(record)
    return [newest[n_folds] for n_folds in sorted(newest)]


def strategy_order(strategy: str) -> tuple[bool, str]:
    """Sorting key: "none" first, as every other strategy is compared with it."""
    return strategy != BASE_STRATEGY, strategy


def _split(record: Record) -> Split:
    return record.spec.data_fingerprint, record.spec.split_fingerprint


def _variant(record: Record) -> Variant:
    spec = record.spec
    return spec.model, spec.budget, spec.weights, spec.parameters, spec.tuned


def _turn(record: Record) -> Turn:
    return record.spec.seed, record.spec.fold_name


def _test_scores(record: Record) -> Scores | None:
    return record.test if record.status == "success" else None


def _labels(records: Sequence[Record]) -> dict[Variant, str]:
    """A name per variant: the model, its budget, the weights asked for where they differ, its recipe if not its own.

    A recipe that a search found is "tuned", and names what not all of the model's tuned recipes have in common.
    """
    asked = defaultdict(set)
    searched: dict[tuple[str, str, str], list[set[tuple[str, Any]]]] = defaultdict(list)
    variants = {_variant(record) for record in records}
    for model, budget, weights, parameters, tuned in variants:
        asked[model].add(weights)
        searched[model, budget, weights] += [set(parameters)] * tuned
    labels = {}
    for variant in variants:
        model, budget, weights, parameters, tuned = variant
        shown = f"weights {KNOWN_WEIGHTS.get(weights, weights[:15])}" if weights and len(asked[model]) > 1 else ""
        common = set.intersection(*searched[model, budget, weights]) if tuned else set()
        recipe = [setting(*one) for one in parameters if one not in common]
        details = ", ".join(filter(None, (budget, shown, "tuned" * tuned, *recipe)))
        labels[variant] = f"{model} ({details})" if details else model
    return labels


def _rows(
    records: Sequence[Record], labels: dict[Variant, str], judgement: Judgement
) -> tuple[tuple[Row, ...], tuple[Unranked, ...], Runs]:
    """Ranked rows, best first; those that are not ranked; and the runs of each.

    Rows that are compared stand in the order of their bands, and within them by falling macro-F1. Equal ranks where
    it agrees to RANK_DECIMALS.
    """
    runs: Runs = defaultdict(list)
    for record in records:
        runs[labels[_variant(record)], record.spec.strategy].append(record)
    rows = {key: _row(key[0], members, judgement) for key, members in runs.items() if any(map(_test_scores, members))}
    unranked = [one for key, row in rows.items() if (one := _unranked(row, runs[key], judgement))]
    kept_out = {one.row.name for one in unranked}
    ranked = placed([row for row in rows.values() if row.name not in kept_out], runs, judgement)
    better = sorted(_worth(row) for row in ranked)
    ranked = [replace(row, rank=1 + bisect_left(better, _worth(row))) for row in sorted(ranked, key=_place)]
    return tuple(ranked), tuple(sorted(unranked, key=lambda one: _place(one.row))), runs


def _place(row: Row) -> tuple[int, tuple[bool, float], str, tuple[bool, str]]:
    band = row.standing.band if row.standing else 0
    return band, _worth(row), row.label, strategy_order(row.strategy)


def _worth(row: Row) -> tuple[bool, float]:
    """Sorting key: falling macro-F1, rows that lack folds below the others."""
    return row.lacks_folds, -round(row.macro_f1, RANK_DECIMALS)


def _unranked(row: Row, runs: Sequence[Record], judgement: Judgement) -> Unranked | None:
    """`row` with the reasons why it is not ranked, or None where there are none."""
    evidence = [line for run in runs for line in judgement.suspects.get(run.run_id, ())]
    evidence += judgement.data_suspicions
    problems = [judgement.problems[run.run_id] for run in runs if run.run_id in judgement.problems]
    reasons = tuple(dict.fromkeys([*evidence, *problems]))
    return Unranked(row, reasons, bool(evidence)) if reasons else None


def _row(label: str, runs: Sequence[Record], judgement: Judgement) -> Row:
    done = sorted((run for run in runs if _test_scores(run)), key=_turn)
    tests = [scores_of(run, judgement) for run in done]
    first, off_gpu = done[0], [run for run in done if run.device != "gpu"]
    timed = off_gpu or done
    known = KNOWN_WEIGHTS.get(first.spec.weights)
    weights = sorted({f"{known}, {note}" if known else note for run in done if (note := run.weights_note)})
    return Row(
        rank=0,
        label=label,
        strategy=first.spec.strategy,
        family=first.family,
        scores={metric: Statistic.of([getattr(test, metric) for test in tests]) for metric in METRICS},
        validation_f1=_mean(validation_f1(run, judgement) for run in done),
        recall=mean_recall(tests),
        f1_by_run={_turn(run): test.macro_f1 for run, test in zip(done, tests, strict=True)},
        missing=tuple(_spell(turn) for turn in sorted(_missing(runs))),
        lacks_folds=_lacks_folds(runs),
        run_id=first.run_id,
        feature_seconds=_mean(run.seconds.features if run.seconds else None for run in timed),
        fit_seconds=_mean(run.seconds.fit if run.seconds else None for run in timed),
        ms_per_image=_mean(run.ms_per_image for run in timed),
        on_gpu=not off_gpu,
        n_parameters=first.n_parameters,
        weights="; ".join(weights),
        unpretrained=bool(first.spec.weights) and any(run.initial_weights == "random" for run in done),
        fitted=any(map(is_fitted, done)),
        **evaluated(done, tests, judgement),
    )


def _missing(runs: Sequence[Record]) -> set[Turn]:
    """Seeds and folds without scores: those that were tried, and the other folds of every seed."""
    wanted = {_turn(run) for run in runs}
    for seed, fold in tuple(wanted):
        n_folds = int(fold.partition("/")[2] or 0)
        wanted |= {(seed, f"{number}/{n_folds}") for number in range(1, n_folds + 1)}
    return wanted - {_turn(run) for run in runs if _test_scores(run)}


def _lacks_folds(runs: Sequence[Record]) -> bool:
    return any(fold for _, fold in _missing(runs))


def _spell(turn: Turn) -> str:
    seed, fold = turn
    return f"seed {seed}, fold {fold}" if fold else f"seed {seed}"


def _mean(values: Iterable[float | None]) -> float | None:
    """The mean, or None where any value is missing: a mean over what is left would be another quantity."""
    known = list(values)
    return None if None in known else statistics.fmean(value for value in known if value is not None)


def _grid(records: Sequence[Record], labels: dict[Variant, str], rows: Sequence[Row]) -> Grid:
    cells: dict[tuple[str, str], Row | str] = {}
    for record in sorted(records, key=lambda record: record.spec.seed, reverse=True):
        status = NOT_APPLICABLE if record.status == "not-applicable" else record.status
        cells[labels[_variant(record)], record.spec.strategy] = status
    cells |= {(row.label, row.strategy): row for row in rows}
    ranked = dict.fromkeys(row.label for row in rows)
    names = tuple(ranked | dict.fromkeys(sorted(labels.values())))
    strategies = tuple(sorted({record.spec.strategy for record in records}, key=strategy_order))
    return Grid(names, strategies, tuple(tuple(cells.get((name, s), NOT_RUN) for s in strategies) for name in names))


def _effects(rows: Sequence[Row]) -> Iterable[Effect]:
    by_strategy: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in rows:
        by_strategy[row.strategy][row.label] = row
    base = by_strategy.pop(BASE_STRATEGY, {})
    for strategy in sorted(by_strategy):
        changes = []
        for label, row in by_strategy[strategy].items():
            before = base[label].f1_by_run if label in base else {}
            paired = [row.f1_by_run[turn] - before[turn] for turn in sorted(row.f1_by_run.keys() & before.keys())]
            if paired:
                changes.append(round(statistics.fmean(paired), RANK_DECIMALS))
        if changes:
            n_higher, n_lower = sum(change > 0 for change in changes), sum(change < 0 for change in changes)
            yield Effect(strategy, len(changes), n_higher, n_lower, statistics.median(changes))


def _strategy_effects(
    rows: Sequence[Row],
    runs: Runs,
    judgement: Judgement,
    labels: np.ndarray | None,
    sample: Callable[[Evaluation], Sample],
) -> tuple[StrategyEffect, ...]:
    """On the images of `labels`, on which `sample` says what an evaluated run scored.

    A run under none that no seed changes is what each seed of another strategy is compared with.
    """
    if labels is None:
        return ()
    samples: dict[tuple[str, str], dict[Turn, Sample]] = {}
    for row in rows:
        done = [run for run in runs[row.label, row.strategy] if _test_scores(run)]
        scored = {_turn(run): sample(judgement.evaluations[run.run_id]) for run in done}
        if row.strategy == BASE_STRATEGY and all(run.stochastic is False for run in done):
            seeds = {seed for other in rows if other.label == row.label for seed, _ in other.f1_by_run}
            scored = {(seed, fold): one for (_, fold), one in scored.items() for seed in seeds}
        samples[row.label, row.strategy] = scored
    found = strategy_effects(samples, labels)
    return tuple(sorted(found, key=lambda effect: (effect.strategy, effect.label)))


def _facts(judgement: Judgement, records: Sequence[Record]) -> Facts:
    names = records[-1].class_names if records else []
    support = [] if judgement.labels is None else np.bincount(judgement.labels, minlength=len(names)).tolist()
    return Facts(
        audit=judgement.audit,
        clean_support=judgement.clean_support,
        n_choosers=judgement.n_choosers,
        votes=judgement.votes,
        minority=tuple(names[label] for label in minority(support)) if support else (),
        suspicions=judgement.data_suspicions,
        missing=judgement.missing,
    )


def _failures(records: Sequence[Record], labels: dict[Variant, str]) -> Iterable[Failure]:
    failed = [record for record in records if record.status != "not-applicable" and not _test_scores(record)]
    for record in sorted(failed, key=lambda r: (labels[_variant(r)], strategy_order(r.spec.strategy), _turn(r))):
        label, spec, reason = labels[_variant(record)], record.spec, record.reason or NO_REASON
        yield Failure(label, spec.strategy, spec.seed, spec.fold_name, record.status, reason, record.run_id)


def _not_applicable(records: Sequence[Record], labels: dict[Variant, str]) -> Iterable[NotApplicable]:
    """Reasons repeat over models and strategies, so first the strategies of a reason are joined, then its models."""
    strategies = defaultdict(set)
    for record in records:
        if record.status == "not-applicable":
            reason = (record.reason or NO_REASON).removeprefix(f"{record.spec.model} ")
            strategies[reason, labels[_variant(record)]].add(record.spec.strategy)
    models = defaultdict(set)
    for (reason, label), names in strategies.items():
        models[tuple(sorted(names, key=strategy_order)), reason].add(label)
    for (together, reason), members in sorted(models.items()):
        yield NotApplicable(together, tuple(sorted(members)), reason)


def _notes(records: Sequence[Record], labels: dict[Variant, str]) -> dict[str, tuple[str, ...]]:
    runs = defaultdict(set)
    for record in records:
        tuned = [f"tuned, with {', '.join(starmap(setting, record.spec.parameters))}"] * record.spec.tuned
        for note in [*record.notes, *tuned]:
            runs[note].add(f"{labels[_variant(record)]} / {record.spec.strategy}")
    return {note: tuple(sorted(runs[note])) for note in sorted(runs)}


def _data(records: Sequence[Record]) -> Data:
    newest = records[-1]
    tests = [scores for scores in map(_test_scores, records) if scores]
    return Data(
        name=newest.dataset,
        fingerprint=newest.spec.data_fingerprint,
        split_fingerprint=newest.spec.split_fingerprint,
        split_source=newest.split_source,
        n_train=newest.n_train,
        n_validation=newest.n_validation,
        n_test=newest.n_test,
        class_names=tuple(newest.class_names),
        support=tuple(scores.support for scores in tests[-1].per_class) if tests else (),
        notes=tuple(dict.fromkeys(note for record in records for note in record.data_notes)),
    )


def _environment(records: Sequence[Record]) -> dict[str, tuple[str, ...]]:
    facts = [record.environment for record in records if record.environment]
    getters: dict[str, Callable] = {
        "processor": lambda e: e.processor,
        "cores per run": lambda e: e.n_jobs,
        "platform": lambda e: e.platform,
        "git revision": lambda e: e.git_revision,
        "python": lambda e: e.python,
    }
    packages = sorted({package for fact in facts for package in fact.versions})
    getters |= {package: lambda e, package=package: e.versions.get(package) for package in packages}
    found = {name: {get(fact) for fact in facts} - {None, ""} for name, get in getters.items()}
    return {name: tuple(sorted(map(str, values))) for name, values in found.items() if values}
