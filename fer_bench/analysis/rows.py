"""From runs to the rows of a leaderboard: one model under one strategy, averaged over its seeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fer_bench.analysis.bootstrap import influence, share_interval
from fer_bench.analysis.comparisons import MEASURES, Draws, DrawsBySubset, best_set
from fer_bench.analysis.predictions import Run
from fer_bench.analysis.references import KNOWN_WEIGHTS
from fer_bench.analysis.scores import CLEAN, SCORES, TEST, Evaluation, Evaluator

UNTRAINED = ("external", "ensemble")
"""Families of rows that this suite did not train."""
MEANS = ("fit_seconds", "feature_seconds", "ms_per_image", "peak_memory_mb")
PLACES = ("in_best_set", "rank_low", "rank_high")
Variant = tuple[str, str, str, tuple[tuple[str, Any], ...], bool, int]


def runs_frame(runs: Sequence[Run]) -> pd.DataFrame:
    """A line per run, indexed by run_id: what it was asked for, what came of it, what it cost.

    model: the label of its variant, see `_labels`; row: "label / strategy". status: of all folds together.
    epochs: passes over the training images, also where a strategy repeats or leaves out some.
    """
    labels = _labels(runs)
    lines = [{"run_id": run.run_id, **_line(run, labels[_variant(run)])} for run in runs]
    frame = pd.DataFrame(lines).set_index("run_id")
    for column in ("feature_seconds", "epochs"):  # an adjusted run needs what its base was made from
        frame[column] = frame["adjusted_from"].map(frame[column]).fillna(frame[column])
    return frame


def _line(run: Run, label: str) -> dict[str, Any]:
    record, spec = run.record, run.record.spec
    odd = next((one for one in run.records if one.status != "success"), record)
    is_cut = odd.status == "success" and run.missing_folds
    seconds = [one.seconds for one in run.records if one.seconds]
    return {
        "row": f"{label} / {spec.strategy}",
        "model": label,
        "strategy": spec.strategy,
        "seed": spec.seed,
        "n_folds": spec.n_folds,
        "model_name": spec.model,
        "budget": spec.budget,
        "tuned": spec.tuned,
        "parameters": " ".join(f"{name}={value}" for name, value in spec.parameters),
        "family": record.family,
        "features": record.features,
        "status": "unfinished" if is_cut else odd.status,
        "reason": f"lacks fold {', '.join(map(str, run.missing_folds))}" if is_cut else odd.reason or "",
        "is_scored": run.is_scored,
        "stochastic": record.stochastic is not False,
        "device": record.device,
        "precision": record.precision,
        "is_labels_only": record.is_labels_only,
        "recipe": spec.recipe,
        "weights_asked": spec.weights,
        "initial_weights": record.initial_weights,
        "weights_note": record.weights_note,
        "members": record.members,
        "adjusted_from": record.adjusted_from,
        "fitted": bool(record.members or record.adjusted_from),
        "started": record.started,
        "notes": tuple(dict.fromkeys(note for one in run.records for note in one.notes)),
        "fit_seconds": _mean(one.fit for one in seconds),
        "feature_seconds": _mean(one.features for one in seconds),
        "ms_per_image": _mean(one.ms_per_image for one in run.records),
        "peak_memory_mb": np.max([one.peak_memory_mb or np.nan for one in run.records]),
        "cpu_seconds": _mean(one.cpu_seconds for one in run.records),
        "n_parameters": record.n_parameters,
        "steps": record.steps,
        "epochs": np.nan if record.epochs is None else record.epochs * (record.n_rows or 0) / record.n_train,
        "n_rows": record.n_rows,
        "settings": record.parameters,
        "versions": record.environment.versions if record.environment else {},
        "processor": record.environment.processor if record.environment else "",
        "n_jobs": record.environment.n_jobs if record.environment else None,
        "command": record.command,
    }


def _mean(values: Any) -> float:
    """NaN where any is missing: a mean over what is left would be another quantity."""
    known = [np.nan if value is None else float(value) for value in values]
    return float(np.mean(known)) if known else np.nan


def _variant(run: Run) -> Variant:
    spec = run.record.spec
    return spec.model, spec.budget, spec.weights, spec.parameters, spec.tuned, spec.recipe


def _labels(runs: Sequence[Run]) -> dict[Variant, str]:
    """A name per variant: the model, its budget, the weights asked for where they differ, its recipe if not its own.

    A recipe that a search found is "tuned", and names what not all of the model's tuned recipes have in common.
    Where there are runs of several versions of the model's own recipe, the earlier ones are named by theirs.
    """
    asked = defaultdict(set)
    searched: dict[tuple[str, str, str], list[set[tuple[str, Any]]]] = defaultdict(list)
    newest: dict[str, int] = defaultdict(int)
    variants = {_variant(run) for run in runs}
    for model, budget, weights, parameters, tuned, recipe in variants:
        asked[model].add(weights)
        newest[model] = max(newest[model], recipe)
        if tuned:
            searched[model, budget, weights].append(set(parameters))
    labels = {}
    for variant in variants:
        model, budget, weights, parameters, tuned, recipe = variant
        common = set.intersection(*searched[model, budget, weights]) if tuned else set()
        details = [budget, f"recipe {recipe}" if recipe < newest[model] else ""]
        if weights and len(asked[model]) > 1:
            details.append(f"weights {KNOWN_WEIGHTS.get(weights, weights[:15])}")
        if tuned:
            details.append("tuned")
        details += [f"{name.replace('_', ' ')} {value}" for name, value in parameters if (name, value) not in common]
        text = ", ".join(filter(None, details))
        labels[variant] = f"{model} ({text})" if text else model
    return labels


def rows_frame(
    runs: pd.DataFrame, scores: pd.DataFrame, evaluations: Mapping[str, Evaluation], evaluator: Evaluator,
    run_draws: DrawsBySubset, draws: Mapping[str, Draws],
) -> pd.DataFrame:  # fmt: skip
    """A line per row of the leaderboard, best macro-F1 on the test images first.

    runs: those that have evaluations and are ranked. run_draws, draws: of runs and of rows, by subset. stochastic:
    whether another seed gives another row, or that is not known.
    Scores are means over seeds, `<score>_sd` their sample standard deviations, NaN for one seed; what is missing for
    one seed is missing for the row. Intervals are about other test images (BCa), given these trainings. seconds are
    those off a GPU where some runs were.
    """
    order = runs.sort_values("seed", kind="stable").groupby("row", sort=False)
    rows = order.agg(
        model=("model", "first"), strategy=("strategy", "first"), family=("family", "first"),
        model_name=("model_name", "first"), budget=("budget", "first"), tuned=("tuned", "first"),
        parameters=("parameters", "first"), n_seeds=("seed", "size"), n_parameters=("n_parameters", "first"),
        fitted=("fitted", "any"), stochastic=("stochastic", "any"), epochs=("epochs", "min"),
        weights_asked=("weights_asked", "first"), initial_weights=("initial_weights", "first"),
        weights_note=("weights_note", "first"), recipe=("recipe", "first"),
        runs=("seed", lambda seeds: tuple(seeds.index)),
    )  # fmt: skip
    rows["n_seeds"] = rows["n_seeds"].mask(rows["family"] == "ensemble")  # its members have theirs
    rows = rows.join(_means(scores, runs, TEST)).join(_means(scores, runs, CLEAN).add_prefix("clean_"))
    rows = rows.join(_costs(runs))
    rows["unpretrained"] = (rows["weights_asked"] != "") & (rows["initial_weights"] == "random")
    for subset, labels in evaluator.test_labels.items():
        prefix = "clean_" if subset == CLEAN else ""
        at = evaluator.clean if subset == CLEAN else slice(None)
        predicted = {run_id: evaluations[run_id].predicted[TEST][at] for run_id in runs.index}
        groups = evaluator.predictions.groups(TEST, at)
        rows = rows.join(_intervals(rows["runs"], run_draws[subset], predicted, labels, groups).add_prefix(prefix))
        places = best_set(draws[subset]) if subset in draws else pd.DataFrame(columns=list(PLACES))
        rows = rows.join(places.add_prefix(prefix))
    labels = evaluator.labels
    rows["speaks"] = rows["accuracy"] > np.bincount(labels).max() / len(labels)
    rows = rows.sort_index().sort_values("macro_f1", ascending=False, kind="stable")
    rows.insert(0, "rank", rows["macro_f1"].round(4).rank(ascending=False, method="min").astype(int))
    return rows


def recall_frame(rows: pd.DataFrame, evaluations: Mapping[str, Evaluation], class_names: Sequence[str]) -> pd.DataFrame:
    """Recall of each class, averaged over the seeds of a row, indexed by row and subset ("test", "clean")."""
    lines = {}
    for row, run_ids in rows["runs"].items():
        for subset in (TEST, CLEAN):
            found = [getattr(evaluations[run_id].figures, subset) for run_id in run_ids]
            if all(found):
                recalls = [[one.recall for one in scores.per_class] for scores in found]
                lines[row, subset] = np.mean(recalls, axis=0)
    levels = zip(*lines, strict=True) if lines else ([], [])
    index = pd.MultiIndex.from_arrays(list(levels), names=["row", "subset"])
    return pd.DataFrame(list(lines.values()), index=index, columns=list(class_names))


def _means(scores: pd.DataFrame, runs: pd.DataFrame, subset: str) -> pd.DataFrame:
    """Means over the runs of each row, and standard deviations of SCORES as `<score>_sd`."""
    own = scores[scores.index.get_level_values("subset") == subset].droplevel("subset")
    if own.empty and subset != TEST:
        return pd.DataFrame(index=runs["row"].unique())
    own = own.drop(columns="n_images").reindex(runs.index).astype(float)
    if subset != TEST:
        own = own[list(SCORES)]
    grouped = own.groupby(runs["row"])
    return grouped.mean(skipna=False).join(grouped[list(SCORES)].std(ddof=1, skipna=False).add_suffix("_sd"))


def _costs(runs: pd.DataFrame) -> pd.DataFrame:
    """Seconds, milliseconds and memory of each row, of the runs off a GPU where there are some."""
    off_gpu = runs["device"].ne("gpu")
    on_gpu = ~off_gpu.groupby(runs["row"]).any()
    timed = runs[off_gpu | runs["row"].isin(on_gpu.index[on_gpu])]
    means = timed[list(MEANS)].astype(float).groupby(timed["row"]).mean(skipna=False)
    return means.assign(on_gpu=on_gpu, seconds=means["fit_seconds"] + means["feature_seconds"])


def _intervals(
    runs: pd.Series, run_draws: Mapping[str, np.ndarray], predicted: Mapping[str, np.ndarray], labels: np.ndarray,
    groups: np.ndarray | None,
) -> pd.DataFrame:  # fmt: skip
    """BCa intervals of accuracy and macro-F1 over test images, or whole groups, of the mean over the runs of a row."""
    lines = {}
    for row, run_ids in runs.items():
        k = run_draws[run_ids[0]].shape[1] - len(MEASURES)
        draws = np.mean([run_draws[run_id][:, : len(MEASURES)] for run_id in run_ids], axis=0)
        effects = np.mean([influence(labels, k, predicted[run_id], groups) for run_id in run_ids], axis=0)
        line: dict[str, float] = {}
        for column, measure in enumerate(MEASURES):
            low, high = share_interval(draws[0, column], draws[1:, column], effects[:, column])
            line |= {f"{measure}_low": low, f"{measure}_high": high}
        lines[row] = line
    columns = [f"{measure}_{end}" for measure in MEASURES for end in ("low", "high")]
    return pd.DataFrame.from_dict(lines, orient="index", columns=columns)
