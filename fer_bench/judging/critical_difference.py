"""The critical-difference diagram of Demsar (2006): rows on a line of mean ranks, bars join those not told apart."""

from __future__ import annotations

import io

from fer_bench.judging.ranks import RankTest

INCHES_PER_ROW = 0.24


def diagram(test: RankTest) -> bytes:
    """`test` as a PNG. Rows are named left and right of the line, the best at the top left."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    k = len(test.names)
    half = (k + 1) // 2
    top = 1.5 + 0.5 * len(test.groups)
    figure = Figure(figsize=(9, 1 + INCHES_PER_ROW * (top + half)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set(xlim=(0.5, k + 0.5), ylim=(top + half + 0.5, -2.5))
    axes.axis("off")
    axes.hlines(0, 1, k, color="black", linewidth=1)
    for tick in range(1, k + 1, max(1, k // 10)):
        axes.vlines(tick, -0.3, 0, color="black", linewidth=1)
        axes.text(tick, -0.5, str(tick), ha="center", va="bottom", fontsize=8)
    axes.hlines(-1.9, 1, min(k, 1 + test.critical_difference), color="black", linewidth=2)
    axes.text(1, -2.1, f"critical difference {test.critical_difference:.2f}", ha="left", va="bottom", fontsize=8)
    for level, (start, end) in enumerate(test.groups):
        height = 0.5 + 0.5 * level
        axes.hlines(height, test.mean_ranks[start], test.mean_ranks[end - 1], color="black", linewidth=3)
    for at, (name, rank) in enumerate(zip(test.names, test.mean_ranks, strict=True)):
        is_left = at < half
        height, edge = top + (at if is_left else k - 1 - at), 0.9 if is_left else k + 0.1
        axes.plot([rank, rank, edge], [0, height, height], color="grey", linewidth=0.8)
        axes.text(edge, height, f"{name}  {rank:.2f}", ha="right" if is_left else "left", va="center", fontsize=8)
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None}, bbox_inches="tight")
    return file.getvalue()
