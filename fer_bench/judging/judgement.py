"""What is known of the runs of one split beside their records: evaluations, suspicions, facts about the images."""

from __future__ import annotations

import os
from collections.abc import Container, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from fer_bench.archives import refuse_bomb
from fer_bench.data import split_file
from fer_bench.errors import FerBenchError
from fer_bench.judging.evaluation import Evaluation, Evaluator
from fer_bench.judging.evidence import Evidence
from fer_bench.judging.gate import data_suspicions, overlapping, suspicions
from fer_bench.judging.votes import majority, vote_columns
from fer_bench.records import AUDIT_FILE, Audit
from fer_bench.records.images import ImageFacts
from fer_bench.records.schema import Record
from fer_bench.records.store import ResultsFolder

NOT_STORED = "no test probabilities are stored, so nothing can be computed again or compared"


@dataclass(frozen=True)
class Judgement:
    """By run id where it is about runs. labels: of the test images, int64 (n,), None without evidence.

    clean_labels: of those without a copy in train, None where copies are not known.
    problems: why a run has no evaluation. suspects: evidence against a run. missing: why there is no evidence at all.
    clean_support: images per class on test-clean, empty where copies are not known.
    n_choosers: validation images that choose between runs, 0 without evidence.
    votes: counts of test images: with a majority, without a usable one, of another emotion, tied.
    """

    labels: np.ndarray | None = None
    clean_labels: np.ndarray | None = None
    evaluations: dict[str, Evaluation] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    suspects: dict[str, tuple[str, ...]] = field(default_factory=dict)
    data_suspicions: tuple[str, ...] = ()
    audit: Audit | None = None
    clean_support: tuple[int, ...] = ()
    n_choosers: int = 0
    votes: tuple[int, int, int, int] | None = None
    missing: str = ""


def judge(records: Sequence[Record], path: Path) -> Judgement:
    """Judge `records`, all of one split, by what is stored in the results folder at `path`.

    Raises FerBenchError where files there are damaged or not of this split.
    """
    if not records:
        return Judgement()
    folder, spec = ResultsFolder(path), records[-1].spec
    audit = audit_of(path, (spec.data_fingerprint, spec.split_fingerprint))
    against_data = data_suspicions(audit) if audit else ()
    split = path / split_file(spec.split_fingerprint)
    if not split.exists():
        against = suspects(folder, records, audit)
        missing = f"{split.name}, which holds the labels, is not there"
        return Judgement(suspects=against, data_suspicions=against_data, audit=audit, missing=missing)
    evidence = Evidence.load(folder, spec.split_fingerprint, records)
    evaluator = Evaluator(evidence)
    evaluations, problems = _evaluations(evaluator, records)
    return Judgement(
        labels=evaluator.labels,
        clean_labels=None if evaluator.clean is None else evaluator.labels[evaluator.clean],
        evaluations=evaluations,
        problems=problems,
        suspects=suspects(folder, records, audit, evaluations),
        data_suspicions=against_data,
        audit=audit,
        clean_support=_clean_support(evaluator),
        n_choosers=int(evidence.choosers.sum()),
        votes=None if evaluator.facts is None else _vote_counts(evaluator.facts, evidence),
    )


def suspects(
    folder: ResultsFolder, records: Sequence[Record], audit: Audit | None, known: Container[str] = ()
) -> dict[str, tuple[str, ...]]:
    """What the leak gate has against runs, by run id, without those that it has nothing against.

    Those `known` to have predicted the split's images have not selected on test images.
    """
    against = {}
    for record in records:
        selects_on_test = record.run_id not in known and _selects_on_test(folder, record)
        against[record.run_id] = suspicions(record, selects_on_test, audit)
    return {run_id: evidence for run_id, evidence in against.items() if evidence}


def _evaluations(evaluator: Evaluator, records: Sequence[Record]) -> tuple[dict[str, Evaluation], dict[str, str]]:
    """The evaluations of `records` and why some have none; in threads, as NumPy and files leave Python free."""
    scored = [record for record in records if record.status == "success" and record.test is not None]
    evaluator.make_ready()
    with threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as executor:  # or BLAS's threads wait for each other
        found = dict(
            zip((record.run_id for record in scored), executor.map(partial(_told, evaluator), scored), strict=True)
        )
    evaluations = {run_id: one for run_id, one in found.items() if isinstance(one, Evaluation)}
    return evaluations, {run_id: one for run_id, one in found.items() if isinstance(one, str)}


def _told(evaluator: Evaluator, record: Record) -> Evaluation | str:
    """The evaluation of a run, or why there is none."""
    try:
        return evaluator.evaluate(record) or NOT_STORED
    except FerBenchError as error:
        return str(error).replace(f"{evaluator.evidence.folder.path}/", "")


def audit_of(path: Path, fingerprints: tuple[str, str]) -> Audit | None:
    """The audit in the results folder at `path`, if it is of these data and split; FerBenchError if damaged."""
    try:
        audit = Audit.load(path / AUDIT_FILE)
    except FileNotFoundError:
        return None
    return audit if audit.fingerprints == fingerprints else None


def _clean_support(evaluator: Evaluator) -> tuple[int, ...]:
    if evaluator.clean is None:
        return ()
    n_classes = len(evaluator.evidence.class_names)
    return tuple(np.bincount(evaluator.labels[evaluator.clean], minlength=n_classes).tolist())


def _vote_counts(facts: ImageFacts, evidence: Evidence) -> tuple[int, int, int, int] | None:
    if facts.votes is None:
        return None
    truth = majority(facts.votes, vote_columns(facts.vote_names, evidence.class_names))
    return int((truth >= 0).sum()), int((truth == -2).sum()), int((truth == -1).sum()), int((truth == -3).sum())


def _selects_on_test(folder: ResultsFolder, record: Record) -> bool:
    """Whether the run stored predictions of the same images as validation and as test; False where none can be read."""
    path = folder.runs / record.run_id / "predictions.npz"
    try:
        refuse_bomb(path)
        with np.load(path, allow_pickle=False) as stored:
            return overlapping(stored["validation_ids"], stored["test_ids"])
    except Exception:  # whatever NumPy, zipfile and zlib say of a damaged file
        return False
