"""The critical-difference diagram of Demsar (2006): rows on a line of mean ranks, bars join those not told apart."""

from __future__ import annotations

import io
from math import ceil

from fer_bench.judging.ranks import RankTest, groups

INCHES_PER_ROW = 0.24
DRAWN = 40
"""Rows of the diagram, the best: of more, names and bars cannot be read."""


def diagram(test: RankTest) -> bytes:
    """The best DRAWN rows of `test` as a PNG, named left and right of the line, the best at the top left."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names, ranks = test.names[:DRAWN], test.mean_ranks[:DRAWN]
    k, worst = len(names), max(len(names), ceil(ranks[-1]))
    bars = groups(ranks, test.critical_difference)
    half = (k + 1) // 2
    top = 1.5 + 0.5 * len(bars)
    figure = Figure(figsize=(9, 1 + INCHES_PER_ROW * (top + half)), dpi=120)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set(xlim=(0.5, worst + 0.5), ylim=(top + half + 0.5, -2.5))
    axes.axis("off")
    axes.hlines(0, 1, worst, color="black", linewidth=1)
    for tick in range(1, worst + 1, max(1, worst // 10)):
        axes.vlines(tick, -0.3, 0, color="black", linewidth=1)
        axes.text(tick, -0.5, str(tick), ha="center", va="bottom", fontsize=8)
    axes.hlines(-1.9, 1, min(worst, 1 + test.critical_difference), color="black", linewidth=2)
    axes.text(1, -2.1, f"critical difference {test.critical_difference:.2f}", ha="left", va="bottom", fontsize=8)
    for level, (start, end) in enumerate(bars):
        height = 0.5 + 0.5 * level
        axes.hlines(height, ranks[start], ranks[end - 1], color="black", linewidth=3)
    for at, (name, rank) in enumerate(zip(names, ranks, strict=True)):
        is_left = at < half
        height, edge = top + (at if is_left else k - 1 - at), 0.9 if is_left else worst + 0.1
        axes.plot([rank, rank, edge], [0, height, height], color="grey", linewidth=0.8)
        axes.text(edge, height, f"{name}  {rank:.2f}", ha="right" if is_left else "left", va="center", fontsize=8)
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None}, bbox_inches="tight")
    return file.getvalue()
