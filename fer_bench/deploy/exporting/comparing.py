"""Several bundles beside each other: quality against latency, as a table and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from fer_bench.cache import replacing, write_atomic

CSV, PICTURE = "compare.csv", "compare.png"
WIDEST_RUN = 24
"""Letters of a run's id in a line of the table, which so fits a terminal."""


def compare_bundles(folder: Path, cards: Sequence[dict[str, Any]]) -> list[str]:
    """The table of `cards`, best macro-F1 first, for people; written into `folder` as a CSV, with a picture."""
    frame = pd.DataFrame(map(_line, cards)).sort_values("macro_f1", ascending=False)
    write_atomic(folder / CSV, frame.to_csv(index=False))
    _draw(folder / PICTURE, frame)
    shown = [
        (
            one.run, f"{one.macro_f1:.3f} ({one.macro_f1_low:.3f}–{one.macro_f1_high:.3f})", f"{one.accuracy:.1%}",
            f"{one.ms_one:.2f}", f"{one.ms_batch:.2f}", f"{one.megabytes:.1f}",
        )
        for one in frame.itertuples()
    ]  # fmt: skip
    headers = ("run", "macro-F1", "accuracy", "ms,\none", "ms, in\na batch", "MB")
    return [
        *tabulate(shown, headers, "simple", disable_numparse=True, maxcolwidths=WIDEST_RUN).splitlines(),
        "",
        str(folder / CSV),
        str(folder / PICTURE),
    ]


def _line(card: dict[str, Any]) -> dict[str, Any]:
    test, speed, line = card["scores"]["test"], card["latency"], {"run": card["run"]}
    for name in ("macro_f1", "accuracy"):
        line |= dict(zip((name, f"{name}_low", f"{name}_high"), (test[name], *test["intervals"][name]), strict=True))
    line |= {"ms_one": speed["one"], "ms_batch": speed["batch"]}
    return line | {name: card[name] for name in ("megabytes", "arithmetic")}


def _draw(path: Path, frame: pd.DataFrame) -> None:
    """Macro-F1 with its interval over the milliseconds of an image in a batch; the larger a dot, the more megabytes."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    figure = Figure(figsize=(8, 5), layout="constrained")
    panel = figure.subplots()
    reach = [frame["macro_f1"] - frame["macro_f1_low"], frame["macro_f1_high"] - frame["macro_f1"]]
    panel.errorbar(frame["ms_batch"], frame["macro_f1"], yerr=reach, fmt="none", color="0.7", zorder=1)
    panel.scatter(frame["ms_batch"], frame["macro_f1"], s=20 + 2 * frame["megabytes"], zorder=2)
    middle = (frame["ms_batch"].min() * frame["ms_batch"].max()) ** 0.5
    for one in frame.itertuples():
        name, side = one.run.rpartition("-")[0], "left" if one.ms_batch <= middle else "right"
        panel.annotate(f"  {name}  ", (one.ms_batch, one.macro_f1), fontsize=8, va="bottom", ha=side)
    panel.set(xscale="log", xlabel="milliseconds an image, in batches", ylabel="macro-F1 on the test images")
    panel.margins(x=0.3, y=0.1)  # room for the names
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_major_formatter("{x:g}")
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.grid(alpha=0.3)
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=120)
