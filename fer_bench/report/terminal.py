"""A leaderboard in a terminal: in short, and the grid of models and strategies, in the columns that there are."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from fer_bench.errors import listing
from fer_bench.report.columns import show
from fer_bench.report.text import counted, grid_text, in_short, one_line, sentences, title

if TYPE_CHECKING:
    import pandas as pd

    from fer_bench.analysis import Leaderboard, Verification

CELL, LONGEST_NAME, SHOWN = 5, 26, 3
"""Characters of a score; of a model's name before it breaks; remarks on a run."""


def overview(board: Leaderboard, width: int = 80) -> list[str]:
    """Lines of at most `width` columns, but where a single word is longer: the grid, warnings, in short."""
    lines = [f"Leaderboard: {one_line(title(board))}", ""]
    if board.grid.notna().any(axis=None):
        lines += ["macro-F1 (*: may be the best)", *_grid(board, width)]
    for text in in_short(board):
        lines += _wrapped(text, width, "- ", "  ")
    return lines


def _grid(board: Leaderboard, width: int) -> Iterable[str]:
    """As many strategies beside each other as there is room for, then the models that ran under one alone."""
    best = board.may_be_best
    is_alone = board.grid.notna().sum(axis=1) < 2
    alone = [] if is_alone.all() else list(board.grid.index[is_alone])
    grid = board.grid.drop(index=alone)
    first = max(len(line) for model in grid.index for line in _wrapped(str(model), LONGEST_NAME))
    for strategies in _blocks(grid, width - first):
        heads = [_head(strategy) for strategy in strategies]
        widths = [max(map(len, [*head, " " * (CELL + 1)])) for head in heads]
        for at in range(height := max(map(len, heads))):
            cells = [[""] * (height - len(head)) + head for head in heads]
            yield _line("", [cell[at] for cell in cells], first, widths)
        for model in grid.index[grid[strategies].notna().any(axis=1)]:
            told = [f"{grid_text(board, model, one)}{'*' if (model, one) in best else ' '}" for one in strategies]
            *rest, last = _wrapped(str(model), LONGEST_NAME)
            yield from rest
            yield _line(last, told, first, widths)
        yield ""
    others = board.rows[board.rows["model"].isin(alone)]
    known = [f"{one.model} {show(one.macro_f1, 'fraction')}" for one in others.itertuples()]
    if known:
        yield from (*_wrapped(f"under one strategy alone: {', '.join(known)}", width), "")


def _blocks(grid: pd.DataFrame, room: int) -> Iterable[list[str]]:
    """The strategies, in runs of which each fits into `room` columns, one at least."""
    block: list[str] = []
    used = 0
    for strategy in map(str, grid):
        needed = 1 + max(CELL + 1, *map(len, _head(strategy)))
        if block and used + needed > room:
            yield block
            block, used = [], 0
        block, used = [*block, strategy], used + needed
    yield block


def _head(strategy: str) -> list[str]:
    """A strategy's name broken after its dashes: "over-", "sampling"."""
    *parts, last = one_line(strategy).split("-")
    return [*(f"{part}-" for part in parts), last]


def _line(first: str, cells: Sequence[str], width: int, widths: Sequence[int]) -> str:
    return f"{first:<{width}} " + " ".join(f"{cell:>{n}}" for cell, n in zip(cells, widths, strict=True)).rstrip()


def _wrapped(text: str, width: int, start: str = "", rest: str = "") -> list[str]:
    """`text` in lines of `width`, broken between words alone."""
    return textwrap.wrap(
        one_line(text), width, initial_indent=start, subsequent_indent=rest, break_long_words=False,
        break_on_hyphens=False,
    ) or [start]  # fmt: skip


def verify_lines(found: Verification, page_faults: Sequence[str] = ()) -> list[str]:
    """What `verify` says: of single runs, how many stand how, what it cannot check, what contradicts."""
    from fer_bench.analysis import Standing

    lines = [
        one_line(f"{verdict.run_id}: {verdict.standing}: {remark}")
        for verdict in found.verdicts
        for remark in verdict.remarks[:SHOWN]
    ]
    counts = Counter(verdict.standing for verdict in found.verdicts)
    told = ", ".join(f"{counts[standing]} {standing}" for standing in Standing if counts[standing])
    faults = [one_line(fault) for fault in (*found.faults, *page_faults)]
    lines += [*sentences(found.remarks), told or "no run has scores"]
    if found.unchecked:
        lines += ["not checked:", *(f"  - {one}" for one in sentences(found.unchecked))]
    if faults:
        lines.append(f"{counted(len(faults), 'fault')} of the folder:\n{listing(faults)}")
    if page_faults:
        lines.append("`fer_bench report` writes the pages anew, which an update of fer_bench may call for too")
    sound = found.is_sound and not page_faults
    return [*lines, "nothing contradicts" if sound else "NOT ALL FIGURES FOLLOW FROM WHAT IS STORED"]
