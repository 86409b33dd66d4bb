"""What a run looked like: its learning curves and its confusion matrix, as PNG files."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_bench.cache import write_atomic
from fer_bench.judging.cells import setting
from fer_bench.records.schema import Record, Scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVES, CONFUSION = "curves.png", "confusion.png"
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#666666"  # told apart by all eyes: Okabe & Ito 2008
PANELS = {
    "loss": {"loss": ("training", BLUE, "--"), "val_loss": ("validation", ORANGE, "-")},
    "share of images, macro-F1": {
        "accuracy": ("training accuracy", BLUE, "--"),
        "val_accuracy": ("validation accuracy", ORANGE, "-"),
        "val_macro_f1": ("validation macro-F1", GREEN, "-"),
    },
}
STYLE: dict[str, Any] = {
    "font.size": 10, "axes.titlesize": 11, "axes.spines.top": False, "axes.spines.right": False,
    "axes.edgecolor": GREY, "text.parse_math": False,
}  # fmt: skip
DPI, COLOURS = 100, 96  # fewer colours make a file of a third of the size
WIDEST_NAME, LONGEST_NAME = 9, 16  # characters of a class's name that fit under its column, and that are shown


def draw_run(record: Record, history: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Write confusion.png into `folder`, and curves.png where `history` has losses, and more than one row.

    history: the rows of history.csv, numbers or their text. The same run gives the same bytes. A record without test
    scores has no confusion matrix. Raises OSError where `folder` cannot be written.
    """
    from matplotlib import style

    with style.context(["default", STYLE]):
        if len(history) > 1 and "loss" in history[0] and history[0].keys() & {"step", "epoch"}:
            _save(curves(history, _title(record)), folder / CURVES)
        if record.test is not None:
            _save(confusion(record, record.test), folder / CONFUSION)


def _title(record: Record) -> str:
    """The model with its budget and recipe, the strategy, the seed, and the fold where there is one."""
    spec = record.spec
    recipe = ", ".join(filter(None, (spec.budget, "tuned" * spec.tuned, *(setting(*one) for one in spec.parameters))))
    fold = f", fold {spec.fold_name}" * bool(spec.fold)
    return f"{spec.model}{f' ({recipe})' * bool(recipe)}, {spec.strategy}, seed {spec.seed}{fold}"


def curves(history: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """Losses beside accuracies over the steps (or epochs), phases shaded, the step whose weights were kept marked."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    shown = {name: lines for name, lines in PANELS.items() if lines.keys() & history[0].keys()}
    figure = Figure(figsize=(4.5 * len(shown) + 0.3, 3.6), layout="constrained")
    figure.suptitle(title, fontsize=11)
    axis = "step" if "step" in history[0] else "epoch"
    x = _column(history, axis)
    for axes, (name, lines) in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown.items(), strict=True):
        _shade_phases(axes, history, x)
        for column, (label, colour, dashes) in lines.items():
            if column in history[0]:
                axes.plot(x, _column(history, column), dashes, color=colour, label=label, linewidth=1.8)
        if "val_macro_f1" in history[0]:
            _mark_kept(axes, x, _column(history, "val_macro_f1"), with_score="val_macro_f1" in lines)
        axes.set(xlabel=f"gradient {axis}" if axis == "step" else axis, ylabel=name, xlim=(min(0, x[0]), x[-1]))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.legend(frameon=False, fontsize=9)
    return figure


def confusion(record: Record, scores: Scores) -> Figure:
    """Shares of each true class by predicted class, with the counts under them."""
    from matplotlib.figure import Figure

    names, side = [_short(name) for name in record.class_names], len(record.class_names)
    figure = Figure(figsize=(0.78 * side + 1.9, 0.62 * side + 1.7), layout="constrained")
    axes = figure.subplots()
    shares = [[count / max(1, sum(row)) for count in row] for row in scores.confusion]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for i, j, count in _cells(scores.confusion):
        share = f"{shares[i][j]:.0%}" if sum(scores.confusion[i]) else "-"
        colour = "white" if shares[i][j] > 0.6 else "black"
        weight = "bold" if i == j else "normal"
        axes.text(j, i - 0.14, share, ha="center", va="center", color=colour, fontweight=weight)
        axes.text(j, i + 0.24, f"{count:,}", ha="center", va="center", color=colour, fontsize=8)
    supports = [f"{name}\nn = {sum(row):,}" for name, row in zip(names, scores.confusion, strict=True)]
    axes.set_xticks(range(side), names)
    if max(map(len, names)) > WIDEST_NAME:
        axes.tick_params(axis="x", rotation=30)
    axes.set_yticks(range(side), supports)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="predicted", ylabel="true class, and its test images")
    results = f"macro-F1 {scores.macro_f1:.3f}, accuracy {scores.accuracy:.1%}, {scores.n_images:,} test images"
    figure.suptitle(f"{_title(record)}\n{results}", fontsize=11)
    return figure


def _shade_phases(axes: Axes, history: Sequence[Mapping[str, Any]], x: list[float]) -> None:
    """Every second phase on gray, each with its name on top, where there are several."""
    phases = [(name, [at for at, _ in rows]) for name, rows in groupby(zip(x, _phases(history), strict=True), _name)]
    if len(phases) < 2:
        return
    start = min(0.0, x[0])
    for number, (name, places) in enumerate(phases):
        if number % 2:
            axes.axvspan(start, places[-1], color="#f0f0f0", linewidth=0, zorder=0)
        axes.annotate(
            name, ((start + places[-1]) / 2, 1.0), xycoords=("data", "axes fraction"), xytext=(0, 2),
            textcoords="offset points", ha="center", fontsize=8, color=GREY,
        )  # fmt: skip
        start = places[-1]


def _mark_kept(axes: Axes, x: list[float], scores: list[float], with_score: bool) -> None:
    """A line at the first of the best scores, whose weights were kept."""
    best = scores.index(max(scores))
    axes.axvline(x[best], color=GREY, linewidth=1, linestyle=":", label=None if with_score else "weights kept")
    if with_score:
        axes.plot(x[best], scores[best], "o", color=GREEN, markersize=6, label=f"kept: {scores[best]:.3f}")


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _phases(history: Sequence[Mapping[str, Any]]) -> list[str]:
    return [str(row.get("phase", "")) for row in history]


def _name(row: tuple[float, str]) -> str:
    return row[1]


def _column(history: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [float(row[name]) for row in history]


def _cells(matrix: Sequence[Sequence[int]]) -> Iterator[tuple[int, int, int]]:
    return ((i, j, count) for i, row in enumerate(matrix) for j, count in enumerate(row))


def _save(figure: Figure, path: Path) -> None:
    from PIL import Image

    drawn, png = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI)
    image = Image.open(drawn).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    image.save(png, format="png", optimize=True)
    write_atomic(path, png.getvalue())
