"""The document around what the script draws: tables that stand without it, a policy that lets nothing else in."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_bench.analysis.findings import is_rendered
from fer_bench.cache import write_atomic
from fer_bench.records import without_folders
from fer_bench.report.columns import COLUMNS, Column, show, values
from fer_bench.report.html.payload import payload, shown_columns
from fer_bench.report.text import in_short, sentences, signed

if TYPE_CHECKING:
    import numpy as np

    from fer_bench.analysis.leaderboard import Leaderboard

SCRIPTS = ("core", "charts", "ranking", "sections", "slices", "run", "compare", "start")
"""Of `static/`, in the order in which they are read."""
POLICY = (
    "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; "
    "script-src '{script}'; style-src '{style}'"
)
"""What the page may load: nothing, but for its own script and style, known by their digests, and images inside it."""
CARDS = {
    "all": "picked on validation",
    "minutes": "in ten minutes, without a GPU",
    "hours": "with more time, without a GPU",
    "gpu": "with a GPU",
}
MINUTES_OR_MORE = "in ten minutes or more, without a GPU"
AFTER_PAINT = """let begun = false;
const beginOnce = () => { if (!begun) { begun = true; begin(); } };
new PerformanceObserver(beginOnce).observe({ type: "paint", buffered: true });
setTimeout(beginOnce, 3000);"""
"""The script begins once the tables are on the screen, and also where nothing is painted, as behind another tab."""


def write_html(board: Leaderboard, path: Path, images: np.ndarray | None = None) -> None:
    """Write the report of `board` to `path`, whole or not at all.

    images: the test images, uint8 (n_test, h, w) gray or (n_test, h, w, 3) RGB, in the order of `board.labels`; with
    them the report shows the hardest faces and each run's most confident mistakes.
    """
    write_atomic(path, page(board, images))


def page(board: Leaderboard, images: np.ndarray | None = None) -> str:
    """The report as HTML. It asks for no other file, and stands without JavaScript as tables."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("fer_bench.report", "html"),
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined,
    )  # fmt: skip
    environment.tests["rendered"] = is_rendered
    environment.filters["signed"] = signed
    static = resources.files("fer_bench.report.html") / "static"
    style = (static / "report.css").read_text("utf-8")
    parts = "\n".join((static / f"{name}.js").read_text("utf-8") for name in SCRIPTS)
    script = f'"use strict";\n{AFTER_PAINT}\nfunction begin() {{\n{parts}\n}}\n'
    known = shown_columns(board)
    short = in_short(board)
    return environment.get_template("report.html.j2").render(
        board=board,
        ranking=_ranking(board, known),
        slices=_slices(board),
        words=[one for one in known if one in COLUMNS],
        show=show,
        unbroken=_unbroken,
        cards=_cards(board),
        best=board.may_be_best,
        short=short,
        command=without_folders(board.command),
        further=[one for one in sentences(board.findings) if one not in short],
        reasons=sentences,
        has_images=images is not None,
        policy=POLICY.format(script=_digest(script), style=_digest(style)),
        style=Markup(style),
        script=Markup(script),
        payload=Markup(embedded(payload(board, images))),
    )


def embedded(value: Any) -> str:
    """`value` as JSON that may stand in a page's <script>: nothing in it ends the element or begins another."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.translate({ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"})


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _cards(board: Leaderboard) -> dict[str, str]:
    """What each picked row is picked for, in the order of CARDS; a row that is picked twice has one card."""
    named = {name: title for name, title in CARDS.items() if name in board.picks}
    if {"minutes", "hours"} <= named.keys() and board.picks["minutes"].row == board.picks["hours"].row:
        named["minutes"] = MINUTES_OR_MORE
        del named["hours"]
    titles: dict[str, list[str]] = {}
    for name, title in named.items():
        titles.setdefault(board.picks[name].row, []).append(title)
    return {row: text[0].upper() + text[1:] for row, text in ((row, "; ".join(own)) for row, own in titles.items())}


def _slices(board: Leaderboard) -> list[list[dict[str, Any]]]:
    """The lines of `board.slices` of each model's row, best first."""
    of_row = {row: lines.to_dict("records") for row, lines in board.slices.groupby("row")} if len(board.slices) else {}
    return [of_row[row] for row in board.best_of_model.index if row in of_row]


def _unbroken(text: str) -> str:
    """`text` with numbers and their units on one line."""
    return re.sub(r"(?<=\d) (?=(?:%|s|ms|min|h|MB)(?!\w))", "\u00a0", text)


def _ranking(board: Leaderboard, known: Sequence[Column]) -> tuple[Sequence[Column], list[list[str]]]:
    """The columns that are shown before anybody chooses, and their text for each row."""
    shown = [one for one in known if one.shown]
    return shown, [[one.cell(line, " to ") for one in shown] for line in values(board).to_dict("records")]
