"""Predictions in a file of someone else's: read by sample id and class name, however they were written, and checked."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from fer_bench import metrics
from fer_bench.analysis.predictions import SCORED, Predictions
from fer_bench.data import same_name
from fer_bench.errors import FerBenchError, listing

LONGEST_LINE = 1 << 20
INDEX = ("", "Unnamed: 0", "index")
"""What pandas calls the column of row numbers that it writes beside the others."""
ID, LABEL = "sample_id", "label"
MARKS = ",;\t"
"""What cells may be apart by; where it is no comma, decimals may have one."""


@dataclass(frozen=True)
class FilePredictions:
    """What a file says of the images of one split.

    probabilities: float32 (n, k) for "test", and for "validation" where the file has its rows, in the split's order.
    labels_only: the file names a class per image; its probability is 1.
    """

    probabilities: dict[str, np.ndarray]
    labels_only: bool


def read_predictions(path: Path, predictions: Predictions) -> FilePredictions:
    """Read a CSV file with a column sample_id and either one column per class name or one called label.

    Cells are apart by commas, semicolons or tabs; names are compared as readers of data do, whatever their case and
    Unicode form. Every test image has one row, and either every validation image or none. Rows sum to 1, or all to 100,
    as exactly as the digits of the file allow, and are made to sum to 1; row numbers as pandas writes them are ignored.
    Raises FerBenchError listing, with a count, every row that is repeated, unknown, missing or no probabilities, or
    saying why the file cannot be read.
    """
    if path.exists() and not path.is_file():
        raise FerBenchError(f"{path}: not a file; save the predictions to one")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = _lines(path, file)
            first = next(lines, "")
            mark = next((one for one in MARKS if ID in map(same_name, _cells(first, one))), ",")
            rows = csv.reader(chain([first], lines), delimiter=mark)
            return _Reader(path, predictions, has_decimal_commas=mark != ",").read(rows)
    except (UnicodeDecodeError, csv.Error) as error:
        raise FerBenchError(f"{path}: not a CSV file in UTF-8 ({error})") from error
    except OSError as error:
        raise FerBenchError(f"{path}: cannot be read ({error.strerror or error})") from error


def _cells(line: str, mark: str) -> list[str]:
    return next(csv.reader([line], delimiter=mark), [])


def _lines(path: Path, file: TextIO) -> Iterator[str]:
    """The lines of `file`. Raises FerBenchError on one that would fill the memory."""
    for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE), ""), start=1):
        if len(line) == LONGEST_LINE:
            raise FerBenchError(f"{path}: line {number} has {LONGEST_LINE:,} characters and more: no predictions")
        yield line


@dataclass
class _Reader:
    """Rows by sample id, and every problem on the way."""

    path: Path
    split: Predictions
    has_decimal_commas: bool
    rows: dict[str, np.ndarray] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    decimals: int = 0

    def read(self, lines: Any) -> FilePredictions:
        """Read all of a `csv.reader`."""
        given: list[str] = next(lines, [])
        column = _lookup((ID, LABEL, *self.split.class_names), same_name)
        header = [column(name) or name.strip() for name in given]
        columns = self._columns(header, given)
        known = _lookup((i for subset in SCORED for i in self.split.ids[subset].tolist()), _composed)
        id_at = header.index(ID)
        for fields in lines:
            if not any(fields):
                continue
            where = f"line {lines.line_num}"
            if len(fields) != len(header):
                self.problems.append(f"{where}: {len(fields)} fields, not {len(header)}")
                continue
            cells = [fields[at] for at in columns]
            if (sample_id := known(fields[id_at])) is not None:
                self._take(where, lines.line_num, sample_id, cells)
                continue
            like = f"whose ids are like {self.split.ids['test'][0]!s}"
            self.problems.append(f"{where}: {fields[id_at]!r} is no validation or test image of this split, {like}")
        if len(columns) > 1:
            self._normalise()
        wanted = [s for s in SCORED if s == "test" or any(i in self.lines for i in self.split.ids[s].tolist())]
        self.problems += [
            f"missing: {i}, a {s} image" for s in wanted for i in self.split.ids[s].tolist() if i not in self.lines
        ]
        if self.problems:
            n = len(self.problems)
            rows = "1 bad row" if n == 1 else f"{n:,} bad rows"
            raise FerBenchError(f"{self.path}: {rows}:\n{listing(self.problems)}")
        arrays = {s: np.stack([self.rows[i] for i in self.split.ids[s].tolist()]) for s in wanted}
        return FilePredictions(arrays, labels_only=len(columns) == 1)

    def _columns(self, header: list[str], given: list[str]) -> list[int]:
        """Positions of the class columns in the order of the classes, or of the label column alone.

        given: the header as it is in the file.
        """
        classes = list(self.split.class_names)
        named = sorted(name for name in header if name not in INDEX or name in classes)
        for expected in (classes, [LABEL]):
            if named == sorted([ID, *expected]):
                return [header.index(name) for name in expected]
        raise FerBenchError(
            f"{self.path}: the first line must name sample_id and either each of the {len(classes)} classes "
            f"({', '.join(classes)}) or label; it has {len(given)} columns: {', '.join(map(repr, given[:12]))}"
        )

    def _take(self, where: str, number: int, sample_id: str, cells: list[str]) -> None:
        if sample_id in self.lines:
            self.problems.append(f"{where}: {sample_id} again, first on line {self.lines[sample_id]}")
            return
        self.lines[sample_id] = number
        if len(cells) == 1:
            row, problem = self._label(cells[0])
        else:
            cells = [self._number(cell) for cell in cells]
            row, problem = _numbers(cells)
        if problem:
            self.problems.append(f"{where}: {sample_id}: {problem}")
            return
        self.rows[sample_id] = row
        if len(cells) > 1:
            self.decimals = max(self.decimals, *map(_decimals, cells))

    def _number(self, cell: str) -> str:
        """A cell without the sign of percent, and with a point before its decimals."""
        text = cell.strip().removesuffix("%")
        return text.replace(",", ".") if self.has_decimal_commas else text

    def _normalise(self) -> None:
        """Make the rows sum to 1; those that miss their sum by more than rounding to the digits shown are problems."""
        if not self.rows:
            return
        totals = {sample_id: float(row.sum()) for sample_id, row in self.rows.items()}
        whole = 100 if 50 < float(np.median(list(totals.values()))) < 150 else 1
        rounding = 0.5 * 10.0**-self.decimals * len(self.split.class_names)
        if whole == 1 and not self.decimals:  # 0 and 1 alone: nothing was rounded
            rounding = 0.0
        tolerance = max(whole * metrics.SUM_TOLERANCE, rounding + whole * 1e-9)
        for sample_id, total in totals.items():
            row = self.rows[sample_id]
            if total > 0 and abs(total - whole) <= tolerance:
                self.rows[sample_id] = (row / total).astype(np.float32)
            else:
                where = f"line {self.lines[sample_id]}: {sample_id}"
                self.problems.append(f"{where}: sums to {total:.4f}, not {whole}: {_shown(row)}")

    @cached_property
    def _class_of(self) -> Callable[[str], str | None]:
        return _lookup(self.split.class_names, same_name)

    def _label(self, text: str) -> tuple[np.ndarray, str | None]:
        classes, named = self.split.class_names, self._class_of(text)
        row = np.array([name == named for name in classes], dtype=np.float32)
        return row, None if row.any() else f"label {text!r} is none of {', '.join(classes)}"


def _lookup(names: Iterable[str], alike: Callable[[str], str]) -> Callable[[str], str | None]:
    """What finds the one of `names` that a text is: as it stands, without spaces around it, or as `alike` compares."""
    known = set(names)
    compared: dict[str, list[str]] = {}
    for name in known:
        compared.setdefault(alike(name), []).append(name)

    def find(text: str) -> str | None:
        if found := next((one for one in (text, text.strip()) if one in known), None):
            return found
        others = compared.get(alike(text), [])
        return others[0] if len(others) == 1 else None

    return find


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text.strip())


def _numbers(fields: list[str]) -> tuple[np.ndarray, str | None]:
    """The row as float64, and what is wrong with it, if anything."""
    try:
        row = np.array([float(text) for text in fields])
    except ValueError:
        return np.zeros(len(fields)), f"not numbers: {', '.join(fields)[:80]}"
    if not np.isfinite(row).all():
        return row, f"not finite: {_shown(row)}"
    if (row < 0).any():
        return row, f"negative: {_shown(row)}; logits are no probabilities, their softmax is"
    return row, None


def _shown(row: np.ndarray) -> str:
    return ", ".join(f"{value:g}" for value in row)[:80]


def _decimals(text: str) -> int:
    """Digits shown after the point, of a finite number."""
    return max(0, -int(Decimal(text.strip()).as_tuple().exponent))
