"""Verification: every figure of records and leaderboard computed again from the stored probabilities."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from fer_bench import metrics
from fer_bench.errors import FerBenchError, listing
from fer_bench.judging import ensemble, external, inference, resampling
from fer_bench.judging.cells import counted, signed
from fer_bench.judging.evidence import SCORED, TOLERANCE, Evidence
from fer_bench.judging.judgement import audit_of
from fer_bench.judging.page_check import SHOWN, page_faults
from fer_bench.records import AUDIT_FILE
from fer_bench.records.images import images_path
from fer_bench.records.schema import Record
from fer_bench.records.spec import RunSpec
from fer_bench.records.store import ResultsFolder


class Standing(StrEnum):
    """How far the figures of a row can be followed."""

    self_reported = "self-reported"
    rescored = "rescored"
    reproduced = "reproduced"
    refuted = "DOES NOT FOLLOW"


@dataclass(frozen=True)
class Verdict:
    """What stands behind one row. remarks: every contradiction if refuted, otherwise what else there is to say."""

    run_id: str
    standing: Standing
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verification:
    """One verdict per run with scores, and the faults of the folder: of records, split files and leaderboard."""

    verdicts: tuple[Verdict, ...]
    faults: tuple[str, ...]

    @property
    def is_sound(self) -> bool:
        """Whether nothing contradicts anything."""
        return not self.faults and all(verdict.standing != Standing.refuted for verdict in self.verdicts)


def verify(folder: ResultsFolder, against: ResultsFolder | None = None) -> Verification:
    """Compute again every figure in `folder`.

    A row is reproduced where `against` holds a run of the same spec made at another time, whose own figures follow
    from its probabilities, and whose accuracy and macro-F1 differ from the row's by no more than the 95 % intervals
    of the paired differences over the test images allow; an ensemble, where it is the mean of its members and greedy
    selection picks these again.
    """
    records, faults = folder.read()
    verdicts: list[Verdict] = []
    for split, fold in sorted({(record.spec.split_fingerprint, record.spec.fold_name) for record in records}):
        try:
            evidence = Evidence.load(folder, split, records, fold)
        except FerBenchError as error:
            faults.append(str(error))
            continue
        reruns = _Reruns.load(against, evidence) if against else None
        scored = [record for record in evidence.records if record.status == "success"]
        found = [_verdict(evidence, record, reruns) for record in scored]
        verdicts += [
            Verdict(record.run_id, Standing.self_reported, ("of other data, whose labels are not here any more",))
            for record in evidence.elsewhere
            if (record.spec.split_fingerprint, record.spec.fold_name, record.status) == (split, fold, "success")
        ]
        faults += [*_hidden(evidence), *_miscounted(evidence)]
        if len(found) > 1 and all(verdict.standing == Standing.refuted for verdict in found):
            faults.append(f"no record follows from the labels in split {split} {fold}: were those changed?")
        verdicts += found
    return Verification(tuple(verdicts), (*faults, *page_faults(folder, records)))


def _hidden(evidence: Evidence) -> Iterator[str]:
    """Runs that are no success on record, and stored predictions."""
    for record in evidence.records:
        if record.status != "success" and (evidence.folder.runs / record.run_id / "predictions.npz").exists():
            yield f"{record.run_id}: is on record as {record.status}, and has stored predictions"


def _miscounted(evidence: Evidence) -> Iterator[str]:
    """Copies in train that are marked on more or fewer images than the audit counted: test-clean rests on the marks."""
    name = images_path(evidence.folder.path, evidence.split_fingerprint).name
    try:
        audit = audit_of(evidence.folder.path, (evidence.data_fingerprint, evidence.split_fingerprint))
        facts = {subset: evidence.image_facts(subset) for subset in SCORED}
    except FerBenchError as error:
        yield str(error)
        return
    for subset, of_subset in facts.items():
        if audit is None or of_subset is None:
            continue
        counted = audit.subsets[subset]
        for kind, n in (("exact", counted.exact_in_train), ("near", counted.near_in_train)):
            if (marked := int((of_subset.copy_in_train == kind).sum())) != n:
                yield f"{name}: marks {marked:,} {subset} images as {kind} copies, and {AUDIT_FILE} counts {n:,}"


def _verdict(evidence: Evidence, record: Record, reruns: _Reruns | None) -> Verdict:
    faults = contradictions(evidence, record)
    if faults:
        return Verdict(record.run_id, Standing.refuted, tuple(faults))
    rows = evidence.probabilities(record, "test")
    if rows is None:
        return Verdict(record.run_id, Standing.self_reported, ("no test probabilities are stored",))
    if record.family == ensemble.FAMILY:
        is_again, remark = ensemble.chosen_again(evidence, record)
    elif reruns is None:
        return Verdict(record.run_id, Standing.rescored)
    else:
        is_again, remark = reruns.compare(record, rows)
    return Verdict(record.run_id, Standing.reproduced if is_again else Standing.rescored, (remark,))


def contradictions(evidence: Evidence, record: Record) -> list[str]:
    """What in `record` does not follow from its spec, the split's labels and the stored probabilities."""
    faults = []
    expected = RunSpec(**record.spec.model_dump()).run_id
    if record.run_id != expected:
        faults.append(f"its spec is that of {expected}")
    faults += _misfits(evidence, record)
    try:
        rows = {subset: evidence.probabilities(record, subset) for subset in SCORED}
    except FerBenchError as error:
        return [*faults, str(error)]
    stored = {subset: known for subset, known in rows.items() if known is not None}
    for subset in SCORED:
        reported = getattr(record, subset)
        if reported and stored and subset not in stored:
            faults.append(f"{subset} figures are reported, and only {', '.join(stored)} probabilities are stored")
        elif subset in stored and not reported:
            faults.append(f"{subset} probabilities are stored, but no {subset} figures")
        elif subset in stored:
            again = metrics.score(evidence.labels[subset], stored[subset], evidence.class_names)
            faults += _differences(subset, reported.model_dump(), again.model_dump())
    if record.family == ensemble.FAMILY and stored:
        faults += ensemble.contradictions(evidence, record, stored)
    return faults


def _misfits(evidence: Evidence, record: Record) -> Iterator[str]:
    """What a record says of its images and its origin, and the split and its spec do not."""
    for subset, n in (("train", evidence.n_train), *((subset, len(evidence.ids[subset])) for subset in SCORED)):
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


@dataclass(frozen=True)
class _Reruns:
    """The runs of one split in another results folder, and redraws of its test images."""

    folder: ResultsFolder
    evidence: Evidence | None
    resamples: resampling.Resamples

    @classmethod
    def load(cls, folder: ResultsFolder, original: Evidence) -> _Reruns:
        records, split, fold = folder.records(), original.split_fingerprint, original.fold
        has_any = any((record.spec.split_fingerprint, record.spec.fold_name) == (split, fold) for record in records)
        resamples = resampling.Resamples.of(original.labels["test"], len(original.class_names))
        return cls(folder, Evidence.load(folder, split, records, fold) if has_any else None, resamples)

    def compare(self, record: Record, rows: np.ndarray) -> tuple[bool, str]:
        """Whether there is a re-run of `record`, with test probabilities `rows`, within noise; and what there is."""
        rerun = self.folder.record(record.run_id)
        if self.evidence is None or rerun is None or rerun.status != "success":
            return False, "no other run of the same spec"
        if rerun.started == record.started:
            return False, "a copy of this run, not a re-run"
        again = None if contradictions(self.evidence, rerun) else self.evidence.probabilities(rerun, "test")
        if again is None:
            return False, "the figures of the re-run do not follow from its probabilities"
        labels, k = self.resamples.labels, len(self.resamples.rows)
        first, second = (resampling.sample_run(self.resamples, either) for either in (rows, again))
        changes = {
            "accuracy": inference.compare_shares(first, second, labels, range(k)),
            "macro-F1": inference.compare_scores(first, second, resampling.MACRO_F1),
        }
        told = ", ".join(f"{name} {signed(change.value, 4)} {_between(change)}" for name, change in changes.items())
        beyond = [name for name, change in changes.items() if not change.low <= 0 <= change.high]
        return not beyond, f"re-run: {told}{'; beyond noise: ' * bool(beyond)}{', '.join(beyond)}"


def report(found: Verification) -> list[str]:
    """Lines for a terminal: the standing of every row, how many rows stand how, and the faults of the folder."""
    from tabulate import tabulate

    rows = [(verdict.run_id, verdict.standing, "\n".join(_first(verdict.remarks))) for verdict in found.verdicts]
    counts = Counter(verdict.standing for verdict in found.verdicts)
    told = ", ".join(f"{counts[standing]} {standing}" for standing in Standing if counts[standing])
    lines = [*tabulate(rows, ("run", "figures", "why")).splitlines(), "", told or "no run has scores"]
    if found.faults:
        lines.append(f"{counted(len(found.faults), 'fault')} of the folder:\n{listing(list(found.faults))}")
    if any(fault.startswith("leaderboard") for fault in found.faults):
        lines.append("`fer_bench report` writes the leaderboard anew, which an update of fer_bench may call for too")
    return [*lines, "nothing contradicts" if found.is_sound else "NOT ALL FIGURES FOLLOW FROM WHAT IS STORED"]


def _between(change: inference.Change) -> str:
    return f"[{signed(change.low, 4)}, {signed(change.high, 4)}]"


def _first(remarks: tuple[str, ...]) -> list[str]:
    more = len(remarks) - SHOWN
    return [*remarks[:SHOWN], *([f"and {more} more"] if more > 0 else [])]
