"""Leaderboards made by hand, to be shown."""

from types import SimpleNamespace
from typing import Any

import pandas as pd

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
        "runs": tuple(f"{model}.{strategy}.s{seed}-0123456789" for seed in range(n_seeds)), "missing": (),
        "in_best_set": True, "rank_low": 1, "rank_high": 3,
        "clean_in_best_set": True, "clean_rank_low": 1, "clean_rank_high": 3,
        "fitted": False, "fit_seconds": 60.0, "feature_seconds": 2.0, "seconds": 62.0, "ms_per_image": 0.5,
        "on_gpu": False, "n_parameters": 1000, "peak_memory_mb": 500.0, "initial_weights": None,
        "unpretrained": False, "speaks": True,
    }  # fmt: skip
    return usual | scores | bands | spreads | known


def board(*rows: dict[str, Any], class_names: tuple[str, ...] = CLASSES, **known: Any) -> Any:
    """A leaderboard of `rows`, best first."""
    frame = pd.DataFrame(list(rows) or [row("cnn")]).set_index("row").iloc[: len(rows)]
    index = pd.MultiIndex.from_product([frame.index, ["test", "clean"]], names=["row", "subset"])
    recall = pd.DataFrame(dict.fromkeys(class_names, 0.5), index=index, dtype=float)
    return SimpleNamespace(rows=frame, recall=recall, data=SimpleNamespace(class_names=class_names), **known)
