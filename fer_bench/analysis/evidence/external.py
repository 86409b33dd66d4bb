"""Predictions from elsewhere: checked, scored and put on record beside this suite's own runs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from fer_bench import metrics
from fer_bench.analysis.evidence.identical import same_answers
from fer_bench.analysis.evidence.prediction_files import FilePredictions, read_predictions
from fer_bench.analysis.predictions import Predictions
from fer_bench.errors import FerBenchError
from fer_bench.records import ResultsFolder, RunSpec, write_predictions
from fer_bench.records.schema import Record

FAMILY = STRATEGY = "external"
LONGEST_NAME = 80
LABELS_ONLY = "given as labels: what is computed from probabilities says nothing about it"


def put_on_record(
    predictions: Predictions, folder: ResultsFolder, path: Path, name: str | None = None, replace: bool = False,
    command: str = "", taken: Collection[str] = (),
) -> tuple[Record, bool]:  # fmt: skip
    """The record of the predictions in the file at `path`, now in `folder`, and whether it is new.

    name: lower-case letters, digits and single dashes; by default made from the file's own.
    Raises FerBenchError on bad predictions, and where the name is `taken`, or that of a model with runs, or, unless
    `replace`, of another file.
    """
    name = re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-") if name is None else name
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) or len(name) > LONGEST_NAME:
        raise FerBenchError(
            f"--as {name!r}: at most {LONGEST_NAME} lower-case letters, digits and single dashes, as it names a model"
        )
    if name in taken or any(run.record.family != FAMILY for run in predictions.runs if run.record.spec.model == name):
        raise FerBenchError(f"--as {name}: is a model of this suite, or has runs in {folder.path}; take another")
    given = read_predictions(path, predictions)
    if known := _known(predictions, path, name, given, replace):
        return known, False
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    record = _record(predictions, name, given, {"file": path.name, "sha256": sha256}, command)
    store_run(folder, predictions, record, given.probabilities)
    return record, True


def store_run(
    folder: ResultsFolder, predictions: Predictions, record: Record, probabilities: dict[str, np.ndarray]
) -> None:
    """Put a run that was not trained here in the results folder: its record and its predictions."""
    folder.prepare()
    with folder.lock(record.run_id):
        work = folder.work_folder(record.run_id)
        arrays = {f"{subset}_ids": predictions.ids[subset] for subset in probabilities}
        arrays |= {f"{subset}_probabilities": rows for subset, rows in probabilities.items()}
        write_predictions(work, arrays)
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
    record = untrained_record(
        predictions,
        RunSpec(name, STRATEGY, 0, *predictions.split[:2]),
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
    """The record that these very answers have already. Raises FerBenchError where its name is another file's."""
    same_name = [run for run in predictions.runs if run.record.spec.model == name]
    externals = [run for run in predictions.runs if run.record.family == FAMILY and run.is_scored]
    for run in externals:
        stored = predictions.stored(run)
        if "test" not in stored or not same_answers(stored["test"], given.probabilities["test"]):
            continue
        if run not in same_name:
            raise FerBenchError(
                f"{path}: is on record as {run.record.spec.model} already; judge it as that, or not again"
            )
        if holds(stored, given.probabilities, np.array_equal if replace else same_answers):
            return run.record
    if same_name and not replace:
        before = same_name[0].record.parameters.get("file", "another file")
        raise FerBenchError(
            f"{path}: {name} is on record from another file ({before}); "
            f"`--replace` puts this one in its place, `--as NAME` beside it"
        )
    return None


def holds(
    stored: dict[str, np.ndarray],
    probabilities: dict[str, np.ndarray],
    agree: Callable[[np.ndarray, np.ndarray], bool] = np.array_equal,
) -> bool:
    """Whether all `probabilities`, by subset, are `stored`: to the digit, or as `agree` says."""
    return all(subset in stored and agree(stored[subset], rows) for subset, rows in probabilities.items())
