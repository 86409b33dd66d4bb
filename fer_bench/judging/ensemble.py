"""An ensemble of finished runs, chosen on validation images alone, and there on those without a copy in train.

Caruana, Niculescu-Mizil, Crew and Ksikes (2004), Ensemble Selection from Libraries of Models, ICML: greedy forward
selection with replacement of the models whose averaged probabilities score best.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np

from fer_bench.errors import FerBenchError
from fer_bench.judging.evidence import SCORED, Evidence
from fer_bench.judging.external import publish, untrained_record
from fer_bench.judging.gate import overlapping, suspicions
from fer_bench.judging.metrics import confusion_matrix, f1_scores
from fer_bench.records.audit import AUDIT_FILE, Audit
from fer_bench.records.schema import Record, Timing
from fer_bench.records.spec import RunSpec

FAMILY = MODEL = "ensemble"
STRATEGY = "greedy-selection"
ROUNDS = 50


@dataclass(frozen=True)
class Selection:
    """weights: by run id, summing to 1. left_out: why, by run id.

    validation_macro_f1: after each round, on the `n_images` validation images that it was chosen on.
    """

    weights: dict[str, float]
    validation_macro_f1: tuple[float, ...]
    n_images: int
    left_out: dict[str, str]


def select(evidence: Evidence, suspects: Collection[str] = ()) -> Selection:
    """Choose among the finished runs of `evidence`, leaving out the run ids `suspects`.

    Each round adds the run that raises the validation macro-F1 of the mean probabilities most, the first by run id
    where several do; it ends when none raises it, or after ROUNDS. Validation images with a copy in train are left
    out where they are known, as they reward models for remembering. Raises FerBenchError where no run can be chosen.
    """
    left_out = {record.run_id: why for record in evidence.records if (why := _why_not(evidence, record, suspects))}
    members = sorted(
        record.run_id for record in evidence.records if record.status == "success" and record.run_id not in left_out
        and record.family != FAMILY
    )  # fmt: skip
    if not members:
        raise FerBenchError(f"{evidence.folder.path}: no finished run with validation probabilities to choose from")
    by_id = {record.run_id: record for record in evidence.records}
    chosen_on = evidence.choosers
    library = np.stack([_stored(evidence, by_id[run_id], "validation")[chosen_on] for run_id in members])
    picks, path = _greedy(library, evidence.labels["validation"][chosen_on])
    counts = Counter(members[pick] for pick in picks)
    weights = {run_id: counts[run_id] / len(picks) for run_id in members if counts[run_id]}
    return Selection(weights, tuple(path), int(chosen_on.sum()), left_out)


def leak_suspects(evidence: Evidence) -> set[str]:
    """The run ids that the leak gate has something against."""
    path = evidence.folder.path / AUDIT_FILE
    audit = Audit.load(path) if path.exists() else None
    shared = overlapping(evidence.ids["validation"], evidence.ids["test"])
    return {record.run_id for record in evidence.records if suspicions(record, shared, audit)}


def put_on_record(evidence: Evidence, command: str = "") -> tuple[Record, bool]:
    """Select without leak suspects; the ensemble's record, now in the results folder, and whether that changed it."""
    selection = select(evidence, leak_suspects(evidence))
    probabilities = {subset: mixture(evidence, selection.weights, subset) for subset in SCORED}
    record = _record(evidence, selection, probabilities, command)
    before = next((known for known in evidence.records if known.run_id == record.run_id), None)
    if before and _same(before, record) and _holds(evidence, before, probabilities):
        return before, False
    publish(evidence, record, probabilities)
    return record, True


def mixture(evidence: Evidence, weights: dict[str, float], subset: str) -> np.ndarray:
    """The weighted mean of the runs' probabilities, float32 (n, k). Raises FerBenchError where a run has none."""
    by_id = {record.run_id: record for record in evidence.records}
    if missing := sorted(weights.keys() - by_id.keys()):
        raise FerBenchError(f"runs of the ensemble are not on record: {', '.join(missing)}")
    rows = sum(weight * _stored(evidence, by_id[run_id], subset) for run_id, weight in sorted(weights.items()))
    return np.asarray(rows, dtype=np.float32)


def _greedy(library: np.ndarray, labels: np.ndarray) -> tuple[list[int], list[float]]:
    """Indices into `library`, float (m, n, k), in the order picked, and the score after each."""
    total, n_classes = np.zeros(library.shape[1:]), library.shape[2]
    picks: list[int] = []
    path: list[float] = []
    while len(picks) < ROUNDS:
        answers = ((total + rows).argmax(axis=1) for rows in library)
        scores = [float(f1_scores(confusion_matrix(labels, some, n_classes)).mean()) for some in answers]
        best = int(np.argmax(scores))
        if path and scores[best] <= path[-1]:
            break
        total += library[best]
        picks.append(best)
        path.append(scores[best])
    return picks, path


def _why_not(evidence: Evidence, record: Record, suspects: Collection[str]) -> str | None:
    if record.status != "success" or record.family == FAMILY:
        return None
    if record.run_id in suspects:
        return "leak suspect"
    missing = [subset for subset in SCORED if evidence.probabilities(record, subset) is None]
    return f"no {' and '.join(missing)} probabilities" if missing else None


def _stored(evidence: Evidence, record: Record, subset: str) -> np.ndarray:
    rows = evidence.probabilities(record, subset)
    if rows is None:
        raise FerBenchError(f"{record.run_id}: no {subset} probabilities are stored")
    return rows.astype(np.float64)


def _record(evidence: Evidence, selection: Selection, probabilities: dict[str, np.ndarray], command: str) -> Record:
    members = [record for record in evidence.records if record.run_id in selection.weights]
    named = sorted(((selection.weights[m.run_id], _name(m)) for m in members), key=lambda pair: (-pair[0], pair[1]))
    notes = ["mean of " + ", ".join(f"{name} ({weight:.2f})" for weight, name in named)]
    if selection.n_images < len(evidence.labels["validation"]):
        notes.append(f"chosen on the {selection.n_images:,} validation images without a copy in train")
    if selection.left_out:
        told = sorted(f"{run_id} ({why})" for run_id, why in selection.left_out.items())
        notes.append(f"left out: {', '.join(told)}")
    fit = _sum(m.seconds.fit if m.seconds else None for m in members)
    return untrained_record(
        evidence, RunSpec(MODEL, STRATEGY, 0, evidence.data_fingerprint, evidence.split_fingerprint), probabilities,
        family=FAMILY, notes=notes, seconds=None if fit is None else Timing(fit=fit),
        ms_per_image=_sum(m.ms_per_image for m in members),
        n_parameters=None, command=command,
        parameters={
            "weights": selection.weights, "rounds": len(selection.validation_macro_f1),
            "validation_macro_f1": list(selection.validation_macro_f1),
        },
    )  # fmt: skip


def _name(record: Record) -> str:
    seed = f" / seed {record.spec.seed}" if record.spec.seed else ""
    return f"{record.spec.model} / {record.spec.strategy}{seed}"


def _sum(values: Iterable[float | None]) -> float | None:
    """What all members take together; unknown where that of any is."""
    known = list(values)
    return None if None in known else sum(value for value in known if value is not None)


def _same(before: Record, after: Record) -> bool:
    return before == after.model_copy(update={"started": before.started, "command": before.command})


def _holds(evidence: Evidence, record: Record, probabilities: dict[str, np.ndarray]) -> bool:
    stored = {subset: evidence.probabilities(record, subset) for subset in SCORED}
    return all(rows is not None and np.array_equal(rows, probabilities[subset]) for subset, rows in stored.items())
