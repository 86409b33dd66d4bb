"""Words for people: findings as sentences, and any text as Markdown that shows it as it is."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from fer_bench.analysis.findings import is_rendered
from fer_bench.report.columns import MISSING, show

if TYPE_CHECKING:
    from fer_bench.analysis import Finding, Leaderboard

WARNINGS = (
    "RENDERED", "UNTRUSTED_DATA", "SUSPECT_ROWS", "UNPRETRAINED", "QUICK_NETWORKS", "SUBSETS_LOOK_DIFFERENT",
    "CLASS_ABSENT", "FEW_IMAGES", "FAILED_RUNS", "NOT_AUDITED", "PEOPLE_UNKNOWN", "FEW_PEOPLE",
)  # fmt: skip
IN_SHORT = (
    "NOTHING_RANKED", "BEST", "TIES_WITH_BEST", "ENSEMBLE", "CLASSICAL_AGAINST_DEEP",
    "CLASSICAL_AGAINST_DEEP_IN_MINUTES", "USE", "STRATEGIES_POOLED", "WHO_PAYS", "WORST_SLICE", "FAMILY_BY_SLICE",
    "COPIES", "CLEAN",
)  # fmt: skip
"""Codes of findings, in the order of reading; one sentence of each."""
JOINERS = "\u200c\u200d"
"""Invisible, and part of how Persian and Indic words are written."""


def one_line(text: str) -> str:
    """`text` on one line, without control characters and marks that turn the direction of reading."""
    kept = (c if c.isprintable() or c in JOINERS else " " for c in unicodedata.normalize("NFC", text))
    return " ".join("".join(kept).split())


def plain(text: Any) -> Markup:
    """`one_line` of anything, not to be escaped."""
    return Markup(one_line(str(text)))


def escape(text: Any) -> Markup:
    """`text` so that Markdown shows it as it is, in a table cell too: no link, no HTML, no emphasis."""
    escaped = re.sub(r"[\\`*\[\]|~$#]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", one_line(str(text)))
    for character, entity in {"&": "&amp;", "<": "&lt;", ">": "&gt;", "://": "&#58;//", "@": "&#64;"}.items():
        escaped = escaped.replace(character, entity)
    return Markup(re.sub(r"(?i)\bwww\.", "www&#46;", escaped))


def title(board: Leaderboard) -> str:
    """What a leaderboard is of: "faces", "faces, 5 folds"."""
    n_folds = board.data.n_folds
    return board.data.name + (f", {counted(n_folds, 'fold')}" if n_folds else "")


def grid_text(board: Leaderboard, model: str, strategy: str) -> str:
    """Macro-F1 of a model under a strategy, or why there is none."""
    value, status = board.grid.at[model, strategy], board.grid_status.at[model, strategy]
    return show(value, "fraction") if value == value else MISSING if status == "not run" else str(status)


def listed(names: Sequence[str], limit: int = 5) -> str:
    """The first names, and how many more there are."""
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")


def counted(n: int, noun: str) -> str:
    """A number of things, "1 row" or "2 rows"."""
    return f"{n:,} {noun}{'s' * (n != 1)}"


def signed(value: float, scale: float = 1, decimals: int = 3) -> str:
    """A difference with its sign; what rounds to zero has a plus, as its sign is that of the machine's rounding."""
    return MISSING if value != value else f"{round(scale * value, decimals) + 0.0:+.{decimals}f}"


def points(value: float) -> str:
    """A difference of shares in percentage points."""
    return signed(value, 100, 1)


def table(headers: Sequence[str], lines: Iterable[Iterable[Any]], left: int = 1) -> Markup:
    """A Markdown table without padding; the first `left` columns are aligned left, the others right.

    Cells are escaped, those that are Markdown already are not.
    """

    def line(cells: Iterable[Any]) -> str:
        return "|".join(["", *(cell if isinstance(cell, Markup) else escape(cell) for cell in cells), ""])

    rule = "|".join(["", *([":--"] * left + ["--:"] * (len(headers) - left)), ""])
    return Markup("\n".join([line(headers), rule, *map(line, lines)]))


@cache
def environment(is_markdown: bool) -> Environment:
    """Where templates are rendered: whatever they show of data is escaped as Markdown, or else put on one line."""
    shown = escape if is_markdown else plain
    found = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=lambda value: value if isinstance(value, Markup) else shown(value),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    found.filters |= {kind: partial(show, kind=kind) for kind in ("fraction", "percent", "count", "seconds")}
    found.filters |= {"listed": listed, "counted": counted, "signed": signed, "points": points}
    found.tests["rendered"] = is_rendered
    found.filters["sentence"] = partial(_rendered, is_markdown=is_markdown)
    return found


def first_of(findings: Sequence[Finding], codes: Sequence[str]) -> list[Finding]:
    """The first finding of each of `codes`, in their order."""
    found = (next((one for one in findings if one.code == code), None) for code in codes)
    return [one for one in found if one is not None]


def sentence(finding: Finding) -> str:
    """A finding in plain words, on one line."""
    return str(_rendered(finding, is_markdown=False))


def sentences(findings: Iterable[Finding]) -> list[str]:
    """`sentence` of each."""
    return [sentence(one) for one in findings]


def in_short(board: Leaderboard) -> list[str]:
    """Warnings, and what a person wants to know first."""
    return sentences(first_of(board.findings, (*WARNINGS, *IN_SHORT)))


def _rendered(finding: Finding, is_markdown: bool) -> Markup:
    macro = getattr(environment(is_markdown).get_template("sentences.j2").module, finding.code)
    values = {name: value for name, value in finding.values.items() if name in macro.arguments}
    return Markup(" ".join(str(macro(**values)).split()))
