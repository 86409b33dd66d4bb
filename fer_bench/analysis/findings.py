"""What follows from the frames of a leaderboard: codes with values. The sentences are in report/sentences.j2."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fer_bench.analysis.comparisons import about_as_fast
from fer_bench.analysis.effects import BASE_STRATEGY

if TYPE_CHECKING:
    import pandas as pd

    from fer_bench.analysis.comparisons import Pick
    from fer_bench.analysis.leaderboard import Leaderboard
    from fer_bench.records import Audit

RENDERED = re.compile("synthetic(-[0-9a-f]{6}([0-9a-f]{10})?)?")
"""Names of the results on built-in faces: beside those of an earlier version, with a part of their fingerprint."""
FEW_STEPS, ENOUGH_EPOCHS = "quick", 10
"""The budget of a first look, and passes over the training rows from which even its networks can be judged."""
APART = 0.35
"""How far from a half the share of pairs may be, of a held-out and a training image, in which the first has more."""
FEW_IMAGES = 10
"""A class of fewer test images hangs on single ones."""
PEOPLE = "person"
"""What images are grouped by where it is known who is on them."""
FEW_PEOPLE = 10
"""Of fewer people little is known about others: intervals reach as far as Student's t does."""


@dataclass(frozen=True)
class Finding:
    """code: UPPER_CASE, a macro of report/sentences.j2. values: by name, plain numbers, texts, and lists of them."""

    code: str
    values: Mapping[str, Any] = field(default_factory=dict)


def is_rendered(dataset: str) -> bool:
    """Whether results of this name are on the built-in faces."""
    return RENDERED.fullmatch(dataset) is not None


def people_unknown(dataset: str, grouped_by: str) -> Finding | None:
    """That nobody knows who is on the images; the built-in faces are all of different people."""
    return Finding("PEOPLE_UNKNOWN") if grouped_by != PEOPLE and not is_rendered(dataset) else None


def few_images(class_names: Sequence[str], support: Sequence[int]) -> Finding | None:
    """Classes with fewer than FEW_IMAGES test images."""
    few = {name: n for name, n in zip(class_names, support, strict=True) if 0 < n < FEW_IMAGES}
    return Finding("FEW_IMAGES", {"names": list(few), "counts": list(few.values())}) if few else None


def class_absent(class_names: Sequence[str], support: Sequence[int]) -> Finding | None:
    """Classes without a test image: their F1 counts as 0. best: the macro-F1 of one who is always right."""
    names = [name for name, n in zip(class_names, support, strict=True) if not n]
    return Finding("CLASS_ABSENT", {"names": names, "best": 1 - len(names) / len(support)}) if names else None


def looks_different(audit: Audit | None) -> Finding | None:
    """Subsets that nearly always have more or less of something than train: (subset, measure, is_more) each."""
    differences = [
        (subset, measure, share > 0.5)
        for subset, shares in (audit.appearance if audit else {}).items()
        for measure, share in shares.items()
        if abs(share - 0.5) > APART and audit and audit.subsets[subset].images >= FEW_IMAGES
    ]
    return Finding("SUBSETS_LOOK_DIFFERENT", {"differences": differences}) if differences else None


def about_images(audit: Audit | None, class_names: Sequence[str], support: Sequence[int]) -> list[Finding]:
    """What a reader must know of the images besides copies and people. support: test images per class."""
    found = looks_different(audit), class_absent(class_names, support), few_images(class_names, support)
    return [one for one in found if one]


def findings(board: Leaderboard) -> tuple[Finding, ...]:
    """Warnings, what wins, what to use, what strategies do, what to believe; in this order."""
    if board.rows.empty:
        return (*_warnings(board), Finding("NOTHING_RANKED", {"n_unranked": len(board.unranked)}))
    return (
        *_warnings(board),
        *_winners(board),
        *_use(board),
        *_strategies(board),
        *_slices(board),
        *_belief(board),
        *_beside(board),
    )


def _warnings(board: Leaderboard) -> Iterator[Finding]:
    if is_rendered(board.data.name):
        yield Finding("RENDERED")
    suspects = board.unranked[board.unranked["suspect"].astype(bool)]
    if board.suspicions:
        yield Finding("UNTRUSTED_DATA", {"reasons": board.suspicions, "n_rows": len(board.unranked)})
    elif len(suspects):
        yield Finding("SUSPECT_ROWS", {"rows": suspects.index.tolist()})
    unpretrained = board.rows[board.rows["unpretrained"].astype(bool)]
    if len(unpretrained):
        not_had = bool(unpretrained["weights_asked"].ne("none").any())
        models = unpretrained["model"].unique().tolist()
        yield Finding("UNPRETRAINED", {"models": models, "not_had": not_had})
    quick = _quick_networks(board.rows)
    if len(quick):
        yield Finding("QUICK_NETWORKS", {"models": quick["model"].unique().tolist()})
    yield from about_images(board.audit, board.data.class_names, board.data.support)
    if len(board.failures):
        yield Finding("FAILED_RUNS", {"n": len(board.failures), "models": board.failures["model"].unique().tolist()})


def _winners(board: Leaderboard) -> Iterator[Finding]:
    rows = board.rows
    best = rows.index[0]
    yield Finding("BEST", {**_scores(rows, best), "n_rows": len(rows)})
    ties = rows.index[rows["in_best_set"].eq(True) & (rows.index != best)].tolist()
    if len(rows) > 1:
        known = board.draws["test"].seed_spread_known
        counted = bool(not rows.at[best, "stochastic"] or known.get(rows.at[best, "family"], True))
        enough = few_images(board.data.class_names, board.data.support) is None
        yield Finding("TIES_WITH_BEST", {"n": len(ties), "rows": ties, "is_spread_known": counted, "is_enough": enough})
    for row in rows.index[rows["family"] == "ensemble"]:
        run = board.runs.loc[rows.at[row, "runs"][0]]
        yield Finding("ENSEMBLE", {"row": row, "n_members": len(run["members"]), **run["settings"].get("gain", {})})


def _use(board: Leaderboard) -> Iterator[Finding]:
    """What to use: which family, and which row for how much time."""
    subsets = ("test", "clean") if board.data.test_has_copies else ("test",)
    for how, lines in board.versus[board.versus["subset"].isin(subsets)].groupby("how", sort=False):
        is_quick = lines["deep"].iloc[0] in _quick_networks(board.rows).index
        code = "CLASSICAL_AGAINST_DEEP_IN_MINUTES" if how == "minutes" else "CLASSICAL_AGAINST_DEEP"
        yield Finding(code, {"how": how, "is_quick": is_quick, **_versus(lines)})
    picked = {name: _pick_values(board.rows, pick) for name, pick in board.picks.items()}
    if "all" in picked:
        by_time = {name: picked.get(name) for name in ("minutes", "hours", "gpu")}
        n_gpu = int((board.rows["on_gpu"].eq(True) & board.rows["fitted"].eq(False)).sum())
        yield Finding("USE", {"all": picked["all"], **by_time, "n_gpu": n_gpu, "timed_alike": board.timed_alike})


def _strategies(board: Leaderboard) -> Iterator[Finding]:
    """What strategies do on average over the models, and which classes gain and pay."""
    pooled = board.pooled["test"]
    if pooled.empty:
        return
    clean = _raised_or_lowered(board, "clean") if board.data.test_has_copies else None
    n_models = {"n_models": int(pooled["n_models"].max()), "n_least": int(pooled["n_models"].min())}
    yield Finding("STRATEGIES_POOLED", {**_raised_or_lowered(board, "test"), "clean": clean, **n_models})
    yield from _who_pays(board)


def _raised_or_lowered(board: Leaderboard, subset: str) -> dict[str, list[dict[str, Any]]]:
    """Strategies that raise or lower the mean macro-F1 over the models beyond chance, and those that are unclear."""
    effects = _of_speaking(board, subset)
    beyond = effects["strategy"][effects["macro_f1_low"].gt(0) | effects["macro_f1_high"].lt(0)].value_counts()
    groups: dict[str, list[dict[str, Any]]] = {"raise": [], "lower": [], "unclear": []}
    names = ["strategy", "n_models", "macro_f1", "macro_f1_low", "macro_f1_high"]
    for line in board.pooled[subset][names].to_dict("records"):
        side = "raise" if line["macro_f1_low"] > 0 else "lower" if line["macro_f1_high"] < 0 else "unclear"
        groups[side].append({**line, "n_beyond": int(beyond.get(line["strategy"], 0))})
    return groups


def _slices(board: Leaderboard) -> Iterator[Finding]:
    """Whom the row to use is worst for, and which kind of model copes with what; nothing without slices."""
    if board.slices.empty:
        return
    row = board.picks["all"].row if "all" in board.picks else board.rows.index[0]
    worst = board.slices[board.slices["row"].eq(row) & board.slices["is_worst"].eq(True)]
    names = ["row", "slice", "value", "n_images", "is_small", "is_worse", "accuracy", "difference"]
    yield Finding("WORST_SLICE", worst[[*names, "difference_low", "difference_high"]].to_dict("records")[0])
    lines = board.families_by_slice
    large = lines[lines["is_small"].eq(False)]
    if len(large):
        pair = {family: board.picks[family].row for family in ("classical", "deep")}
        groups = {
            "deep_ahead": large[large["change_low"] > 0],
            "classical_ahead": large[large["change_high"] < 0],
            "unclear": large[(large["change_low"] <= 0) & (large["change_high"] >= 0)],
            "deep_copes": large[large["is_harder"].eq(True) & (large["copes_low"] > 0)],
            "classical_copes": large[large["is_harder"].eq(True) & (large["copes_high"] < 0)],
        }
        is_quick = pair["deep"] in _quick_networks(board.rows).index
        lists = {name: own.to_dict("records") for name, own in groups.items()}
        yield Finding("FAMILY_BY_SLICE", {**pair, "is_quick": is_quick, **lists})


def _who_pays(board: Leaderboard) -> Iterator[Finding]:
    effects = _of_speaking(board, "test")
    rose = {name: int((effects[f"{name}_low"] > 0).sum()) for name in board.data.class_names}
    fell = {name: int((effects[f"{name}_high"] < 0).sum()) for name in board.data.class_names}
    gainer = max(rose, key=lambda name: rose[name] - fell[name])
    payer = max(fell, key=lambda name: fell[name] - rose[name])
    if rose[gainer] > fell[gainer] and fell[payer] > rose[payer]:
        values = {"gainer": gainer, "gainer_rose": rose[gainer], "gainer_fell": fell[gainer]}
        values |= {"payer": payer, "payer_rose": rose[payer], "payer_fell": fell[payer]}
        yield Finding("WHO_PAYS", {**values, "n": len(effects)})


def _of_speaking(board: Leaderboard, subset: str) -> pd.DataFrame:
    """The effects on models that beat a constant answer, which are those that are pooled."""
    speaking = set(board.rows.loc[board.rows["speaks"].eq(True) & (board.rows["strategy"] == BASE_STRATEGY), "model"])
    effects = board.effects[subset]
    return effects[effects["model"].isin(speaking)]


def _belief(board: Leaderboard) -> Iterator[Finding]:
    """How far the figures can be trusted."""
    rows, data = board.rows, board.data
    if board.audit is None and not data.n_folds:
        yield Finding("NOT_AUDITED")
    if nobody := people_unknown(data.name, data.grouped_by):
        yield nobody
    elif data.grouped_by == PEOPLE and data.n_groups < FEW_PEOPLE:
        yield Finding("FEW_PEOPLE", {"n": data.n_groups, "n_folds": data.n_folds})
    if data.test_has_copies:
        yield from _copies(board)
    elif board.audit is not None or data.n_folds:  # copies of an image stay together in one fold
        yield Finding("NO_COPIES", {"n_test": data.n_test})
    seeded = rows.loc[rows["stochastic"].eq(True), "n_seeds"].dropna()
    if once := int(seeded.eq(1).sum()):
        known = board.draws["test"].seed_spread_known
        unknown = sorted(family for family, is_known in known.items() if not is_known)
        yield Finding("ONE_SEED", {"n": once, "n_rows": len(seeded), "unknown": unknown})
    best = rows.iloc[0]
    if _known(best.get("votes_sided")):
        yield Finding("LABEL_NOISE", {"row": rows.index[0], "sided": float(best["votes_sided"])})


def _copies(board: Leaderboard) -> Iterator[Finding]:
    """How many test images have copies in train, what scores are without these, and which row is best then."""
    rows, data = board.rows, board.data
    n_clean, n_test = sum(data.clean_support), sum(data.support)
    speaking = rows[rows["speaks"].eq(True) & rows["clean_accuracy"].notna()]
    if speaking.empty:
        return
    rarest, n_rarest = min(zip(data.class_names, data.clean_support, strict=True), key=lambda pair: pair[1])
    values = {
        "n": n_test - n_clean,
        "n_test": n_test,
        "n_rows": len(speaking),
        "accuracy": float((speaking["accuracy"] - speaking["clean_accuracy"]).median()),
        "macro_f1": float((speaking["macro_f1"] - speaking["clean_macro_f1"]).median()),
        "rarest": rarest,
        "n_rarest": n_rarest,
    }
    yield Finding("COPIES", values)
    best = rows["clean_macro_f1"].idxmax()
    ties = rows.index[rows["clean_in_best_set"].eq(True) & (rows.index != best)].tolist()
    yield Finding("CLEAN", {**_scores(rows, best), "n_images": n_clean, "n_ties": len(ties), "ties": ties})


def _beside(board: Leaderboard) -> Iterator[Finding]:
    """A constant answer."""
    data, rows = board.data, board.rows
    accuracy, macro_f1 = data.constant_scores
    silent = rows.index[rows["speaks"].eq(False)].tolist()
    most_frequent = data.class_names[data.support.index(max(data.support))]
    values = {"class_name": most_frequent, "macro_f1": macro_f1, "accuracy": accuracy, "rows": silent}
    yield Finding("CONSTANT_ANSWER", values)


def _quick_networks(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of networks that have had too few steps to be judged."""
    is_few = (rows["budget"] == FEW_STEPS) & ~(rows["epochs"] >= ENOUGH_EPOCHS)
    return rows[(rows["family"] == "deep") & is_few]


def _scores(rows: pd.DataFrame, row: str) -> dict[str, Any]:
    """What a sentence may say of a row; None for what is not known."""
    names = [
        f"{prefix}{name}{end}"
        for prefix in ("", "clean_")
        for name in ("macro_f1", "accuracy")
        for end in ("", "_low", "_high")
    ]
    (line,) = rows.loc[[row]].to_dict("records")
    found = {name: line.get(name) for name in (*names, "seconds", "n_seeds", "on_gpu")}
    return {"row": row} | {name: value if _known(value) else None for name, value in found.items()}


def _pick_values(rows: pd.DataFrame, pick: Pick) -> dict[str, Any]:
    """faster: the row that takes the least time of those as good on validation, where `row` is not about as fast."""
    within = [other for other in pick.within if other != pick.row]
    fastest = min(within, key=lambda other: rows.at[other, "seconds"], default=None)
    is_faster = fastest is not None and about_as_fast(rows.at[fastest, "seconds"]) < rows.at[pick.row, "seconds"]
    faster = {"row": fastest, **rows.loc[fastest, ["seconds", "macro_f1"]].to_dict()} if is_faster else None
    ties = bool(rows.at[pick.row, "in_best_set"])
    return {**_scores(rows, pick.row), "within": within, "faster": faster, "ties": ties}


def _versus(lines: pd.DataFrame) -> dict[str, Any]:
    """classical, deep: rows; their seconds; by `<subset>_<measure>`: classical, deep, value, low, high."""
    first = lines.iloc[0]
    values = {name: first[name] for name in ("classical", "deep")}
    values |= {name: float(first[name]) for name in ("classical_seconds", "deep_seconds")}
    for line in lines.to_dict("records"):
        figures = {name: float(line[name]) for name in ("value", "low", "high")}
        figures |= {family: float(line[f"{family}_value"]) for family in ("classical", "deep")}
        values[f"{line['subset']}_{line['measure']}"] = figures
    return values


def _known(value: Any) -> bool:
    return value is not None and value == value
