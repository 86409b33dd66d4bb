"""What to use: rows picked on validation images alone, and classical against deep."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from fer_bench.analysis.comparisons import MEASURES, Draws, Pick, difference, pick
from fer_bench.analysis.rows import UNTRAINED
from fer_bench.analysis.scores import CLEAN, TEST, VALIDATION

MINUTES = 10
"""What counts as training in minutes, at most."""
FAMILIES = ("classical", "deep")


def picks(rows: pd.DataFrame, draws: Mapping[str, Draws]) -> dict[str, Pick]:
    """Of all rows trained here and not fitted to validation images, of each family, and by what one has to train with.

    Of a model with rows of several recipes, those of the newest count.
    Keys: "all", "classical", "deep", "minutes" (at most MINUTES, no GPU), "hours" (any time, no GPU, where some row
    takes longer), "gpu"; only where there is one.
    """
    candidates = _newest(_candidates(rows, draws))
    on_gpu = candidates["on_gpu"]
    groups = {
        "all": candidates,
        **{family: candidates[candidates["family"] == family] for family in FAMILIES},
        "minutes": candidates[_in_minutes(candidates)],
        "hours": candidates[~on_gpu & candidates["seconds"].notna()],
        "gpu": candidates[on_gpu],
    }
    if len(groups["hours"]) == len(groups["minutes"]):
        del groups["hours"]
    return {name: _pick(group, draws) for name, group in groups.items() if len(group)}


def _newest(candidates: pd.DataFrame) -> pd.DataFrame:
    """Without rows of a recipe that a later one of the same model has replaced: nobody can train these any more."""
    return candidates[candidates["recipe"] == candidates.groupby("model_name")["recipe"].transform("max")]


def _in_minutes(candidates: pd.DataFrame) -> pd.Series:
    return ~candidates["on_gpu"] & (candidates["seconds"] <= 60 * MINUTES)


def _pair(candidates: pd.DataFrame, draws: Mapping[str, Draws]) -> dict[str, str]:
    """The row picked of each family that there is."""
    families = candidates.groupby("family")
    return {name: _pick(families.get_group(name), draws).row for name in FAMILIES if name in families.groups}


def best_of_model(rows: pd.DataFrame, draws: Mapping[str, Draws]) -> pd.DataFrame:
    """The line of `rows` of each model at the strategy picked on validation images, best macro-F1 first.

    Rows fitted to these images do not count, but where a model has no others: then its best on the test images stands.
    """
    candidates = _candidates(rows, draws)
    chosen = []
    for _, group in rows.groupby("model", sort=False):
        own = candidates.loc[candidates.index.intersection(group.index)]
        chosen.append(_pick(own, draws).row if len(own) else group.index[0])
    return rows[rows.index.isin(chosen)]


def versus(rows: pd.DataFrame, draws: Mapping[str, Draws]) -> pd.DataFrame:
    """Classical against deep: a line per how, subset and measure.

    how: "picked" on validation; "minutes", picked of those that train in at most MINUTES, where that is another pair.
    classical, deep: the rows; classical_value, deep_value; value, low, high: deep minus classical, with the interval of
    the paired difference; classical_seconds, deep_seconds: to train.
    """
    candidates = _newest(_candidates(rows, draws))
    pairs = {"picked": _pair(candidates, draws), "minutes": _pair(candidates[_in_minutes(candidates)], draws)}
    if pairs["minutes"] == pairs["picked"]:
        del pairs["minutes"]
    lines = [
        {"how": how, "subset": subset, "measure": measure, **_difference(rows, draws[subset], pair, prefix, measure)}
        for how, pair in pairs.items()
        if len(pair) == len(FAMILIES)
        for subset, prefix in ((TEST, ""), (CLEAN, "clean_"))
        if subset in draws
        for measure in MEASURES
    ]
    names = ["how", "subset", "measure", *FAMILIES, "classical_value", "deep_value", "value", "low", "high"]
    return pd.DataFrame(lines, columns=[*names, "classical_seconds", "deep_seconds"])


def _difference(
    rows: pd.DataFrame, draws: Draws, pair: Mapping[str, str], prefix: str, measure: str
) -> dict[str, str | float]:
    return {
        **pair,
        **{f"{family}_value": rows.at[row, prefix + measure] for family, row in pair.items()},
        **vars(difference(draws, pair["classical"], pair["deep"], measure)),
        **{f"{family}_seconds": rows.at[row, "seconds"] for family, row in pair.items()},
    }


def _candidates(rows: pd.DataFrame, draws: Mapping[str, Draws]) -> pd.DataFrame:
    """Rows that validation images can choose: trained here, not fitted to these images, and scored on them."""
    known = draws[VALIDATION].rows if VALIDATION in draws else ()
    guesses = rows["family"].eq("baseline") & rows["n_parameters"].isna()  # there is nothing in them to use
    return rows[~rows["family"].isin(UNTRAINED) & ~guesses & ~rows["fitted"] & rows.index.isin(known)]


def _pick(candidates: pd.DataFrame, draws: Mapping[str, Draws]) -> Pick:
    n_seeds = candidates["n_seeds"].where(candidates["stochastic"], np.inf)  # of the others every seed is known
    return pick(draws[VALIDATION], candidates[["seconds"]].assign(n_seeds=n_seeds))
