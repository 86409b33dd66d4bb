"""An ensemble of finished runs, chosen on validation images alone, and there on those without a copy in train.

Caruana, Niculescu-Mizil, Crew and Ksikes (2004), Ensemble Selection from Libraries of Models, ICML: greedy forward
selection with replacement of the models whose averaged probabilities score best.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fer_bench.errors import FerBenchError
from fer_bench.judging import judgement
from fer_bench.judging.evidence import SCORED, TOLERANCE, Evidence
from fer_bench.judging.external import publish, untrained_record
from fer_bench.metrics import confusion_matrix, f1_scores
from fer_bench.records.schema import Record, Timing
from fer_bench.records.spec import RunSpec

FAMILY = MODEL = "ensemble"
STRATEGY = "greedy-selection"
ROUNDS = 50
CHOSEN_ON = "chosen on the"


@dataclass(frozen=True)
class Selection:
    """weights: by run id, summing to 1. validation_macro_f1: after each round, on the images that it was chosen on.

    left_out: why, by run id.
    """

    weights: dict[str, float]
    validation_macro_f1: tuple[float, ...]
    left_out: dict[str, str]

    @property
    def parameters(self) -> dict[str, Any]:
        """What of it is put on record, as JSON gives it back."""
        path = list(self.validation_macro_f1)
        return {"rounds": len(path), "validation_macro_f1": path}


def select(evidence: Evidence, suspects: Collection[str] = ()) -> Selection:
    """Choose among the finished runs of `evidence`, leaving out the run ids `suspects`.

    Each round adds the run that raises the validation macro-F1 of the mean probabilities most, the first by run id
    where several do; it ends when none raises it, or after ROUNDS. Validation images with a copy in train are left
    out where they are known, as they reward models for remembering; so are runs that are right there no more often
    than a constant answer. Raises FerBenchError where no run can be chosen.
    """
    candidates = _candidates(evidence)
    left_out = {run_id: why for run_id, record in candidates.items() if (why := _why_not(evidence, record, suspects))}
    members = sorted(candidates.keys() - left_out.keys())
    if not members:
        why = "; ".join(dict.fromkeys(left_out.values())) or "none has finished"
        raise FerBenchError(f"{evidence.folder.path}: no run to choose from ({why})")
    return replace(_select_among(evidence, members), left_out=left_out)


def leak_suspects(evidence: Evidence) -> set[str]:
    """The run ids that the leak gate has something against."""
    audit = judgement.audit_of(evidence.folder.path, (evidence.data_fingerprint, evidence.split_fingerprint))
    return set(judgement.suspects(evidence.folder, evidence.records, audit))


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
    candidates = _candidates(evidence)
    if missing := sorted(weights.keys() - candidates.keys()):
        raise FerBenchError(f"not on record as finished runs: {', '.join(missing)}")
    rows = sum(weight * _stored(evidence, candidates[run_id], subset) for run_id, weight in sorted(weights.items()))
    return np.asarray(rows, dtype=np.float32)


def contradictions(evidence: Evidence, record: Record, stored: dict[str, np.ndarray]) -> list[str]:
    """What in the record of an ensemble, of which `stored` is there by subset, does not follow from its members.

    Every pick is the best of all runs and a member, so the best of the members: selection among these alone gives what
    selection among all gave, whatever other runs there were.
    """
    weights = record.members
    try:
        faults = [
            f"its {subset} probabilities are not the mean of its members"
            for subset, rows in stored.items()
            if not _agree(mixture(evidence, weights, subset), rows)
        ]
        again = _select_among(evidence, sorted(weights))
        known = again.parameters.items()
        wrong = [f"parameters.{name}" for name, given in known if not _agree(record.parameters.get(name, ()), given)]
        wrong += [] if _agree(weights, again.weights) else ["members"]
    except (FerBenchError, TypeError, ValueError) as error:
        return [f"its members cannot be read: {error}"]
    faults += [f"{name} is not what greedy selection among its members gives" for name in wrong]
    if [note for note in record.notes if note.startswith(CHOSEN_ON)] != _chosen_on(evidence):
        n_images = evidence.choosers.sum()
        faults.append(f"its notes do not say that it was chosen on the {n_images:,} validation images that choose")
    return faults


def chosen_again(evidence: Evidence, record: Record) -> tuple[bool, str]:
    """Whether selection among the members and the runs begun before an ensemble chooses it again; what to say of it.

    Which of those runs had finished by then is not known, so that another choice contradicts nothing.
    """
    weights = record.members
    then = [run for run in evidence.records if run.started <= record.started or run.run_id in weights]
    before = replace(evidence, records=tuple(then))
    try:
        again = select(before, leak_suspects(before))
    except FerBenchError as error:
        return False, f"the mean of its members, whose selection cannot be made again: {error}"
    if _agree(weights, again.weights):
        return True, "the mean of its members, which greedy selection among the runs of before picks again"
    return False, "the mean of its members, though greedy selection among the runs begun before it picks others"


def _candidates(evidence: Evidence) -> dict[str, Record]:
    """Finished runs by id, ensembles left out."""
    return {run.run_id: run for run in evidence.records if run.status == "success" and run.family != FAMILY}


def _select_among(evidence: Evidence, run_ids: Sequence[str]) -> Selection:
    """Choose among the runs `run_ids`, sorted, on the validation images that choose."""
    candidates, chosen_on = _candidates(evidence), evidence.choosers
    library = np.stack([_stored(evidence, candidates[run_id], "validation")[chosen_on] for run_id in run_ids])
    picks, path = _greedy(library, evidence.labels["validation"][chosen_on])
    counts = Counter(run_ids[pick] for pick in picks)
    weights = {run_id: counts[run_id] / len(picks) for run_id in run_ids if counts[run_id]}
    return Selection(weights, tuple(path), {})


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
    if record.run_id in suspects:
        return "leak suspect"
    missing = [subset for subset in SCORED if evidence.probabilities(record, subset) is None]
    if missing:
        return f"no {' and '.join(missing)} probabilities"
    labels = evidence.labels["validation"][evidence.choosers]
    right = _stored(evidence, record, "validation")[evidence.choosers].argmax(axis=1) == labels
    return None if right.sum() > np.bincount(labels).max() else "no better than a constant answer"


def _stored(evidence: Evidence, record: Record, subset: str) -> np.ndarray:
    rows = evidence.probabilities(record, subset)
    if rows is None:
        raise FerBenchError(f"{record.run_id}: no {subset} probabilities are stored")
    return rows.astype(np.float64)


def _record(evidence: Evidence, selection: Selection, probabilities: dict[str, np.ndarray], command: str) -> Record:
    members = [record for record in evidence.records if record.run_id in selection.weights]
    notes = _chosen_on(evidence)
    if selection.left_out:
        told = sorted(f"{run_id} ({why})" for run_id, why in selection.left_out.items())
        notes.append(f"left out: {', '.join(told)}")
    return untrained_record(
        evidence, RunSpec(MODEL, STRATEGY, 0, evidence.data_fingerprint, evidence.split_fingerprint), probabilities,
        family=FAMILY, notes=notes, seconds=_seconds(members), ms_per_image=_sum(m.ms_per_image for m in members),
        n_parameters=None, command=command, parameters=selection.parameters, members=selection.weights,
    )  # fmt: skip


def _chosen_on(evidence: Evidence) -> list[str]:
    """The note on the images that chose, where those are not all of validation."""
    n_images = int(evidence.choosers.sum())
    is_all = n_images == len(evidence.choosers)
    return [] if is_all else [f"{CHOSEN_ON} {n_images:,} validation images without a copy in train"]


def _seconds(members: Sequence[Record]) -> Timing | None:
    """Training and features of all members; None where those of any are not known.

    Features of one name and the very same cost were computed once, and count once.
    """
    timed = [(member.features, member.seconds) for member in members if member.seconds]
    if len(timed) < len(members):
        return None
    shared = {(features, seconds.features) for features, seconds in timed}
    return Timing(fit=sum(seconds.fit for _, seconds in timed), features=sum(cost for _, cost in sorted(shared)))


def _sum(values: Iterable[float | None]) -> float | None:
    """What all members take together; unknown where that of any is."""
    known = list(values)
    return None if None in known else sum(value for value in known if value is not None)


def _agree(said: Any, given: Any) -> bool:
    """Whether two arrays, numbers, or dictionaries or lists of numbers are the same but for rounding."""
    if isinstance(given, dict):
        return isinstance(said, dict) and said.keys() == given.keys() and all(_agree(said[k], given[k]) for k in given)
    return np.shape(said) == np.shape(given) and bool(np.allclose(said, given, rtol=0, atol=TOLERANCE))


def _same(before: Record, after: Record) -> bool:
    return before == after.model_copy(update={"started": before.started, "command": before.command})


def _holds(evidence: Evidence, record: Record, probabilities: dict[str, np.ndarray]) -> bool:
    stored = {subset: evidence.probabilities(record, subset) for subset in SCORED}
    return all(rows is not None and np.array_equal(rows, probabilities[subset]) for subset, rows in stored.items())
