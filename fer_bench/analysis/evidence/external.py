"""Predictions from elsewhere: checked, scored and put on record beside this suite's own runs."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from fer_bench import metrics
from fer_bench.analysis.predictions import SCORED, Predictions, Run
from fer_bench.errors import FerBenchError, listing
from fer_bench.records import ResultsFolder, RunSpec
from fer_bench.records.schema import Record

FAMILY = STRATEGY = "external"
LONGEST_NAME = 80
LONGEST_LINE = 1 << 20
INDEX = ("", "Unnamed: 0", "index")
"""What pandas calls the column of row numbers that it writes beside the others."""
LABELS_ONLY = "given as labels: what is computed from probabilities says nothing about it"


@dataclass(frozen=True)
class FilePredictions:
    """What a file says of the images of one split.

    probabilities: float32 (n, k) for "test", and for "validation" where the file has its rows, in the split's order.
    labels_only: the file names a class per image; its probability is 1.
    """

    probabilities: dict[str, np.ndarray]
    labels_only: bool

    @property
    def digest(self) -> str:
        """The same for all files that give the same answers, however they are written."""
        return _digest(self.probabilities)


def read_predictions(path: Path, predictions: Predictions) -> FilePredictions:
    """Read a CSV file with a column sample_id and either one column per class name or one called label.

    Every test image has one row, and either every validation image or none. Rows sum to 1, or all to 100, as exactly
    as the digits of the file allow, and are made to sum to 1; row numbers as pandas writes them are ignored. Raises
    FerBenchError listing, with a count, every row that is repeated, unknown, missing or no probabilities, or saying
    why the file cannot be read.
    """
    if path.exists() and not path.is_file():
        raise FerBenchError(f"{path}: not a file; save the predictions to one")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return _Reader(path, predictions).read(csv.reader(_lines(path, file)))
    except (UnicodeDecodeError, csv.Error) as error:
        raise FerBenchError(f"{path}: not a CSV file in UTF-8 ({error})") from error
    except OSError as error:
        raise FerBenchError(f"{path}: cannot be read ({error.strerror or error})") from error


def _lines(path: Path, file: TextIO) -> Iterator[str]:
    """The lines of `file`. Raises FerBenchError on one that would fill the memory."""
    for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE), ""), start=1):
        if len(line) == LONGEST_LINE:
            raise FerBenchError(f"{path}: line {number} has {LONGEST_LINE:,} characters and more: no predictions")
        yield line


def put_on_record(
    predictions: Predictions, folder: ResultsFolder, path: Path, name: str | None = None, replace: bool = False,
    command: str = "",
) -> tuple[Record, bool]:  # fmt: skip
    """The record of the predictions in the file at `path`, now in `folder`, and whether it is new.

    name: lower-case letters, digits and single dashes; by default made from the file's own.
    Raises FerBenchError on bad predictions, and where the name is taken: by a model of this suite, or, unless
    `replace`, by another file.
    """
    name = re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-") if name is None else name
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) or len(name) > LONGEST_NAME:
        raise FerBenchError(
            f"--as {name!r}: at most {LONGEST_NAME} lower-case letters, digits and single dashes, as it names a model"
        )
    given = read_predictions(path, predictions)
    if known := _known(predictions, path, name, given, replace):
        return known, False
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    origin = {"file": path.name, "sha256": sha256, "answers": given.digest}
    record = _record(predictions, name, given, origin, command)
    store_run(folder, predictions, record, given.probabilities)
    return record, True


def store_run(
    folder: ResultsFolder, predictions: Predictions, record: Record, probabilities: dict[str, np.ndarray]
) -> None:
    """Put a run that was not trained here in the results folder: its record and its predictions.npz."""
    folder.prepare()
    with folder.lock(record.run_id):
        work = folder.work_folder(record.run_id)
        arrays = {f"{subset}_ids": predictions.ids[subset] for subset in probabilities}
        arrays |= {f"{subset}_probabilities": rows for subset, rows in probabilities.items()}
        np.savez_compressed(work / "predictions.npz", allow_pickle=False, **arrays)
        folder.commit(record, work)


def untrained_record(
    predictions: Predictions, spec: RunSpec, probabilities: dict[str, np.ndarray], **fields: Any
) -> Record:
    """The record of `probabilities`, by subset, that no run of this suite made; `fields` of Record as they are."""
    like = predictions.runs[0].record
    shared = ("dataset", "class_names", "n_train", "n_validation", "n_test", "split_source", "data_notes")
    values: dict[str, Any] = {name: getattr(like, name) for name in shared} | fields
    for subset, rows in probabilities.items():
        values[subset] = metrics.score(predictions.labels[subset], rows, predictions.class_names)
    return Record(
        run_id=spec.run_id,
        status="success",
        spec=spec,
        features="",
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        **values,
    )


def _record(
    predictions: Predictions, name: str, given: FilePredictions, parameters: dict[str, str], command: str
) -> Record:
    data_fingerprint, split_fingerprint, _ = predictions.split
    record = untrained_record(
        predictions,
        RunSpec(name, STRATEGY, 0, data_fingerprint, split_fingerprint),
        given.probabilities,
        family=FAMILY,
        notes=[LABELS_ONLY] if given.labels_only else [],
        parameters=parameters,
        command=command,
    )
    if not given.labels_only:
        return record
    unknown = dict.fromkeys(metrics.OF_PROBABILITIES)
    scored = {subset: getattr(record, subset).model_copy(update=unknown) for subset in given.probabilities}
    return record.model_copy(update=scored)


def _known(predictions: Predictions, path: Path, name: str, given: FilePredictions, replace: bool) -> Record | None:
    """The record that these very answers have already. Raises FerBenchError where its name is another's."""
    records = [run.record for run in predictions.runs]
    same_name = [record for record in records if record.spec.model == name]
    if any(record.family != FAMILY for record in same_name):
        raise FerBenchError(
            f"--as {name}: is a model of this suite with runs in {predictions.folder.path}; take another"
        )
    for run in predictions.runs:
        record = run.record
        if record.family == FAMILY and _answers(predictions, run) == given.digest:
            if record.spec.model == name:
                return record
            raise FerBenchError(f"{path}: is on record as {record.spec.model} already; judge it as that, or not again")
    if same_name and not replace:
        before = same_name[0].parameters.get("file", "another file")
        raise FerBenchError(
            f"{path}: {name} is on record from another file ({before}); "
            f"`--replace` puts this one in its place, `--as NAME` beside it"
        )
    return None


def _answers(predictions: Predictions, run: Run) -> str:
    """The digest of what a record from elsewhere answers, which older ones do not hold themselves."""
    return run.record.parameters.get("answers") or _digest(predictions.stored(run))


def _digest(probabilities: dict[str, np.ndarray]) -> str:
    found = hashlib.sha256()
    for subset in sorted(probabilities):
        found.update(subset.encode() + np.ascontiguousarray(probabilities[subset], dtype="<f4").tobytes())
    return found.hexdigest()


@dataclass
class _Reader:
    """Rows by sample id, and every problem on the way."""

    path: Path
    split: Predictions
    rows: dict[str, np.ndarray] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    decimals: int = 0

    def read(self, lines: Any) -> FilePredictions:
        """Read all of a `csv.reader`."""
        header = [_as_known(name, {"sample_id", "label", *self.split.class_names}) for name in next(lines, [])]
        columns = self._columns(header)
        known = {sample_id for subset in SCORED for sample_id in self.split.ids[subset].tolist()}
        id_at = header.index("sample_id")
        for fields in lines:
            if not any(fields):
                continue
            where = f"line {lines.line_num}"
            if len(fields) != len(header):
                self.problems.append(f"{where}: {len(fields)} fields, not {len(header)}")
                continue
            self._take(where, lines.line_num, _as_known(fields[id_at], known), [fields[at] for at in columns], known)
        if len(columns) > 1:
            self._normalise()
        wanted = [s for s in SCORED if s == "test" or any(i in self.lines for i in self.split.ids[s].tolist())]
        self.problems += [problem for subset in wanted for problem in self._missing(subset)]
        if self.problems:
            n = len(self.problems)
            rows = "1 bad row" if n == 1 else f"{n:,} bad rows"
            raise FerBenchError(f"{self.path}: {rows}:\n{listing(self.problems)}")
        arrays = {s: np.stack([self.rows[i] for i in self.split.ids[s].tolist()]) for s in wanted}
        return FilePredictions(arrays, labels_only=len(columns) == 1)

    def _columns(self, header: list[str]) -> list[int]:
        """Positions of the class columns in the order of the classes, or of the label column alone."""
        classes = list(self.split.class_names)
        named = sorted(name for name in header if name not in INDEX or name in classes)
        for expected in (classes, ["label"]):
            if named == sorted(["sample_id", *expected]):
                return [header.index(name) for name in expected]
        raise FerBenchError(
            f"{self.path}: the first line must name sample_id and either each of the {len(classes)} classes "
            f"({', '.join(classes)}) or label; it has {len(header)} columns: {', '.join(map(repr, header[:12]))}"
        )

    def _take(self, where: str, number: int, sample_id: str, fields: list[str], known: set[str]) -> None:
        if sample_id not in known:
            example = self.split.ids["test"][0]
            self.problems.append(
                f"{where}: {sample_id!r} is no validation or test image of this split, whose ids are like {example!s}"
            )
        elif sample_id in self.lines:
            self.problems.append(f"{where}: {sample_id} again, first on line {self.lines[sample_id]}")
        else:
            self.lines[sample_id] = number
            row, problem = self._label(fields[0]) if len(fields) == 1 else _numbers(fields)
            if problem:
                self.problems.append(f"{where}: {sample_id}: {problem}")
                return
            self.rows[sample_id] = row
            if len(fields) > 1:
                self.decimals = max(self.decimals, *map(_decimals, fields))

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

    def _label(self, text: str) -> tuple[np.ndarray, str | None]:
        classes = self.split.class_names
        row = np.array([name == _as_known(text, classes) for name in classes], dtype=np.float32)
        return row, None if row.any() else f"label {text!r} is none of {', '.join(classes)}"

    def _missing(self, subset: str) -> Iterator[str]:
        for sample_id in self.split.ids[subset].tolist():
            if sample_id not in self.lines:
                yield f"missing: {sample_id}, a {subset} image"


def _as_known(text: str, known: Container[str]) -> str:
    """`text`, without the spaces around it unless they belong to a name that is `known`."""
    return text if text in known else text.strip()


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
