"""A leaderboard written into the results folder of its dataset."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fer_bench.cache import write_atomic
from fer_bench.judging import leaderboard
from fer_bench.judging.formats import csv_text, json_text, latex, terminal_table
from fer_bench.judging.markdown import markdown
from fer_bench.judging.sections import diagram_file
from fer_bench.judging.summary import summary, warning
from fer_bench.judging.tables import Leaderboard
from fer_bench.records.schema import Record

__all__ = ["FORMATS", "csv_text", "markdown", "summary", "terminal_table", "warning", "write_leaderboard"]

FORMATS = {
    "md": (".md", markdown),
    "csv": (".csv", csv_text),
    "json": (".json", json_text),
    "latex": (".tex", latex),
}
DEFAULT = ("md", "csv")


def write_leaderboard(
    records: Iterable[Record],
    folder: Path,
    command: str | None = None,
    split: leaderboard.Split | None = None,
    formats: Iterable[str] = DEFAULT,
) -> Leaderboard:
    """Write the leaderboard of `records` into their results `folder`, and return what it shows.

    `command` and `split` as in `leaderboard.build`; formats: names in FORMATS. Each file is written whole or not
    at all; the page brings its figure. Those of five folds are `leaderboard-5-folds.md` and so on: they do not replace
    the page of the one split. The same folder and command give the same bytes.
    Raises OSError where `folder` cannot be written, FerBenchError where what is stored there is damaged.
    """
    board = leaderboard.build(records, command, split, folder)
    for name in formats:
        write_atomic(folder / file_name(board, name), FORMATS[name][1](board))
    if board.rank_test and "md" in formats:
        from fer_bench.judging.critical_difference import diagram

        write_atomic(folder / diagram_file(board), diagram(board.rank_test))
    return board


def file_name(board: Leaderboard, name: str) -> str:
    """What the file of a format in FORMATS is called, beside the runs."""
    return f"leaderboard{board.suffix}{FORMATS[name][0]}"
