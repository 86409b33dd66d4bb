"""The leaderboard for programs, papers and terminals: CSV, JSON, LaTeX, a table of text."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from fer_bench.judging.cells import fraction, one_line, percent, seconds
from fer_bench.judging.sections import place
from fer_bench.judging.summary import summary, warning
from fer_bench.judging.tables import FURTHER, METRICS, NOT_APPLICABLE, VOTE_METRICS, Leaderboard, Row
from fer_bench.records.schema import Record

if TYPE_CHECKING:
    from rich.table import Table

FIGURES = (
    "accuracy_low", "accuracy_high", "macro_f1_low", "macro_f1_high", "clean_accuracy", "clean_macro_f1",
    *FURTHER, "ece_scaled", "temperature", *(f"votes_{name}" for name in VOTE_METRICS), "marks",
)  # fmt: skip
WIDE = 100
"""Columns of a terminal from which on its table has all of its own."""
CSV_COLUMNS = (
    "band", "rank", "model", "strategy", "seed", "fold", "budget", "status", *METRICS, "validation_macro_f1",
    "choosing_macro_f1", "fit_seconds", "ms_per_image", "n_parameters", "peak_memory_mb", "weights", "weights_asked",
    "tuned", "parameters", "family", "features", *FIGURES, "reason", "run_id",
)  # fmt: skip


def csv_text(board: Leaderboard) -> str:
    """One line per run, the best macro-F1 first, then the runs without scores by status. Fractions only.

    choosing_macro_f1: of the validation images by which rows are chosen, those without a copy in train.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _csv_cell(value) for name, value in line.items()} for line in _lines(board))
    return text.getvalue()


def json_text(board: Leaderboard) -> str:
    """Summary, facts, rows and effects with all figures, and the lines of the CSV as "runs"; null where missing."""
    content = {
        "summary": summary(board),
        "data": asdict(board.data) if board.data else None,
        "facts": _plain(board.facts),
        "rows": [_row(row) for row in board.rows],
        "unranked": [_row(one.row) | {"reasons": one.reasons, "suspect": one.suspect} for one in board.unranked],
        "strategy_effects": [asdict(effect) for effect in board.strategy_effects],
        "clean_effects": [asdict(effect) for effect in board.clean_effects],
        "rank_test": asdict(board.rank_test) if board.rank_test else None,
        "references": [asdict(reference) for reference in board.references],
        "failures": [asdict(failure) for failure in board.failures],
        "not_applicable": [asdict(group) for group in board.not_applicable],
        "environment": board.environment,
        "command": board.command,
        "runs": _lines(board),
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def latex(board: Leaderboard) -> str:
    """The ranked table for a paper, with the packages it needs named in a comment."""
    headers = ["band", "model", "strategy", "macro-F1", "accuracy %", "clean macro-F1", "clean accuracy %"]
    lines = [
        [
            place(row), one_line(row.label), one_line(row.strategy),
            fraction(row.scores["macro_f1"], row.intervals.get("macro_f1")),
            percent(row.scores["accuracy"], row.intervals.get("accuracy")),
            fraction(row.clean.get("macro_f1"), row.clean_intervals.get("macro_f1")),
            percent(row.clean.get("accuracy"), row.clean_intervals.get("accuracy")),
        ]
        for row in board.rows
    ]  # fmt: skip
    align = ("right", "left", "left", *["right"] * 4)
    body = tabulate(lines, headers, "latex_booktabs", disable_numparse=True, colalign=align)
    body = body.replace("–", "--").replace("±", r"$\pm$")
    note = "brackets hold 95 % intervals, rows of a band cannot be told from its first"
    return f"% \\usepackage{{booktabs}}; {note}\n{body}\n"


def terminal_table(board: Leaderboard, width: int = WIDE, limit: int = 20) -> Table:
    """The first `limit` rows as a table for `width` columns, and under it what else there is."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    more = len(board.rows) - limit
    n_gaps = sum(cell == NOT_APPLICABLE for cells in board.grid.cells for cell in cells)
    counts = [
        (more, "more rows"), (len(board.unranked), "rows not ranked"), (len(board.failures), "failed runs"),
        (n_gaps, "combinations that do not apply"),
    ]  # fmt: skip
    below = ["; ".join(f"{count:,} {what}" for count, what in counts if count > 0), warning(board)]
    table = Table(
        title=Text(f"Leaderboard: {board.data.name}" if board.data else "Leaderboard: no records"),
        caption=Text("\n".join(filter(None, below))),
        box=box.SIMPLE_HEAD,
    )
    banded = any(row.standing for row in board.rows)
    names = ["band" if banded else "#", "model", "strategy", "macro-F1", "acc. %", "fit s"]
    shown = len(names) if width >= WIDE else len(names) - 2  # names break inside words where there is less room
    for name in names[:shown]:
        is_name = name in ("model", "strategy")
        table.add_column(name, justify="left" if is_name else "right", no_wrap=not is_name, overflow="fold")
    for row in board.rows[:limit]:
        scores = fraction(row.scores["macro_f1"], row.intervals.get("macro_f1")), percent(row.scores["accuracy"])
        cells = (place(row), row.label, row.strategy, *scores, seconds(row.fit_seconds))
        table.add_row(*map(Text, cells[:shown]))
    return table


def _lines(board: Leaderboard) -> list[dict[str, Any]]:
    lines = [_line(record, board.ranks.get(record.run_id), board.figures[record.run_id]) for record in board.records]
    return sorted(
        lines, key=lambda line: (line["macro_f1"] is None, -(line["macro_f1"] or 0), line["status"], line["run_id"])
    )


def _line(record: Record, rank: int | None, figures: Mapping[str, float | str | None]) -> dict[str, Any]:
    spec, seconds, validation = record.spec, record.seconds, record.validation
    return {
        "band": figures.get("band"), "rank": rank, "model": spec.model,
        "strategy": spec.strategy, "seed": spec.seed, "fold": spec.fold_name, "budget": spec.budget,
        "status": record.status, **{name: figures.get(name) for name in METRICS},
        "validation_macro_f1": validation.macro_f1 if validation else None,
        "choosing_macro_f1": figures.get("choosing_macro_f1"),
        "fit_seconds": seconds.fit if seconds else None, "ms_per_image": record.ms_per_image,
        "n_parameters": record.n_parameters, "peak_memory_mb": record.peak_memory_mb, "weights": record.weights_note,
        "weights_asked": spec.weights, "tuned": spec.tuned, "parameters": _assignments(spec.parameters),
        "family": record.family, "features": record.features,
        **{name: figures.get(name) for name in FIGURES}, "reason": record.reason, "run_id": record.run_id,
    }  # fmt: skip


def _assignments(parameters: Iterable[tuple[str, Any]]) -> str:
    return " ".join(f"{name}={value}" for name, value in parameters)


def _row(row: Row) -> dict[str, Any]:
    return _plain(row) | {"band": row.standing.band if row.standing else None}


def _plain(what: Any) -> dict[str, Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(type(what)).dump_python(what, mode="json")


def _csv_cell(value: Any) -> Any:
    """Text on one line, and never one that a spreadsheet would run as a formula; numbers to 6 decimals."""
    if isinstance(value, str):
        text = one_line(value)
        return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
    return round(value, 6) if isinstance(value, float) else value
