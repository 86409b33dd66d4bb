"""The leaderboard for programs and papers: CSV, JSON, LaTeX; every column of `columns`, a line per row."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fer_bench.errors import no_formula
from fer_bench.records import without_folders
from fer_bench.report.columns import COLUMNS, columns, values
from fer_bench.report.html.payload import plain
from fer_bench.report.text import one_line, sentences

if TYPE_CHECKING:
    import pandas as pd

    from fer_bench.analysis.leaderboard import Leaderboard

DECIMALS = 6
LATEX_COLUMNS = ("rank", "model", "strategy", "macro_f1", "accuracy", "clean_macro_f1", "clean_accuracy")


def csv_text(board: Leaderboard) -> str:
    """A line per ranked row, best first, then the rows that are not ranked, without a rank. Shares from 0 to 1."""
    import pandas as pd

    frame = values(board)
    if len(board.unranked):
        frame = pd.concat([frame, _unranked(board)[["model", "strategy", "accuracy", "macro_f1"]]])
    return _csv(frame)


def slices_csv(board: Leaderboard) -> str:
    """A line per row, best first, and slice: see `analysis.slices.slices_frame`. Shares from 0 to 1."""
    return _csv(board.slices.drop(columns=["model", "strategy", "family"]))


def _csv(frame: pd.DataFrame) -> str:
    frame = frame.convert_dtypes().round(DECIMALS)
    texts = frame.select_dtypes(["string", "object"])
    return frame.assign(**texts.map(_csv_text)).to_csv(index=False, lineterminator="\n")


def json_text(board: Leaderboard) -> str:
    """Everything that pages say, with all figures; null where something is not known."""
    content = {
        "data": asdict(board.data),
        "audit": board.audit.model_dump(mode="json") if board.audit else None,
        "in_words": sentences(board.findings),
        "findings": [asdict(finding) for finding in board.findings],
        "columns": {part: column.sentence for column in columns(board) for part in column.parts},
        "rows": values(board).to_dict("records"),
        "picks": {name: asdict(pick) for name, pick in board.picks.items()},
        "classical_against_deep": board.versus.to_dict("records"),
        "strategies": {subset: frame.to_dict("records") for subset, frame in board.pooled.items()},
        "effects": {subset: frame.to_dict("records") for subset, frame in board.effects.items()},
        "slices": board.slices.to_dict("records"),
        "families_by_slice": board.families_by_slice.to_dict("records"),
        "unranked": _unranked(board).to_dict("records"),
        "failures": board.failures.to_dict("records"),
        "references": [asdict(reference) for reference in board.references],
        "environment": dict(board.environment),
        "command": without_folders(board.command),
    }
    return json.dumps(plain(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def latex(board: Leaderboard) -> str:
    """The ranked table for a paper, with the package that it needs named in a comment."""
    import pandas as pd

    shown = [column for column in COLUMNS if column.name in LATEX_COLUMNS and column.name in board.rows]
    lines = [[one_line(column.cell(line)) for column in shown] for _, line in board.rows.iterrows()]
    frame = pd.DataFrame(lines, columns=[column.title for column in shown])
    body = frame.to_latex(index=False, escape=True, column_format="lll" + "r" * (len(shown) - 3))
    return f"% \\usepackage{{booktabs}}; brackets hold 95 % intervals\n{body.replace('–', '--')}"


def _unranked(board: Leaderboard) -> pd.DataFrame:
    """Rows that are not ranked: model, strategy, accuracy, macro_f1, and why in words."""
    names = [str(row).rpartition(" / ") for row in board.unranked.index]
    model, strategy = [name[0] for name in names], [name[2] for name in names]
    return board.unranked.assign(model=model, strategy=strategy, reasons=board.unranked["reasons"].map(sentences))


def _csv_text(text: Any) -> Any:
    """On one line, and never what a spreadsheet would run as a formula."""
    return no_formula(one_line(text)) if isinstance(text, str) else text
