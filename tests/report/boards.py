"""Leaderboards made by hand, to be shown."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from fer_bench.analysis.comparisons import Draws
from fer_bench.analysis.findings import findings
from fer_bench.analysis.leaderboard import Leaderboard
from fer_bench.analysis.overview import DataFacts
from fer_bench.analysis.predictions import Predictions
from fer_bench.records.audit import Audit, Canary, GroupsAudit, SubsetAudit

CLASSES = ("angry", "happy", "sad")
SUPPORT = (20, 60, 40)


def row(model: str, strategy: str = "none", macro_f1: float = 0.5, **known: Any) -> dict[str, Any]:
    """A row of the frame `rows`; what is not given follows from the score or is usual."""
    family = known.pop("family", "deep" if model.startswith("cnn") else "classical")
    n_seeds = known.get("n_seeds", 1)
    scores = {
        "accuracy": macro_f1 + 0.05, "macro_precision": macro_f1, "macro_recall": macro_f1, "macro_f1": macro_f1,
        "clean_accuracy": macro_f1 - 0.02, "clean_macro_f1": macro_f1 - 0.05, "ece": 0.1, "log_loss": 1.2,
        "validation_macro_f1": macro_f1, "votes_sided": 0.4,
    }  # fmt: skip
    bands = {
        f"{name}_{end}": known.get(name, scores[name]) + off
        for name in ("accuracy", "macro_f1", "clean_accuracy", "clean_macro_f1")
        for end, off in (("low", -0.02), ("high", 0.02))
    }
    spreads = {f"{name}_sd": 0.01 if n_seeds > 1 else float("nan") for name in scores}
    usual = {
        "row": f"{model} / {strategy}", "rank": 1, "model": model, "strategy": strategy, "family": family,
        "model_name": model.partition(" ")[0], "budget": "", "tuned": False, "parameters": "", "n_seeds": n_seeds,
        "runs": tuple(f"{model}.{strategy}.s{seed}-0123456789" for seed in range(n_seeds)),
        "in_best_set": True, "rank_low": 1, "rank_high": 3,
        "clean_in_best_set": True, "clean_rank_low": 1, "clean_rank_high": 3,
        "fitted": False, "fit_seconds": 60.0, "feature_seconds": 2.0, "seconds": 62.0, "ms_per_image": 0.5,
        "on_gpu": False, "n_parameters": 1000, "peak_memory_mb": 500.0, "initial_weights": None, "weights_asked": "",
        "weights_note": None, "recipe": 99, "unpretrained": False, "stochastic": True, "epochs": float("nan"),
        "speaks": True,
    }  # fmt: skip
    return usual | scores | bands | spreads | known


def board(
    *rows: dict[str, Any], class_names: tuple[str, ...] = CLASSES, clean: bool = False, n_folds: int = 0,
    audit: Any = None, **given: Any,
) -> Leaderboard:  # fmt: skip
    """A leaderboard of `rows`, best first, with findings of its own. clean: some test images have copies in train."""
    frame = pd.DataFrame(list(rows) or [row("cnn")]).set_index("row").iloc[: len(rows)]
    index = pd.MultiIndex.from_product([frame.index, ["test", "clean"]], names=["row", "subset"])
    support = (*SUPPORT, *[10] * len(class_names))[: len(class_names)]
    data = DataFacts(
        name="faces", fingerprint="d" * 16, split_fingerprint="f" * 16, split_source="drawn", n_folds=n_folds,
        n_train=400, n_validation=100, n_test=sum(support), class_names=class_names, support=support,
        clean_support=tuple(n - 5 for n in support) if clean else (), n_choosers=90, minority=class_names[:1],
    )  # fmt: skip
    run_ids = [run for runs in frame["runs"] for run in runs]
    effects, subsets = effect_lines(frame, class_names), ("test", "clean") if clean else ("test",)
    grid = frame.pivot(index="model", columns="strategy", values="macro_f1")
    no_images = {"ids": {"test": np.zeros(0, "U1")}, "labels": {"test": np.zeros(0, dtype=np.int64)}}
    predictions = Predictions(
        folder=None, split=("d" * 16, "f" * 16, n_folds), class_names=class_names, n_train=400, runs=(), elsewhere=(),
        lengths={}, **no_images,
    )  # fmt: skip
    known: dict[str, Any] = {
        "predictions": predictions, "data": data, "audit": audit, "rows": frame,
        "recall": pd.DataFrame(dict.fromkeys(class_names, 0.5), index=index, dtype=float),
        "runs": pd.DataFrame({"members": [{}] * len(run_ids)}, index=pd.Index(run_ids, name="run_id")),
        "scores": pd.DataFrame(), "effects": dict.fromkeys(subsets, effects),
        "pooled": dict.fromkeys(subsets, pooled(effects)),
        "picks": {}, "versus": pd.DataFrame(columns=["how", "subset"]),
        "best_of_model": frame.drop_duplicates("model"), "grid": grid,
        "grid_status": grid.isna().replace({True: "not run", False: ""}),
        "unranked": pd.DataFrame(columns=["suspect", "reasons", "accuracy", "macro_f1"]),
        "failures": pd.DataFrame(columns=["model", "strategy", "seed", "status", "reason", "run_id"]),
        "not_applicable": pd.DataFrame(columns=["strategies", "models", "reason"]),
        "environment": {"numpy": ("2.4.6",)}, "command": "python -m fer_bench run", "references": (), "suspicions": (),
        "clean": None, "predicted": {}, "reliability": {},
        "draws": {"test": Draws((), (), np.zeros(0), {"classical": True, "deep": True})},
    }  # fmt: skip
    made = Leaderboard(**known | given)
    return replace(made, findings=findings(made))


def effect_lines(rows: pd.DataFrame, class_names: tuple[str, ...]) -> pd.DataFrame:
    """Each row under a strategy against its model under none: the first class gains, the last one pays."""
    lines = []
    for _, one in rows[rows["strategy"] != "none"].iterrows():
        base = rows[(rows["model"] == one["model"]) & (rows["strategy"] == "none")]
        if len(base):
            gains = dict.fromkeys(class_names, 0.0) | {class_names[-1]: -0.1, class_names[0]: 0.2}
            values = {"macro_f1": one["macro_f1"] - base["macro_f1"].iloc[0], "accuracy": 0.0, "minority_recall": 0.2}
            limits = {f"{name}{end}": value + off for name, value in (values | gains).items()
                      for end, off in (("", 0), ("_low", -0.01), ("_high", 0.01))}  # fmt: skip
            verdict = "helps" if limits["macro_f1_low"] > 0 else "no-evidence"
            about = {"model": one["model"], "strategy": one["strategy"], "n_runs": 1, "verdict": verdict}
            lines.append(about | limits)
    names = [f"{name}{end}" for name in ("macro_f1", "accuracy", "minority_recall", *class_names)
             for end in ("", "_low", "_high")]  # fmt: skip
    return pd.DataFrame(lines, columns=["model", "strategy", "n_runs", "verdict", *names])


def pooled(effects: pd.DataFrame) -> pd.DataFrame:
    """Means of `effects` over models."""
    grouped = effects.groupby("strategy")
    codes = {"helps": "helps", "hurts": "hurts", "trade_off": "trade-off", "no_evidence": "no-evidence",
             "same": "same-answers"}  # fmt: skip
    means = grouped[list(effects.columns[4:])].mean().assign(n_models=grouped.size())
    for name, code in codes.items():
        means[f"n_{name}"] = grouped["verdict"].agg(lambda found, code=code: int((found == code).sum()))
    return means.reset_index().sort_values("macro_f1", ascending=False, ignore_index=True)


def audit(copies: int = 0, straddling: int | None = None) -> Audit:
    """Of data with `copies` test images in train."""
    subsets = {
        name: SubsetAudit(drawn=False, images=n, class_counts=[n // 3] * 3, blank=0, exact_in_train=exact,
                          near_in_train=0, exact_in_validation=0)
        for name, n, exact in (("train", 400, 0), ("validation", 100, 0), ("test", 120, copies))
    }  # fmt: skip
    none = GroupsAudit(groups=0, images=0, largest=0, across=0, conflicting=0)
    canary = Canary(images=100, nearest_neighbour=0.4, linear=0.4, gradients=0.4, majority=0.4)
    return Audit(
        dataset="faces", data_fingerprint="d" * 16, split_fingerprint="f" * 16, split_source="drawn",
        class_names=list(CLASSES), images=620, unique_images=620, imbalance_ratio=3.0, class_sorted=False,
        fer2013=False, fer2013_differences=[], subsets=subsets, exact=none, near=none, near_pairs=0, mirrored_pairs=0,
        near_threshold=0.85, straddling_groups=straddling, canary=canary, blank_ids=[],
        n_folds=0, grouped_by="", groups_from="", n_groups=0, appearance={}, notes=(),
    )  # fmt: skip
