"""From a folder of runs to published evidence, its probabilities rounded and its figures with them, and back again."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fer_bench.analysis.evidence.verify import contradictions
from fer_bench.analysis.predictions import Predictions, Run, split_of
from fer_bench.errors import FerBenchError
from fer_bench.metrics import OF_PROBABILITIES, score
from fer_bench.progress import Progress, silent
from fer_bench.records import (
    LOG_FILE,
    NAMING_FILES,
    ROUNDED_FILE,
    PublishedFolder,
    PublishedRun,
    copy_beside,
    rounded,
    without_folders,
    write_history,
    write_predictions,
    write_published,
)

if TYPE_CHECKING:
    import numpy as np

    from fer_bench.records import ResultsFolder
    from fer_bench.records.schema import Record, Scores

NO_PATH = re.compile(r"[^./\\\0][^/\\\0]*")
MOST = 1e-3
"""By how much rounding may move a figure."""


def publish(
    source: ResultsFolder, target: Path, add_pages: Callable[[PublishedFolder], object] = lambda folder: None
) -> PublishedFolder:
    """Write what is known of all runs in `source` as the few files of a folder `target`, in place of earlier evidence.

    add_pages: see `write_published`.
    Figures of answers stay as they are; those of probabilities are computed anew from the rounded ones.
    Raises FerBenchError where `source` is damaged, its figures do not follow, or something else is at `target`.
    """
    records = source.records()
    if not records:
        raise FerBenchError(f"{source.path}: no records to publish")
    kept: dict[str, _Kept] = defaultdict(_Kept)
    for split, n_folds in sorted({split_of(record)[1:] for record in records}):
        predictions = Predictions.load(source, split, n_folds, records)
        for run in predictions.runs:
            if run.is_scored and (faults := contradictions(predictions, run)):
                raise FerBenchError(f"{run.run_id}: {faults[0]}; `verify` tells what else does not follow")
            for record, subset, labels, rows in _parts(predictions, run):
                kept[record.run_id].add(record, subset, labels, rows, predictions.class_names)
    runs = [_published(source, record, kept[record.run_id]) for record in records]
    write_published(source, target, runs, add_pages)
    return PublishedFolder(target)


def unpack(source: PublishedFolder, target: ResultsFolder, progress: Progress = silent) -> int:
    """Write the published runs in `source` as folders of runs into `target`, for others to be added to them.

    What is in `target` stays as it is. Returns how many runs were new there. Raises FerBenchError where `source` is
    damaged or `target` holds results of other data.
    """
    records = source.records()
    for record in records:
        if record.run_id != record.spec.run_id or not NO_PATH.fullmatch(record.run_id):
            raise FerBenchError(f"{source.path}: {record.run_id!r} is not the id of its run; {source.advice}")
    target.prepare()
    target.claim(records[0].spec.data_fingerprint)
    copy_beside(source.path, target.path)
    (target.path / ROUNDED_FILE).touch()
    records.sort(key=lambda record: record.base_predictions is not None)  # after what they start from
    new = 0
    for number, record in enumerate(records):
        progress(number / len(records), f"run {number + 1} of {len(records)}")
        new += _unpacked(source, record, target)
    return new


def _unpacked(source: PublishedFolder, record: Record, target: ResultsFolder) -> bool:
    run_id = record.run_id
    with target.lock(run_id):
        if target.record_path(run_id).exists():
            return False
        if record.base_predictions:  # the same answers, in another file
            base = target.predictions_digest(record.base_id)
            record = record.model_copy(update={"base_predictions": base})
        work = target.work_folder(run_id)
        (work / LOG_FILE).write_text(source.log_tail(run_id))
        write_history(work, source.history(run_id))
        if predictions := source.predictions(run_id):
            write_predictions(work, predictions)
        target.commit(record, work)
    return True


@dataclass
class _Kept:
    """What is published in the place of a record's scores and probabilities, by subset."""

    scores: dict[str, Scores] = field(default_factory=dict)
    probabilities: dict[str, np.ndarray] = field(default_factory=dict)

    def add(
        self, record: Record, subset: str, labels: np.ndarray, rows: np.ndarray, class_names: tuple[str, ...]
    ) -> None:
        """Take rounded `rows`, or `rows` as they are where rounding moves a figure by more than MOST."""
        exact = score(labels, rows, class_names)
        answers = rounded(rows)
        after = score(labels, answers, class_names)
        if after.confusion != exact.confusion or _furthest(exact, after) > MOST:
            answers, after = rows, exact
        if record.is_labels_only:
            after = after.model_copy(update=dict.fromkeys(OF_PROBABILITIES))
        self.scores[subset], self.probabilities[f"{subset}_probabilities"] = after, answers


def _furthest(before: Scores, after: Scores) -> float:
    """By how much the figures of probabilities differ at most."""
    return max(abs(getattr(before, name) - getattr(after, name)) for name in OF_PROBABILITIES)


def _parts(predictions: Predictions, run: Run) -> Iterator[tuple[Record, str, np.ndarray, np.ndarray]]:
    """Each record and subset of `run` with labels, int (n,), and probabilities, float32 (n, k)."""
    for subset, rows in predictions.stored(run).items():
        labels = predictions.by_fold(subset, predictions.labels[subset])
        for record, own, answers in zip(run.records, labels, predictions.by_fold(subset, rows), strict=True):
            yield record, subset, own, answers


def _published(source: ResultsFolder, record: Record, kept: _Kept) -> PublishedRun:
    """Where files lie on the machine that made a run is nobody else's business."""
    run_id, predictions = record.run_id, source.predictions(record.run_id)
    said = {name: without_folders(getattr(record, name)) for name in NAMING_FILES}
    return PublishedRun(
        record.model_copy(update=said | kept.scores),
        source.history(run_id),
        without_folders(source.log_tail(run_id)),
        None if predictions is None else predictions | kept.probabilities,
    )
