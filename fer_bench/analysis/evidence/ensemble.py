"""An ensemble of finished runs, chosen on a half of the validation images, its gain told on the other half.

Caruana, Niculescu-Mizil, Crew and Ksikes (2004), Ensemble Selection from Libraries of Models, ICML: greedy forward
selection with replacement, in bags of models (section 2.3), which overfits less. What is lowered is the log loss of the
mean probabilities: of few images it says more than macro-F1, which hangs on the rarest class. Validation images with a
copy in train are left out where they are known, as they reward models for remembering.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fer_bench.analysis.bootstrap import Resamples
from fer_bench.analysis.comparisons import paired_differences
from fer_bench.analysis.evidence.external import holds, store_run, untrained_record
from fer_bench.analysis.evidence.leakage import against_run, selects_on_test
from fer_bench.analysis.predictions import SCORED, TOLERANCE, Predictions, Run
from fer_bench.cache import digest
from fer_bench.errors import FerBenchError
from fer_bench.metrics import macro_f1
from fer_bench.records import RunSpec
from fer_bench.records.schema import Record, Timing

if TYPE_CHECKING:
    from fer_bench.records import ResultsFolder

FAMILY = MODEL = "ensemble"
STRATEGY = "greedy-selection"
RECIPE = 2
"""Of the selection, see `ModelCard.recipe`: the first was of one bag, by macro-F1, on all validation images."""
UNREADABLE = "its members cannot be read: {}"
BAGS, ROUNDS = 20, 50
LEAST_PROBABILITY = 1e-7


@dataclass(frozen=True)
class Selection:
    """weights: by run id, summing to 1. log_loss: of each bag's mean probabilities, on the half that it was chosen on.

    gain: on the other half, over the member of most macro-F1 on the first: "n_images", and by measure the difference
    and the ends of its 95 % interval. left_out: why, by run id.
    """

    weights: dict[str, float]
    log_loss: tuple[float, ...]
    gain: dict[str, Any]
    left_out: dict[str, str]

    @property
    def parameters(self) -> dict[str, Any]:
        """What of it is put on record beside its members, as JSON gives it back."""
        return {"bags": len(self.log_loss), "log_loss": list(self.log_loss), "gain": self.gain}


def select(predictions: Predictions, suspects: Collection[str] = ()) -> Selection:
    """Choose among the finished runs of `predictions`, leaving out the run ids `suspects`.

    In each of BAGS, which hold about a half of the runs, a round adds the run that lowers the log loss of the mean
    probabilities most, the first by run id where several do; it ends when none lowers it, or after ROUNDS. Left out are
    runs that are right no more often than a constant answer, and adjustments that adjusted nothing. Raises
    FerBenchError where no run can be chosen.
    """
    candidates = _candidates(predictions)
    chosen_on, _ = halves(predictions)
    left_out = {
        run_id: why
        for run_id, run in candidates.items()
        if (why := "leak suspect" if run_id in suspects else _why_not(predictions, run, chosen_on))
    }
    members = sorted(candidates.keys() - left_out.keys())
    if not members:
        why = "; ".join(dict.fromkeys(left_out.values())) or "none has finished"
        raise FerBenchError(f"{predictions.folder.path}: no run to choose from ({why})")
    return replace(_select_among(predictions, members), left_out=left_out)


def leak_suspects(predictions: Predictions) -> set[str]:
    """The run ids that the leak gate has something against."""
    folder, audit, records = predictions.folder, predictions.audit, [run.record for run in predictions.runs]
    return {one.run_id for one in records if against_run([one], audit, selects_on_test(folder, one))}


def put_on_record(predictions: Predictions, folder: ResultsFolder, command: str = "") -> tuple[Record, bool]:
    """Select without leak suspects; the ensemble's record, now in `folder`, and whether that changed it."""
    selection = select(predictions, leak_suspects(predictions))
    probabilities = {subset: mixture(predictions, selection.weights, subset) for subset in SCORED}
    record = _record(predictions, selection, probabilities, command)
    before = predictions.by_id.get(record.run_id)
    if before and _same(before.record, record) and holds(predictions.stored(before), probabilities):
        return before.record, False
    store_run(folder, predictions, record, probabilities)
    return record, True


def mixture(predictions: Predictions, weights: dict[str, float], subset: str) -> np.ndarray:
    """The weighted mean of the runs' probabilities, float32 (n, k). Raises FerBenchError where a run has none."""
    members = _finished(predictions, sorted(weights))
    rows = sum(weights[run.run_id] * _stored(predictions, run, subset) for run in members)
    return np.asarray(rows, dtype=np.float32)


def contradictions(predictions: Predictions, record: Record, stored: dict[str, np.ndarray]) -> list[str]:
    """What in the record of an ensemble, of which `stored` is there by subset, does not follow from its members.

    Every pick is the best of its bag and a member, so the best of the members in that bag: selection among these alone
    gives what selection among all gave, whatever other runs there were. Where probabilities were rounded to be
    published, so was their mean, and near ties may be picked otherwise: then, and where the recipe was another, the
    mean alone is held against its members.
    """
    faults = unlike_members(predictions, record, stored)
    if faults or predictions.folder.resolution or record.spec.recipe != RECIPE:
        return faults
    try:
        again = _select_among(predictions, sorted(record.members))
    except FerBenchError as error:
        return [UNREADABLE.format(error)]
    given = {"members": again.weights, **again.parameters}
    said = {"members": record.members, **record.parameters}
    wrong = [name for name, value in given.items() if not _agree(said.get(name, ()), value)]
    return [f"{name} is not what greedy selection among its members gives" for name in wrong]


def unlike_members(predictions: Predictions, record: Record, stored: dict[str, np.ndarray]) -> list[str]:
    """Why `stored` is not the mean of the members of the ensemble `record` as they are now; nothing where it is."""
    tolerance = TOLERANCE + 2 * predictions.folder.resolution
    try:
        return [
            f"its {subset} probabilities are not the mean of its members as they are now; `ensemble` chooses anew"
            for subset, rows in stored.items()
            if not _agree(mixture(predictions, record.members, subset), rows, tolerance)
        ]
    except FerBenchError as error:
        return [UNREADABLE.format(error)]


def is_chosen_again(predictions: Predictions, record: Record) -> bool:
    """Whether selection among the members and the runs begun before an ensemble chooses it again.

    Which of those runs had finished by then is not known, so that another choice contradicts nothing.
    """
    then = [run for run in predictions.runs if run.record.started <= record.started or run.run_id in record.members]
    before = replace(predictions, runs=tuple(then))
    try:
        again = select(before, leak_suspects(before))
    except FerBenchError:
        return False
    return _agree(record.members, again.weights)


def _candidates(predictions: Predictions) -> dict[str, Run]:
    """Finished runs by id, ensembles left out."""
    return {run_id: run for run_id, run in predictions.by_id.items() if run.is_scored and run.record.family != FAMILY}


def _finished(predictions: Predictions, run_ids: Sequence[str]) -> list[Run]:
    """The runs `run_ids`. Raises FerBenchError naming those that are not there."""
    candidates = _candidates(predictions)
    if missing := [run_id for run_id in run_ids if run_id not in candidates]:
        raise FerBenchError(f"not on record as finished runs: {', '.join(missing)}")
    return [candidates[run_id] for run_id in run_ids]


def _select_among(predictions: Predictions, run_ids: Sequence[str]) -> Selection:
    """Choose among the runs `run_ids`, sorted."""
    if not run_ids:
        raise FerBenchError("no members")
    chosen_on, told_on = halves(predictions)
    labels = predictions.labels["validation"]
    rows = np.stack([_stored(predictions, run, "validation") for run in _finished(predictions, run_ids)])
    of_label = rows[:, chosen_on, labels[chosen_on]]
    weights, log_losses = np.zeros(len(run_ids)), []
    for members in bags(run_ids):
        picks, log_loss = _greedy(of_label[members])
        np.add.at(weights, np.asarray(members)[picks], 1 / len(picks))
        log_losses.append(log_loss)
    weights /= weights.sum()
    picked = {run_id: float(weight) for run_id, weight in zip(run_ids, weights, strict=True) if weight}
    return Selection(picked, tuple(log_losses), _gain(predictions, rows, weights, chosen_on, told_on), {})


def halves(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Indices of validation images: those that members are picked on, and those that their gain is told on.

    Drawn at random, whole groups where these are known, from the images that choose between runs.
    """
    images = np.flatnonzero(predictions.choosers)
    groups = predictions.groups("validation", images)
    unit = np.unique(images if groups is None else groups, return_inverse=True)[1]
    is_first = np.random.default_rng(0).permutation(unit.max(initial=0) + 1)[unit] % 2 == 0
    return images[is_first], images[~is_first]


def bags(run_ids: Sequence[str]) -> list[list[int]]:
    """Indices of the runs in each bag that has any. A run is in a bag or not whatever other runs there are."""
    drawn = [[at for at, run_id in enumerate(run_ids) if _is_in(run_id, bag)] for bag in range(BAGS)]
    return [bag for bag in drawn if bag] or [list(range(len(run_ids)))]


def _is_in(run_id: str, bag: int) -> bool:
    return int(digest({"run": run_id, "bag": bag}), 16) % 2 == 0


def _greedy(of_label: np.ndarray) -> tuple[list[int], float]:
    """Rows of `of_label`, float (m, n), the probabilities of the labels, in the order picked; their mean's log loss."""
    picks: list[int] = []
    total, least = np.zeros(of_label.shape[1]), np.inf
    while len(picks) < ROUNDS:
        means = (total + of_label) / (len(picks) + 1)
        losses = -np.log(np.maximum(means, LEAST_PROBABILITY)).mean(axis=1)
        best = int(losses.argmin())
        if losses[best] >= least:
            break
        total, least = total + of_label[best], float(losses[best])
        picks.append(best)
    return picks, least


def _gain(
    predictions: Predictions, rows: np.ndarray, weights: np.ndarray, chosen_on: np.ndarray, told_on: np.ndarray
) -> dict[str, Any]:
    """See `Selection`; {} where there is no other half. rows: float (m, n, k), of which `weights` are averaged."""
    if not len(told_on):
        return {}
    labels, n_classes = predictions.labels["validation"], rows.shape[2]
    answers = rows.argmax(axis=2)
    scores = [macro_f1(labels[chosen_on], own[chosen_on], n_classes) for own in answers]
    best = int(np.argmax(np.where(weights > 0, scores, -1.0)))
    mixed = np.tensordot(weights, rows, axes=1).argmax(axis=1)
    resamples = Resamples.of(labels[told_on], n_classes, groups=predictions.groups("validation", told_on))
    changes = paired_differences(resamples, answers[best][told_on], mixed[told_on])
    told = {measure: [one.value, one.low, one.high] for measure, one in changes.items()}
    return {"n_images": len(told_on), **told}


def _why_not(predictions: Predictions, run: Run, chosen_on: np.ndarray) -> str | None:
    stored = predictions.stored(run)
    if run.record.adjusts_nothing:
        return f"the answers of {run.record.adjusted_from}"
    if missing := [subset for subset in SCORED if subset not in stored]:
        return f"no {' and '.join(missing)} probabilities"
    labels = predictions.labels["validation"][chosen_on]
    right = stored["validation"][chosen_on].argmax(axis=1) == labels
    return None if right.sum() > np.bincount(labels).max() else "no better than a constant answer"


def _stored(predictions: Predictions, run: Run, subset: str) -> np.ndarray:
    rows = predictions.probabilities(run, subset)
    if rows is None:
        raise FerBenchError(f"{run.run_id}: no {subset} probabilities are stored")
    return rows.astype(np.float64)


def _record(
    predictions: Predictions, selection: Selection, probabilities: dict[str, np.ndarray], command: str
) -> Record:
    members = [run.record for run in predictions.runs if run.run_id in selection.weights]
    left_out = sorted(f"{run_id} ({why})" for run_id, why in selection.left_out.items())
    return untrained_record(
        predictions,
        RunSpec(MODEL, STRATEGY, 0, *predictions.split[:2], recipe=RECIPE),
        probabilities,
        family=FAMILY,
        members=selection.weights,
        notes=[f"left out: {', '.join(left_out)}"] if left_out else [],
        seconds=_seconds(predictions, members),
        ms_per_image=_sum(member.ms_per_image for member in members),
        command=command,
        parameters=selection.parameters,
    )


def _seconds(predictions: Predictions, members: Sequence[Record]) -> Timing | None:
    """Training and features of all members; None where those of any are not known.

    Features of one name and the very same cost were computed once, and count once; so does a training that several
    start from, which is in the time of each.
    """
    fits, shared = dict[str, float](), set[tuple[str, float]]()
    for member in members:
        if member.seconds is None:
            return None
        base = predictions.by_id.get(member.base_id) if member.base_predictions else None
        earlier = base.record.seconds.fit if base and base.record.seconds else 0.0
        if base:
            fits[base.run_id] = earlier
        fits[member.run_id] = max(0.0, member.seconds.fit - earlier)
        shared.add((member.features, member.seconds.features))
    return Timing(fit=sum(fits.values()), features=sum(cost for _, cost in sorted(shared)))


def _sum(values: Iterable[float | None]) -> float | None:
    """What all members take together; unknown where that of any is."""
    known = list(values)
    return None if None in known else sum(value for value in known if value is not None)


def _agree(said: Any, given: Any, tolerance: float = TOLERANCE) -> bool:
    """Whether two arrays, numbers, or dictionaries or lists of numbers are the same but for rounding."""
    if isinstance(given, dict):
        return isinstance(said, dict) and said.keys() == given.keys() and all(_agree(said[k], given[k]) for k in given)
    return np.shape(said) == np.shape(given) and bool(np.allclose(said, given, rtol=0, atol=tolerance))


def _same(before: Record, after: Record) -> bool:
    return before == after.model_copy(update={"started": before.started, "command": before.command})
