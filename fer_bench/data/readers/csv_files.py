"""fer2013.csv and its relatives: one row per image, its pixels as text."""

import re
from collections import Counter
from dataclasses import dataclass, field
from math import isqrt
from pathlib import Path

import numpy as np

from fer_bench.data import fer2013
from fer_bench.data.readers.decoded import FRACTION, NOT_UTF8, Decoded, drop_bad, is_missing, is_number, official_subset
from fer_bench.data.readers.tables import Table, open_table, refuse_repeats
from fer_bench.errors import FerBenchError
from fer_bench.progress import Progress, silent

SUBSET_COLUMNS = ("split", "set", "subset", "partition")
"""Columns that say what Usage says, where there is no Usage and most of their words are subsets."""
LIST_MARKS = re.compile(rb"[\[\](),;]|\.0*(?=[\s,;\])]|$)")
"""What is written around and between the values of a list, and after whole numbers."""
MOST_UNKNOWN, MOST_UNKNOWN_SHARE = 10, 0.01
"""Whole numbers outside 0..6, and their share of the labels, up to which they are mistakes and no other numbering."""


def read_csv(
    path: Path, *, skip_bad: bool = False, numbered: bool = False, progress: Progress = silent
) -> Decoded:  # fmt: skip
    """Read a CSV with the columns emotion (or label), pixels and perhaps Usage, in any order and case.

    emotion: 0..6 as in FER2013, or class names; numbers are names where they are `numbered`. pixels: the values 0..255
    of a square gray image, row by row, with spaces or commas between them. Usage (or split, set, subset): Training,
    PublicTest, PrivateTest or plain subset names.

    Raises FerBenchError naming every bad row by its line in the file, unless `skip_bad` drops them.
    """
    with open_table(path, progress) as table:
        rows, usage = _collect(table)
    if not rows.lines:
        raise FerBenchError(f"{path}: a header but no rows")
    side = _check_sizes(path, rows)
    class_names = _check_labels(path, rows, numbered)
    _check_usages(rows, usage)
    bad = [f"line {rows.lines[row]}: {', '.join(rows.problems[row])}" for row in sorted(rows.problems)]
    notes = drop_bad(path, "bad rows", len(rows.lines), bad, skip_bad)
    kept = np.array([row for row in range(len(rows.lines)) if row not in rows.problems], dtype=np.int64)
    codes = {name: code for code, name in enumerate(class_names)}
    return Decoded(
        images=np.stack([rows.pixels[row] for row in kept]).reshape(-1, side, side),
        labels=np.array([codes[rows.labels[row]] for row in kept], dtype=np.int64),
        class_names=class_names,
        sample_ids=np.array([f"row-{row:05d}" for row in kept]),
        n_rows=len(rows.lines),
        rows=kept,
        subsets=np.array([official_subset(rows.usages[row]) for row in kept]) if rows.usages else None,
        columns={name: np.array([values[row] for row in kept], dtype=np.str_) for name, values in rows.columns.items()},
        notes=notes,
    )


@dataclass
class _Rows:
    """Columns of the file as read, one entry per row; `problems` by row."""

    lines: list[int] = field(default_factory=list)
    pixels: list[np.ndarray] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    usages: list[str] = field(default_factory=list)
    columns: dict[str, list[str]] = field(default_factory=dict)
    problems: dict[int, list[str]] = field(default_factory=dict)

    def bad(self, row: int, problem: str) -> None:
        self.problems.setdefault(row, []).append(problem)


def _collect(table: Table) -> tuple[_Rows, str]:
    """Every row of `table`, what cannot be read in it noted and replaced by nothing, and the column of its usages."""
    label_at, pixels_at = table.column("emotion", "label"), table.column("pixels")
    usage_at = table.find("usage") if "usage" in table.columns else table.find(*SUBSET_COLUMNS)
    refuse_repeats(table.path, table.names)
    further = [at for at, name in enumerate(table.names) if name and at not in (label_at, pixels_at, usage_at)]
    rows = _Rows(columns={table.names[at]: [] for at in further})
    for row, (line, fields) in enumerate(table):
        if len(fields) != len(table.names):
            rows.bad(row, f"{len(fields)} fields, not {len(table.names)}")
            fields = [b""] * len(table.names)
        rows.lines.append(line)
        rows.pixels.append(_pixels(rows, row, fields[pixels_at]))
        rows.labels.append(re.sub(r"^(\d+)\.0*$", r"\1", _label(rows, row, fields[label_at])))
        for at in further:
            rows.columns[table.names[at]].append(fields[at].decode(errors="replace"))
        if usage_at is not None:
            rows.usages.append(fields[usage_at].decode(errors="replace"))
    return rows, "" if usage_at is None else table.names[usage_at]


def _pixels(rows: _Rows, row: int, text: bytes) -> np.ndarray:
    """The values of one row, uint8; none where they are bad."""
    values = np.empty(0, dtype=np.int64)
    if not text[-1:].isdigit() or b"," in text or b"." in text:
        text = LIST_MARKS.sub(b" ", text).strip()
    try:
        values = np.fromstring(text, dtype=np.int64, sep=" ") if text else values
        problem = None if values.size else "no pixels"
    except ValueError:
        wrong = next((word for word in text.split() if not re.fullmatch(rb"-?\d+", word)), text)
        what = FRACTION if _are_fractions(text) else "is not a whole number"
        problem = f"pixel {wrong[:20].decode(errors='replace')!r} {what}"
    outside = values[(values < 0) | (values > 255)]
    if outside.size:
        problem = f"pixel {outside[0]} is not in 0..255"
    if problem and row not in rows.problems:
        rows.bad(row, problem)
    return np.empty(0, dtype=np.uint8) if problem else values.astype(np.uint8)


def _are_fractions(text: bytes) -> bool:
    try:
        return all(0 <= float(word) <= 1 for word in text.split())
    except ValueError:
        return False


def _label(rows: _Rows, row: int, text: bytes) -> str:
    """The text of a label; "" where it is missing or bad."""
    try:
        label = text.decode()
    except UnicodeDecodeError:
        rows.bad(row, f"label {text[:20]!r} {NOT_UTF8}")
        return ""
    if not is_missing(label):
        return label
    if row not in rows.problems:
        rows.bad(row, "no label")
    return ""


def _check_sizes(path: Path, rows: _Rows) -> int:
    """The side in pixels that most rows have; rows of another size are bad."""
    counts = Counter(pixels.size for pixels in rows.pixels if pixels.size)
    if not counts:
        return 1
    expected, _ = counts.most_common(1)[0]
    side = isqrt(expected)
    if side * side != expected:
        raise FerBenchError(f"{path}: rows have {expected:,} pixels, which is no square image (2,304 are 48 x 48)")
    for row, pixels in enumerate(rows.pixels):
        if pixels.size not in (0, expected):
            rows.bad(row, f"{pixels.size:,} pixels, not {expected:,}")
    return side


def _check_labels(path: Path, rows: _Rows, numbered: bool) -> tuple[str, ...]:
    """The class names. Labels become names in place; what does not fit with most of the labels is bad."""
    known = [row for row, label in enumerate(rows.labels) if label]
    numeric = {row for row in known if is_number(rows.labels[row])}
    if numbered and numeric:
        return tuple(sorted({rows.labels[row] for row in known}, key=lambda label: (len(label), label)))
    if 2 * len(numeric) < len(known):
        for row in numeric:
            rows.bad(row, f"label {rows.labels[row]!r} is a number, most labels are names")
        return tuple(sorted({rows.labels[row] for row in known if row not in rows.problems}))
    names = {str(code): name for code, name in enumerate(fer2013.CLASSES)}
    others = Counter(label for row in numeric if (label := rows.labels[row]).isdecimal() and label not in names)
    if others and ("0" not in rows.labels or others.total() > max(MOST_UNKNOWN, MOST_UNKNOWN_SHARE * len(known))):
        raise FerBenchError(
            f"{path}: {others.total():,} labels are {', '.join(sorted(others)[:10])}, so these are not FER2013's 0..6 "
            f"({', '.join(fer2013.CLASSES)}): name them, as in --classes '{sorted(others)[0]}=happy,...'"
        )
    for row in known:
        label = rows.labels[row]
        if label not in names:
            rows.bad(row, f"unknown label {label[:30]!r} (0..6 are {', '.join(fer2013.CLASSES)})")
        rows.labels[row] = names.get(label, "")
    return fer2013.CLASSES


def _check_usages(rows: _Rows, name: str) -> None:
    """Usages that mean no subset are bad, unless most do so: then the column `name` is about something else."""
    unknown = [row for row, usage in enumerate(rows.usages) if official_subset(usage) is None]
    if 2 * len(unknown) > len(rows.usages) and name.lower() in SUBSET_COLUMNS:
        rows.columns[name], rows.usages = rows.usages, []
        return
    for row in unknown:
        if not rows.usages[row]:
            rows.problems.setdefault(row, ["no Usage"])
        else:
            rows.bad(row, f"unknown Usage {rows.usages[row][:30]!r} (Training, PublicTest, PrivateTest)")
