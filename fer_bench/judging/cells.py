"""Numbers and text as a person reads them: accuracy in percent with one decimal, every other score with three."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from tabulate import tabulate

from fer_bench.judging.inference import Change
from fer_bench.judging.resampling import ALPHA, Interval
from fer_bench.judging.tables import MISSING, Row, Statistic

REASON_LENGTH = 300


def percent(statistic: Statistic | None, interval: Interval | None = None) -> str:
    """A share in percent, ± its spread over seeds or folds, its interval in brackets."""
    return _score(statistic, interval, 100, 1)


def fraction(statistic: Statistic | None, interval: Interval | None = None) -> str:
    """A score as it is, ± its spread over seeds or folds, its interval in brackets."""
    return _score(statistic, interval, 1, 3)


def _score(statistic: Statistic | None, interval: Interval | None, scale: int, decimals: int) -> str:
    if statistic is None:
        return MISSING
    text = f"{scale * statistic.mean:.{decimals}f}"
    if statistic.sd is not None:
        text += f" ± {scale * statistic.sd:.{decimals}f}"
    if interval is not None:
        text += f" ({scale * interval.low:.{decimals}f}–{scale * interval.high:.{decimals}f})"
    return text


def setting(name: str, value: Any) -> str:
    """A parameter of a recipe, "fine tune head"."""
    return f"{name.replace('_', ' ')} {value}"


def counted(n: int, noun: str) -> str:
    """A number of things, "1 row" or "2 rows"."""
    return f"{n:,} {noun}{'s' * (n != 1)}"


def points(change: Change, with_interval: bool = True) -> str:
    """A difference of shares in percentage points; a star where it is one after correction."""
    return _change(change, 100, 1, with_interval)


def difference(change: Change, with_interval: bool = True) -> str:
    """A difference of scores; a star where it is one after correction."""
    return _change(change, 1, 3, with_interval)


def _change(change: Change, scale: int, decimals: int, with_interval: bool) -> str:
    value, low, high = (signed(scale * number, decimals) for number in (change.value, change.low, change.high))
    return value + "*" * (change.p < ALPHA) + f" ({low} to {high})" * with_interval


def signed(number: float, decimals: int) -> str:
    """A number with its sign; what rounds to zero has a plus, as its sign is that of the machine's rounding."""
    return f"{round(number, decimals) + 0.0:+.{decimals}f}"


def probability(p: float) -> str:
    """A p-value with three decimals."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def seconds(value: float | None) -> str:
    """Seconds with one decimal."""
    return MISSING if value is None else f"{value:,.1f}"


def milliseconds(value: float | None) -> str:
    """Milliseconds with three decimals."""
    return MISSING if value is None else f"{value:,.3f}"


def runs(row: Row) -> str:
    """Such as "3 seeds", "5 folds", "4 of 5 folds (lacks seed 0, fold 2/5)"."""
    done, seeds, folds = len(row.f1_by_run), {seed for seed, _ in row.f1_by_run}, {fold for _, fold in row.f1_by_run}
    what = "folds" if folds != {""} else "seeds"
    if what == "folds" and len(seeds) > 1:
        what = f"folds of {len(seeds)} seeds"
    if row.missing:
        return f"{done} of {done + len(row.missing)} {what} (lacks {'; '.join(row.missing)})"
    return f"{done} {what if done > 1 else what[:-1]}"


def listed(names: Sequence[str], limit: int = 5) -> str:
    """The first names, and how many more there are."""
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")


def table(headers: Sequence[str], lines: Iterable[Iterable[Any]], right: Sequence[bool] | None = None) -> str:
    """A Markdown table; `right` says which columns are aligned right."""
    align = ["right" if is_right else "left" for is_right in right or [False] * len(headers)]
    cells = [[escape(str(cell)) for cell in line] for line in lines]
    return tabulate(cells, [escape(name) for name in headers], "pipe", disable_numparse=True, colalign=align)


def one_line(text: str) -> str:
    """`text` on one line, without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def short(text: str) -> str:
    """The beginning of `text`."""
    return text if len(text) <= REASON_LENGTH else f"{text[:REASON_LENGTH]} ..."


def escape(text: str) -> str:
    """`text` so that Markdown shows it as it is, in a table cell too."""
    escaped = re.sub(r"[\\`*\[\]|~$#]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", one_line(text))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
