"""What the report's script draws from: the frames of a leaderboard as plain lists and dictionaries."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fer_bench.analysis.comparisons import MEASURES, standard_errors
from fer_bench.records import NAMING_FILES, without_folders
from fer_bench.report.columns import Column, columns, values
from fer_bench.report.html.galleries import galleries

if TYPE_CHECKING:
    from fer_bench.analysis.leaderboard import Leaderboard

DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
"""An answer takes one character: the index of its class to the base 36."""
PRECISION = 7  # digits
PREDICTIONS_LIMIT = 1_500_000  # bytes
PAIRED_ROWS = 300  # the report carries the standard error of every difference between two of so many rows
ERROR_UNIT = 1e-5
LOG_LINES, LOG_CHARACTERS, HISTORY_LINES = 12, 1_000, 200
PLACED = ("row", "model", "strategy", "family", "model_name", "is_scored", "versions")
"""Columns of `runs` that the report shows elsewhere, or that say nothing more."""


def payload(board: Leaderboard, images: np.ndarray | None = None) -> dict[str, Any]:
    """All of `board` that the report shows, ready for JSON: numbers to seven digits, None where nothing is known.

    Rows and runs are named by their place in the lists `rows` and `runs`. images: see `write_html`.
    """
    carried = _carried(board)
    known = shown_columns(board)
    return plain(
        {
            "data": vars(board.data),
            "columns": [_column(one) for one in known],
            "rows": _rows(board),
            "runs": _runs(board, carried),
            "recall": {subset: _recall(board, subset) for subset in _subsets(board)},
            "scores": list(board.scores.columns),
            "versions": _versions(board),
            "grid": {"models": board.grid.index, "strategies": board.grid.columns, "status": board.grid_status.values},
            "effects": {subset: frame.to_dict("records") for subset, frame in board.effects.items()},
            "pooled": {subset: frame.to_dict("records") for subset, frame in board.pooled.items()},
            "picks": {name: vars(one) for name, one in board.picks.items()},
            "slices": _slices(board),
            "best_of_model": [board.rows.index.get_loc(row) for row in board.best_of_model.index],
            "errors": {subset: _errors(board, subset) for subset in _subsets(board) if subset in board.draws},
            "labels": _digits(board.labels) if _fits(board) else "",
            "clean": None if "clean" not in _subsets(board) else "".join(map(str, np.asarray(board.clean, dtype=int))),
            "carried": "none" if not carried else "all" if len(carried) == len(board.predicted) else "first",
            "galleries": None if images is None else galleries(board, images),
        },
        PRECISION,
    )


def plain(value: Any, digits: int | None = None) -> Any:
    """`value` in JSON's own types: NaN and infinities as None, arrays as lists, floats to `digits` if these are given.

    Of arrays, digits count from the point on. What is whole is an int then.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, float) and digits:
        return int(value) if value.is_integer() else float(f"{value:.{digits}g}")
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(one, digits) for key, one in value.items()}
    if isinstance(value, np.ndarray):
        if digits and value.dtype.kind == "f" and np.isfinite(value).all():
            return np.round(value, digits).tolist()
        return plain(value.tolist(), digits)
    if isinstance(value, (list, tuple, pd.Index, pd.Series)):
        return [plain(one, digits) for one in value]
    return None if value is pd.NaT or value is pd.NA else str(value)


def shown_columns(board: Leaderboard) -> tuple[Column, ...]:
    """All columns; without copies, all test images are clean."""
    return tuple(one for one in columns(board) if board.data.test_has_copies or not one.name.startswith("clean_"))


def _subsets(board: Leaderboard) -> list[str]:
    known = set(board.recall.index.get_level_values("subset"))
    return [subset for subset in ("test", "clean")[: 1 + board.data.test_has_copies] if subset in known]


def _column(column: Column) -> dict[str, Any]:
    names = ("name", "title", "kind", "sentence", "higher_is_better", "shown", "has_interval")
    return {name: getattr(column, name) for name in names}


def _rows(board: Leaderboard) -> list[dict[str, Any]]:
    """A dictionary per row, best first: its values by their names in files, and its runs by their places.

    Of scores whose twin on test-clean is no column, `clean_<score>` is there too.
    """
    scored = [run_id for run_id in board.runs.index if run_id in board.predicted]
    place = {run_id: number for number, run_id in enumerate(scored)}
    table = values(board)
    table = table.join(
        board.rows[[name for name in board.rows if str(name).startswith("clean_") and name not in table]]
    )
    found = []
    for (row, own), line in zip(board.rows.iterrows(), table.to_dict("records"), strict=True):
        known = {name: value for name, value in plain(line, PRECISION).items() if value is not None and value != ""}
        runs = [place[run_id] for run_id in own["runs"]]
        found.append(known | {"row": row, "family": own["family"], "runs": runs})
    return found


def _slices(board: Leaderboard) -> dict[str, Any] | None:
    """The slices in order, and by measure the figures of each row on each; None where there are none.

    Of each figure value, low and high. worst: the place of each row's worst slice. worse: where it is beyond chance.
    """
    if board.slices.empty:
        return None
    of_row = dict(list(board.slices.groupby("row", sort=False)))
    first = next(iter(of_row.values()))
    names = ("accuracy", "macro_f1", "difference")
    figures = {
        name: [of_row[row][[name, f"{name}_low", f"{name}_high"]].to_numpy() for row in board.rows.index]
        for name in names
    }
    about = first[["slice", "value", "n_images", "is_small", "has_few_of_a_class"]].to_dict("records")
    worst = [int(of_row[row]["is_worst"].to_numpy(dtype=bool).argmax()) for row in board.rows.index]
    worse = [of_row[row]["is_worse"].to_numpy(dtype=bool).tolist() for row in board.rows.index]
    families = board.families_by_slice.to_dict("records")
    return {"about": about, **figures, "worst": worst, "worse": worse, "families": families}


def _recall(board: Leaderboard, subset: str) -> list[list[float] | None]:
    table = board.recall.xs(subset, level="subset")
    return [list(table.loc[row]) if row in table.index else None for row in board.rows.index]


def _runs(board: Leaderboard, carried: set[str]) -> list[dict[str, Any]]:
    """A dictionary per run that has scores."""
    versions = _versions(board)
    scores = {subset: board.scores.xs(subset, level="subset").T.to_dict("list") for subset in _scored(board)}
    found = []
    for run_id, line in zip(board.runs.index, board.runs.to_dict("records"), strict=True):
        if run_id not in board.predicted:
            continue
        own = line.get("versions")
        line |= {name: without_folders(line[name]) for name in NAMING_FILES}
        settings = {name: plain(value, PRECISION) for name, value in line.items() if name not in PLACED}
        found.append(
            {
                "id": run_id,
                "settings": {k: v for k, v in settings.items() if v is not False and v not in (None, "", [], {})},
                "versions": versions.index(dict(own)) if own else None,
                "scores": {subset: values[run_id] for subset, values in scores.items() if run_id in values},
                "predicted": _digits(board.predicted[run_id]) if run_id in carried else None,
                "reliability": board.reliability.get(run_id),
                "history": _history(board, run_id),
                "log": _log(board, run_id),
            }
        )
    return found


def _scored(board: Leaderboard) -> list[str]:
    known = set(board.scores.index.get_level_values("subset"))
    return [subset for subset in (*_subsets(board), "validation") if subset in known]


def _versions(board: Leaderboard) -> list[dict[str, Any]]:
    """The sets of versions that runs were made with, each once."""
    found: list[dict[str, Any]] = []
    for own in board.runs.get("versions", ()):
        if own and dict(own) not in found:
            found.append(dict(own))
    return found


def _history(board: Leaderboard, run_id: str) -> dict[str, list[Any]]:
    lines = board.predictions.folder.history(run_id)
    lines = lines[:: max(1, math.ceil(len(lines) / HISTORY_LINES))]
    return {name: [line.get(name) for line in lines] for name in lines[0]} if len(lines) > 1 else {}


def _log(board: Leaderboard, run_id: str) -> str:
    lines = without_folders(board.predictions.folder.log_tail(run_id)).splitlines()
    return "\n".join(lines[-LOG_LINES:])[-LOG_CHARACTERS:]


def _carried(board: Leaderboard) -> set[str]:
    """The runs whose answers the report brings: all, or each row's first where all take too much, or none."""
    if not _fits(board):
        return set()
    first = {runs[0] for runs in board.rows["runs"] if runs}
    for kept in (set(board.predicted), first & set(board.predicted)):
        if len(kept) * len(board.labels) <= PREDICTIONS_LIMIT:
            return kept
    return set()


def _fits(board: Leaderboard) -> bool:
    return len(board.data.class_names) <= len(DIGITS)


def _digits(classes: np.ndarray) -> str:
    return np.frombuffer(DIGITS.encode(), dtype=np.uint8)[np.asarray(classes, dtype=np.intp)].tobytes().decode()


def _errors(board: Leaderboard, subset: str) -> dict[str, Any]:
    """Standard errors of the differences between rows, in ERROR_UNIT, for accuracy and macro-F1.

    rows: the places of the rows that are carried. For each measure the differences between the first and the second,
    the first and the third, ..., the second and the third, ...: the upper triangle of a symmetric table, row by row.
    """
    draws = board.draws[subset]
    where = {row: place for place, row in enumerate(draws.rows)}
    kept = [(number, where[row]) for number, row in enumerate(board.rows.index) if row in where][:PAIRED_ROWS]
    found: dict[str, Any] = {"rows": [number for number, _ in kept]}
    upper = np.triu_indices(len(kept), k=1)
    for measure in MEASURES:
        _, deviations = draws.of(measure)
        errors = standard_errors(deviations[:, [place for _, place in kept]])
        found[measure] = np.rint(errors[upper] / ERROR_UNIT).astype(int)
    return found
