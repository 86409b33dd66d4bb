"""The picture of the page: macro-F1 against training time."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from fer_bench.report.columns import duration
from fer_bench.report.text import one_line

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

FAMILIES = {
    "baseline": ("#666e76", "+"), "classical": ("#b3560b", "s"), "deep": ("#1b62a5", "o"),
    "ensemble": ("#8a3f8f", "D"), "external": ("#2b7a4b", "^"),
}  # fmt: skip
"""Colours and marks as in the report: blue and orange are told apart by all eyes, marks by who sees none."""
FONTS = (
    "DejaVu Sans", "Noto Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans CJK KR", "Noto Sans Arabic",
    "Noto Sans Hebrew", "Noto Sans Devanagari", "Noto Sans Thai", "WenQuanYi Zen Hei", "Hiragino Sans", "PingFang SC",
    "Arial Unicode MS", "Microsoft YaHei", "Malgun Gothic", "Nirmala UI", "Segoe UI",
)  # fmt: skip
"""Of these, those that are installed draw names: DejaVu, which comes with matplotlib, knows neither CJK nor Indic."""
STYLE: dict[str, Any] = {
    "font.size": 9.5, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#666666",
    "text.parse_math": False,
}  # fmt: skip
SIZE, DPI, COLOURS = (9.0, 4.8), 110, 256
TICKS = (0.1, 1, 10, 60, 600, 3600, 36000, 360000)
LONGEST, DOT = 44, 4
"""Letters of a name; pixels from the middle of a mark to where a name may stand."""
PLACES = (((-5, 3), "right"), ((-16, 9), "right"), ((6, -11), "left"), ((-5, -11), "right"))
"""Where a name stands beside its point, in points: the first place where it crosses no mark and no other name."""


@cache
def installed_fonts() -> tuple[str, ...]:
    """Those of FONTS that are installed, in that order."""
    from matplotlib import font_manager

    installed = set(font_manager.get_font_names())
    return tuple(name for name in FONTS if name in installed)


@cache
def letters(font: str) -> frozenset[str]:
    """What an installed font has glyphs for."""
    from matplotlib import font_manager

    return frozenset(map(chr, font_manager.get_font(font_manager.findfont(font)).get_charmap()))


@contextmanager
def figure_style() -> Iterator[None]:
    """Inside, matplotlib draws as on the page: letters of any language, in the fonts that are installed."""
    from matplotlib import style

    with style.context(["default", STYLE, {"font.family": installed_fonts()}]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
        yield


def drawable(name: str) -> str:
    """`name`, what no installed font has a glyph for as its escape."""
    maps = [letters(font) for font in installed_fonts()]
    return "".join(
        one if any(one in known for known in maps) else one.encode("unicode_escape").decode() for one in name
    )


def frontier(rows: pd.DataFrame) -> pd.Index:
    """The rows that no other row beats in macro-F1 in as little time, the quickest first.

    Time on a GPU is no time on a processor: only where all rows have the first, they are on the frontier.
    """
    timed = rows[rows["seconds"] > 0]
    if not timed["on_gpu"].all():
        timed = timed[~timed["on_gpu"].astype(bool)]
    timed = timed.sort_values(["seconds", "macro_f1"], ascending=[True, False])
    before = timed["macro_f1"].cummax().shift(fill_value=-1.0)
    return timed.index[timed["macro_f1"] > before]


def quality_against_time(rows: pd.DataFrame, constant_f1: float) -> bytes:
    """A PNG of all `rows` that were timed, the frontier drawn and named; the same rows give the same bytes.

    constant_f1: macro-F1 of the best constant answer, drawn as a floor.
    """
    from matplotlib.figure import Figure
    from PIL import Image

    drawn, png = io.BytesIO(), io.BytesIO()
    with figure_style():
        figure = Figure(figsize=SIZE, layout="constrained")
        axes, timed = figure.subplots(), rows[rows["seconds"] > 0]
        _draw(axes, timed, constant_f1)
        figure.draw_without_rendering()  # which settles where points are
        _name(axes, timed)
        figure.savefig(drawn, format="png", dpi=DPI)
    image = Image.open(drawn).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    image.save(png, format="png", optimize=True)
    return png.getvalue()


def _draw(axes: Axes, rows: pd.DataFrame, constant_f1: float) -> None:
    best = rows.loc[frontier(rows)]
    axes.step(best["seconds"], best["macro_f1"], where="post", color="#bbbbbb", linewidth=1.2, zorder=1)
    axes.axhline(constant_f1, color="#bbbbbb", linewidth=1, linestyle=":", zorder=1)
    axes.annotate(
        "one class always", (0.5, constant_f1), xycoords=("axes fraction", "data"), xytext=(0, 3), ha="center",
        textcoords="offset points", fontsize=8, color="#666666",
    )  # fmt: skip
    for (on_gpu, family), own in rows.groupby(["on_gpu", "family"]):
        colour, mark = FAMILIES.get(str(family), FAMILIES["external"])
        axes.plot(
            own["seconds"], own["macro_f1"], mark, markersize=5, alpha=0.75, markeredgecolor=colour,
            markerfacecolor="none" if on_gpu else colour, label=f"{family}, on a GPU" if on_gpu else family,
        )  # fmt: skip
    axes.set(xscale="log", xlabel="time to train once", ylabel="macro-F1 on the test images")
    axes.margins(x=0.08)
    low, high = axes.get_xlim()
    axes.set_xticks([tick for tick in TICKS if low <= tick <= high])
    axes.xaxis.set_major_formatter(lambda value, _: duration(value).replace(".0", ""))
    axes.minorticks_off()
    axes.set_xlim(low, high)
    axes.grid(color="#eeeeee", linewidth=0.6, zorder=0)
    axes.legend(frameon=False, loc="upper left")


def _name(axes: Axes, rows: pd.DataFrame) -> None:
    """Names beside points of the frontier, from the best on, where there is room; everybody knows what baselines do."""
    best = rows.loc[frontier(rows)[::-1]]
    marks = axes.transData.transform(rows[["seconds", "macro_f1"]].to_numpy(float))
    taken = [legend.get_window_extent()] if (legend := axes.get_legend()) else []
    for row, line in best[best["family"] != "baseline"].iterrows():
        name = drawable(one_line(str(row)))
        label = name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
        for offset, side in PLACES:
            drawn = axes.annotate(
                label, (line["seconds"], line["macro_f1"]), xytext=offset, ha=side, textcoords="offset points",
                fontsize=8,
            )  # fmt: skip
            extent = drawn.get_window_extent()
            inside = axes.bbox.x0 <= extent.x0 and extent.x1 <= axes.figure.bbox.x1
            if inside and not extent.padded(DOT).count_contains(marks) and not extent.count_overlaps(taken):
                taken.append(extent.padded(DOT))
                break
            drawn.remove()
