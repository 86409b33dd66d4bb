"""Records to ranked tables: what is better, what is missing and why. Reads records, computes nothing again."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from fer_bench.judging.tables import (
    BASE_STRATEGY,
    METRICS,
    NOT_APPLICABLE,
    NOT_RUN,
    RANK_DECIMALS,
    Data,
    Effect,
    Failure,
    Grid,
    Leaderboard,
    NotApplicable,
    Row,
    Statistic,
)
from fer_bench.records.schema import Record, Scores

NO_REASON = "no reason recorded"

Split = tuple[str, str]
Variant = tuple[str, str, str, tuple[tuple[str, Any], ...], bool]
Turn = tuple[int, str]


def build(records: Iterable[Record], command: str | None = None, split: Split | None = None) -> Leaderboard:
    """The leaderboard of `split`, (data fingerprint, split fingerprint); by default that of the newest record.

    The order of `records` does not matter. `command` is shown as what made the leaderboard; by default it is the
    newest record's.
    """
    everything = sorted(records, key=lambda record: (record.started, record.run_id))
    split = split or (_split(everything[-1]) if everything else ("", ""))
    chosen = [record for record in everything if _split(record) == split]
    labels = _labels(chosen)
    rows, ranks = _rows(chosen, labels)
    failures = tuple(_failures(chosen, labels))
    return Leaderboard(
        data=_data(chosen) if chosen else None,
        rows=rows,
        grid=_grid(chosen, labels, rows),
        effects=tuple(_effects(rows)),
        failures=failures,
        not_applicable=tuple(_not_applicable(chosen, labels)),
        notes=_notes(chosen, labels),
        environment=_environment(chosen),
        records=tuple(chosen),
        ranks=ranks,
        n_elsewhere=len(everything) - len(chosen),
        command=command or (chosen[-1].command if chosen else ""),
    )


def strategy_order(strategy: str) -> tuple[bool, str]:
    """Sorting key: "none" first, as every other strategy is compared with it."""
    return strategy != BASE_STRATEGY, strategy


def _split(record: Record) -> Split:
    return record.spec.data_fingerprint, record.spec.split_fingerprint


def _variant(record: Record) -> Variant:
    spec = record.spec
    return spec.model, spec.budget, spec.weights, spec.parameters, spec.tuned


def _turn(record: Record) -> Turn:
    return record.spec.seed, record.spec.fold


def _test_scores(record: Record) -> Scores | None:
    return record.test if record.status == "success" else None


def _labels(records: Sequence[Record]) -> dict[Variant, str]:
    """A name per variant: the model, its budget, the weights asked for where they differ, its recipe if not its own.

    A recipe that a search found is "tuned".
    """
    asked = defaultdict(set)
    for record in records:
        asked[record.spec.model].add(record.spec.weights)
    labels = {}
    for variant in {_variant(record) for record in records}:
        model, budget, weights, parameters, tuned = variant
        shown = f"weights {weights[:15]}" if weights and len(asked[model]) > 1 else ""
        recipe = ["tuned"] if tuned else [f"{name.replace('_', ' ')} {value}" for name, value in parameters]
        details = ", ".join(filter(None, (budget, shown, *recipe)))
        labels[variant] = f"{model} ({details})" if details else model
    return labels


def _rows(records: Sequence[Record], labels: dict[Variant, str]) -> tuple[tuple[Row, ...], dict[str, int]]:
    """Rows by falling macro-F1, equal ranks where it agrees to RANK_DECIMALS; and the rank of every run in them.

    Rows that lack folds come below the others.
    """
    groups = defaultdict(list)
    for record in records:
        groups[labels[_variant(record)], record.spec.strategy].append(record)
    scored = {key: runs for key, runs in groups.items() if any(map(_test_scores, runs))}
    place = {}
    for key, runs in scored.items():
        f1 = statistics.fmean(scores.macro_f1 for scores in map(_test_scores, runs) if scores)
        place[key] = (_lacks_folds(runs), -round(f1, RANK_DECIMALS))
    order = sorted(scored, key=lambda key: (place[key], key[0], strategy_order(key[1])))
    rank = {key: 1 + sum(other < place[key] for other in place.values()) for key in order}
    ranks = {run.run_id: rank[key] for key, runs in scored.items() for run in runs if _test_scores(run)}
    return tuple(_row(rank[key], key[0], scored[key]) for key in order), ranks


def _row(rank: int, label: str, runs: Sequence[Record]) -> Row:
    done = sorted((run for run in runs if _test_scores(run)), key=_turn)
    tests = [run.test for run in done if run.test]
    first = done[0]
    weights = sorted({run.weights for run in done if run.weights})
    return Row(
        rank=rank,
        label=label,
        strategy=first.spec.strategy,
        family=first.family,
        scores={metric: _statistic([getattr(test, metric) for test in tests]) for metric in METRICS},
        validation_f1=_mean(run.validation.macro_f1 if run.validation else None for run in done),
        recall=tuple(
            statistics.fmean(scores) for scores in zip(*([c.recall for c in t.per_class] for t in tests), strict=True)
        ),
        f1_by_run={_turn(run): test.macro_f1 for run, test in zip(done, tests, strict=True)},
        missing=tuple(_spell(turn) for turn in sorted(_missing(runs))),
        lacks_folds=_lacks_folds(runs),
        run_id=first.run_id,
        fit_seconds=_mean(run.seconds.fit if run.seconds else None for run in done),
        ms_per_image=_mean(run.ms_per_image for run in done),
        n_parameters=first.n_parameters,
        weights="; ".join(weights),
        unpretrained=bool(first.spec.weights) and any("random" in text or "no network" in text for text in weights),
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


def _statistic(values: Sequence[float]) -> Statistic:
    return Statistic(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


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


def _failures(records: Sequence[Record], labels: dict[Variant, str]) -> Iterable[Failure]:
    failed = [record for record in records if record.status != "not-applicable" and not _test_scores(record)]
    for record in sorted(failed, key=lambda r: (labels[_variant(r)], strategy_order(r.spec.strategy), _turn(r))):
        label, spec, reason = labels[_variant(record)], record.spec, record.reason or NO_REASON
        yield Failure(label, spec.strategy, spec.seed, spec.fold, record.status, reason, record.run_id)


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
        for note in record.notes:
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
