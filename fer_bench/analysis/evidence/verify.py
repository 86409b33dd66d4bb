"""Verification: every figure on record computed again from the stored probabilities."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from fer_bench import metrics
from fer_bench.analysis import bootstrap, comparisons
from fer_bench.analysis.evidence import adjustment, ensemble, external
from fer_bench.analysis.evidence.audited import audit_faults, data_faults
from fer_bench.analysis.evidence.identical import identical
from fer_bench.analysis.evidence.unchecked import unchecked
from fer_bench.analysis.findings import Finding
from fer_bench.analysis.predictions import SCORED, TOLERANCE, Predictions, Run, split_of
from fer_bench.errors import FerBenchError

if TYPE_CHECKING:
    from fer_bench.data import Dataset
    from fer_bench.records import ReadableFolder
    from fer_bench.records.schema import Record


class Standing(StrEnum):
    """How far the figures of a run can be followed."""

    self_reported = "self-reported"
    rescored = "rescored"
    reproduced = "reproduced"
    refuted = "DOES NOT FOLLOW"


@dataclass(frozen=True)
class Verdict:
    """What stands behind one run. remarks: every contradiction if refuted, otherwise what else there is to say."""

    run_id: str
    standing: Standing
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verification:
    """One verdict per run with scores, and the faults of the folder: of records, split files, marks and audit.

    remarks: runs that are identical; no fault by itself. unchecked: what is taken on its word.
    """

    verdicts: tuple[Verdict, ...]
    faults: tuple[str, ...]
    remarks: tuple[Finding, ...] = ()
    unchecked: tuple[Finding, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Whether nothing contradicts anything."""
        return not self.faults and all(verdict.standing != Standing.refuted for verdict in self.verdicts)


def verify(
    folder: ReadableFolder, against: ReadableFolder | None = None, dataset: Dataset | None = None
) -> Verification:
    """Compute again every figure on record in `folder`.

    A run is reproduced where `against` holds a run of the same spec made at another time, whose own figures follow
    from its probabilities, and whose accuracy and macro-F1 differ by no more than the 95 % intervals of the paired
    differences over the test images allow; an ensemble, where it is the mean of its members and greedy selection picks
    these again. dataset: the data of the runs: split and audit are held against them. Raises FerBenchError where
    `against` holds none of these runs.
    """
    records, faults = folder.read()
    if against and not {record.run_id for record in records} & {record.run_id for record in against.records()}:
        raise FerBenchError(f"{against.path}: holds no run of the same data, split and spec as one in {folder.path}")
    verdicts: list[Verdict] = []
    splits: list[Predictions] = []
    for split, n_folds in sorted({split_of(record)[1:] for record in records}):
        try:
            predictions = Predictions.load(folder, split, n_folds, records)
        except FerBenchError as error:
            faults.append(str(error))
            continue
        splits.append(predictions)
        found = list(_verdicts(predictions, against))
        faults += [*_hidden(predictions), *audit_faults(predictions)]
        if len(found) > 1 and all(verdict.standing == Standing.refuted for verdict in found):
            faults.append(f"no record follows from the labels of split {split}: were those changed?")
        verdicts += found
    if dataset is not None:
        faults += _against_data(splits, dataset)
    remarks = [finding for predictions in splits for finding in identical(predictions)]
    open_points = unchecked(splits, dataset, against is not None)
    return Verification(tuple(verdicts), tuple(faults), tuple(remarks), tuple(open_points))


def _against_data(splits: Sequence[Predictions], dataset: Dataset) -> Iterator[str]:
    """What the data contradict in the splits of them; that no split is of them, where none is."""
    of_data = [predictions for predictions in splits if predictions.split[0] == dataset.fingerprint]
    if not of_data:
        known = ", ".join(sorted({predictions.split[0] for predictions in splits}))
        yield (
            f"the runs are of data with fingerprint {known or 'unknown'}, and those given have {dataset.fingerprint}: "
            "other data, or read with other options"
        )
    for predictions in of_data:
        yield from data_faults(predictions, dataset)


def contradictions(predictions: Predictions, run: Run) -> list[str]:
    """What in the records of `run` does not follow from their specs, the split's labels and stored probabilities."""
    faults = [fault for record in run.records for fault in _misfits(predictions, record)]
    try:
        stored = predictions.stored(run)
    except FerBenchError as error:
        return [*faults, str(error)]
    labels = {subset: predictions.by_fold(subset, predictions.labels[subset]) for subset in stored}
    folds = {subset: predictions.by_fold(subset, rows) for subset, rows in stored.items()}
    for at, record in enumerate(run.records):
        scored = {subset: (labels[subset][at], rows[at]) for subset, rows in folds.items()}
        faults += _of_record(predictions, record, scored)
    if run.record.family == ensemble.FAMILY and stored:
        faults += ensemble.contradictions(predictions, run.record, stored)
    faults += adjustment.contradictions(predictions, run, stored)
    return faults


Scored = dict[str, tuple[np.ndarray, np.ndarray]]


def _of_record(predictions: Predictions, record: Record, stored: Scored) -> list[str]:
    """Of one record; stored: labels and probabilities of its images by subset."""
    faults = []
    for subset in SCORED:
        reported = getattr(record, subset)
        if reported and stored and subset not in stored:
            faults.append(f"{subset} figures are reported, and only {', '.join(stored)} probabilities are stored")
        elif subset in stored and not reported:
            faults.append(f"{subset} probabilities are stored, but no {subset} figures")
        elif subset in stored:
            again = metrics.score(*stored[subset], predictions.class_names)
            faults += _differences(subset, reported.model_dump(), again.model_dump())
    return faults


def _misfits(predictions: Predictions, record: Record) -> Iterator[str]:
    """What a record says of its images and its origin, and the split and its spec do not."""
    expected = record.spec.run_id
    if record.run_id != expected:
        yield f"its spec is that of {expected}"
    at = max(record.spec.fold - 1, 0)
    counts = {subset: predictions.lengths[subset][at] for subset in SCORED}
    if record.spec.fold <= 1:
        counts["train"] = predictions.n_train
    for subset, n in counts.items():
        if getattr(record, f"n_{subset}") != n:
            yield f"n_{subset} is {getattr(record, f'n_{subset}')}, and the split has {n}"
    for family, strategy in ((external.FAMILY, external.STRATEGY), (ensemble.FAMILY, ensemble.STRATEGY)):
        if (record.family == family) != (record.spec.strategy == strategy):
            yield f"its family is {record.family}, and its strategy {record.spec.strategy}"


def _differences(where: str, reported: Any, again: Any) -> list[str]:
    """Every figure that is not the one computed again; figures that a record does not report are none."""
    if isinstance(reported, dict):
        return [fault for name in reported for fault in _differences(f"{where}.{name}", reported[name], again[name])]
    if isinstance(reported, list) and len(reported) == len(again):
        pairs = zip(reported, again, strict=True)
        return [fault for at, (old, new) in enumerate(pairs) for fault in _differences(f"{where}[{at}]", old, new)]
    if reported is None or reported == again:
        return []
    if isinstance(reported, float) and math.isclose(reported, again, rel_tol=0, abs_tol=TOLERANCE):
        return []
    return [f"{where} is {_figure(reported)}, and {_figure(again)} from the probabilities"]


def _figure(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _verdicts(predictions: Predictions, against: ReadableFolder | None) -> Iterator[Verdict]:
    reruns = _Reruns.load(against, predictions) if against else None
    yield from (_verdict(predictions, run, reruns) for run in predictions.runs if run.is_scored)
    for record in predictions.elsewhere:
        if (split_of(record)[1:], record.status) == (predictions.split[1:], "success"):
            remark = "of other data, whose labels are not here any more"
            yield Verdict(record.run_id, Standing.self_reported, (remark,))


def _verdict(predictions: Predictions, run: Run, reruns: _Reruns | None) -> Verdict:
    faults = contradictions(predictions, run)
    if faults:
        return Verdict(run.run_id, Standing.refuted, tuple(faults))
    rows = predictions.probabilities(run, "test")
    if rows is None:
        return Verdict(run.run_id, Standing.self_reported, ("no test probabilities are stored",))
    if run.record.family == ensemble.FAMILY:
        again = ensemble.is_chosen_again(predictions, run.record)
        remark = "greedy selection picks its members again" if again else "greedy selection picks other members"
        return Verdict(run.run_id, Standing.reproduced if again else Standing.rescored, (remark,))
    found = reruns.compare(run, rows) if reruns else Verdict(run.run_id, Standing.rescored)
    return replace(found, remarks=(*found.remarks, *adjustment.remarks(predictions, run)))


def _hidden(predictions: Predictions) -> Iterator[str]:
    """Runs that are no success on record, and stored predictions."""
    for run in predictions.runs:
        for record in run.records:
            if record.status != "success" and predictions.folder.predictions_digest(record.run_id):
                yield f"{record.run_id}: is on record as {record.status}, and has stored predictions"


@dataclass(frozen=True)
class _Reruns:
    """The runs of one split in another results folder, and redraws of its test images."""

    predictions: Predictions | None
    resamples: bootstrap.Resamples

    @classmethod
    def load(cls, folder: ReadableFolder, original: Predictions) -> _Reruns:
        records, (_, split, n_folds) = folder.records(), original.split
        has_any = any(split_of(record)[1:] == (split, n_folds) for record in records)
        resamples = bootstrap.Resamples.of(
            original.labels["test"], len(original.class_names), groups=original.groups("test")
        )
        return cls(Predictions.load(folder, split, n_folds, records) if has_any else None, resamples)

    def compare(self, run: Run, rows: np.ndarray) -> Verdict:
        """Whether there is a re-run of `run`, with test probabilities `rows`, within noise; and what there is."""
        rerun = self.predictions.by_id.get(run.run_id) if self.predictions else None
        if self.predictions is None or rerun is None or not rerun.is_scored:
            return Verdict(run.run_id, Standing.rescored, ("no other run of the same spec",))
        if rerun.record.started == run.record.started:
            return Verdict(run.run_id, Standing.rescored, ("a copy of this run, not a re-run",))
        again = None if contradictions(self.predictions, rerun) else self.predictions.probabilities(rerun, "test")
        if again is None:
            remark = "the figures of the re-run do not follow from its probabilities"
            return Verdict(run.run_id, Standing.rescored, (remark,))
        changes = comparisons.paired_differences(self.resamples, rows.argmax(axis=1), again.argmax(axis=1))
        said = [f"{name} {one.value:+.4f} [{one.low:+.4f}, {one.high:+.4f}]" for name, one in changes.items()]
        beyond = [f"{name} beyond noise" for name, one in changes.items() if not one.low <= 0 <= one.high]
        standing = Standing.rescored if beyond else Standing.reproduced
        return Verdict(run.run_id, standing, (f"re-run: {', '.join([*said, *beyond])}",))
