"""The audit and the split held against each other, and against the data where these are given.

The gate rests on the audit and every figure on the labels of the split, so that who changes these clears a cheat.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fer_bench.analysis.predictions import SCORED, Predictions
from fer_bench.data import (
    Copies,
    Dataset,
    Split,
    fer2013,
    ids_fingerprint,
    joint_fingerprint,
    make_audit,
    stored_copies,
)
from fer_bench.data.audit import copies_in_train
from fer_bench.errors import FerBenchError
from fer_bench.records import Audit

if TYPE_CHECKING:
    from fer_bench.records import ImageFacts

AS_TOLD = ("dataset", "notes", "split_source", "groups_from", "fer2013_differences")
"""Words of an audit, of which nothing is computed."""
SAME_SHARE = 0.005
"""By how much shares may differ that another processor rounds otherwise."""
SAME_COPIES = 0.01
"""The same for counts of near copies, as a share of them."""


def audit_faults(predictions: Predictions) -> Iterator[str]:
    """What in the audit contradicts itself, the split, the marked copies or the records; nothing without an audit."""
    try:
        found = predictions.audit_file()
        facts = {subset: predictions.image_facts(subset) for subset in SCORED}
    except FerBenchError as error:
        yield str(error)
        return
    if found is None:
        return
    path, audit = found
    yield from _miscounted(predictions, audit, facts)
    faults = [*_relabelled(predictions, audit), *_inconsistent(predictions, audit)]
    yield from (f"{path.name}: {fault}" for fault in faults)


def _miscounted(predictions: Predictions, audit: Audit, facts: dict[str, ImageFacts | None]) -> Iterator[str]:
    """Copies in train that are marked on more or fewer images than the audit counted: test-clean rests on the marks."""
    name = predictions.folder.images_path(predictions.split[1]).name
    for subset, of_subset in facts.items():
        if of_subset is None:
            continue
        counted = audit.subsets[subset]
        for kind, n in (("exact", counted.exact_in_train), ("near", counted.near_in_train)):
            if (marked := int((of_subset.copy_in_train == kind).sum())) != n:
                yield f"{name}: marks {marked:,} {subset} images as {kind} copies, and the audit counts {n:,}"


def _relabelled(predictions: Predictions, audit: Audit) -> Iterator[str]:
    """Subsets whose labels are not as many of each class as the audit counted; of train the split has no labels."""
    for subset, labels in predictions.labels.items():
        counts = np.bincount(labels, minlength=len(predictions.class_names)).tolist()
        if counts != (counted := audit.subsets[subset].class_counts):
            yield f"images per class of {subset} are {counts} in the split, and the audit counts {counted}"


def _inconsistent(predictions: Predictions, audit: Audit) -> Iterator[str]:
    """Figures of the audit that do not follow from its others, from the split or from the records."""
    subsets, like = audit.subsets, predictions.runs[0].record
    for name in ("class_names", "split_source"):
        if (said := getattr(audit, name)) != (given := getattr(like, name)):
            yield f"{name} is {said!r}, and {given!r} in the records"
    wanted: dict[str, tuple[float, float]] = {
        "unique_images": (audit.unique_images, audit.images - audit.exact.images + audit.exact.groups),
        **{f"subsets.{name}.images": (one.images, sum(one.class_counts)) for name, one in subsets.items()},
    }
    if not audit.n_folds:
        totals = np.sum([one.class_counts for one in subsets.values()], axis=0)
        wanted |= {
            "subsets.train.images": (subsets["train"].images, predictions.n_train),
            "images": (audit.images, sum(one.images for one in subsets.values())),
            "imbalance_ratio": (audit.imbalance_ratio, totals.max() / totals[totals > 0].min()),
            "canary.majority": (audit.canary.majority, _majority(predictions, audit)),
        }
    for name, (figure, again) in wanted.items():
        if not math.isclose(figure, again, rel_tol=1e-6):
            yield f"{name} is {figure:,.6g}, and {again:,.6g} by what stands beside it"
    counts = sorted(zip(*(one.class_counts for one in subsets.values()), strict=True))
    if audit.fer2013 and not audit.n_folds and counts != sorted(fer2013.COUNTS.values()):
        yield "fer2013 is true, and the images per class and subset are not FER2013's"
    for kind, groups in (("exact", audit.exact), ("near", audit.near)):
        copied = sum(getattr(one, f"{kind}_in_train") for one in subsets.values())
        if copied and not groups.across:
            yield f"{copied:,} images have {kind} copies in train, and no group of copies is in several subsets"


def _majority(predictions: Predictions, audit: Audit) -> float:
    """How often the most frequent class of train is right on the validation images that the canary looked at."""
    labels = predictions.labels["validation"]
    seen = labels[:: -(-len(labels) // audit.canary.images)]
    return float((seen == np.argmax(audit.subsets["train"].class_counts)).mean())


def data_faults(predictions: Predictions, dataset: Dataset) -> Iterator[str]:
    """What in the split, the marks on its images and the audit is not what the data give."""
    path = predictions.folder.split_path(predictions.split[1]).name
    splits = _splits(predictions, dataset)
    if joint_fingerprint([_fingerprint(split, dataset) for split in splits]) != predictions.split[1]:
        yield f"{path}: its images are not those of the data"
        return
    copies = stored_copies(dataset)
    yield from _otherwise_labelled(path, predictions, splits, dataset)
    yield from _otherwise_known(predictions, np.concatenate([split.test for split in splits]), dataset)
    yield from _otherwise_audited(predictions, splits, dataset, copies)
    if not predictions.split[2]:
        yield from _otherwise_split(path, splits[0], dataset)
        yield from _otherwise_marked(predictions, splits[0], copies)


def _splits(predictions: Predictions, dataset: Dataset) -> list[Split]:
    """The split, or each fold, in rows of `dataset`; whatever is neither validation nor test is train."""
    row = {sample_id: at for at, sample_id in enumerate(dataset.sample_ids.tolist())}
    used = np.ones(len(dataset), dtype=bool)
    if predictions.split[2] and dataset.subsets is not None:  # folds leave official test images out
        used = dataset.subsets != "test"
    splits = []
    for ids in zip(*(predictions.by_fold(subset, predictions.ids[subset]) for subset in SCORED), strict=True):
        validation, test = (np.array([row[one] for one in own.tolist() if one in row], dtype=np.int64) for own in ids)
        is_train = used.copy()
        is_train[np.concatenate([validation, test])] = False
        source, fingerprint = predictions.runs[0].record.split_source, predictions.split[1]
        splits.append(Split(np.flatnonzero(is_train), validation, test, source, fingerprint))
    return splits


def _fingerprint(split: Split, dataset: Dataset) -> str:
    return ids_fingerprint({name: dataset.sample_ids[rows] for name, rows in split.subsets().items()})


def _otherwise_labelled(
    path: str, predictions: Predictions, splits: Sequence[Split], dataset: Dataset
) -> Iterator[str]:
    """Labels that are not those of the data."""
    for subset in SCORED:
        rows = np.concatenate([split.subsets()[subset] for split in splits])
        if wrong := int((dataset.labels[rows] != predictions.labels[subset]).sum()):
            yield f"{path}: {wrong:,} {subset} labels are not those of the data"


def _otherwise_split(path: str, split: Split, dataset: Dataset) -> Iterator[str]:
    """Official subsets that are not the split's."""
    for name, rows in split.subsets().items():
        if name == "train" or dataset.subsets is None or name not in dataset.subsets:
            continue
        if n := len(np.setxor1d(rows, np.flatnonzero(dataset.subsets == name))):
            yield f"{path}: {n:,} images are in {name} and officially are not, or the other way round"


def _otherwise_known(predictions: Predictions, tested: np.ndarray, dataset: Dataset) -> Iterator[str]:
    """Who is on the test images, at the rows `tested`, and their slices and votes, where the data know them."""
    name = predictions.folder.images_path(predictions.split[1]).name
    groups, known = predictions.groups("test"), dataset.groups
    if (groups is None) != (known is None):
        told = "the data know groups of images, and it does not"
        yield f"{name}: {told if groups is None else 'it knows groups of images, and the data as read here do not'}"
    elif groups is not None and known is not None:
        pairs = np.unique(np.stack([groups, np.unique(known, return_inverse=True)[1][tested]]), axis=1).shape[1]
        if not pairs == len(np.unique(groups)) == len(np.unique(known[tested])):
            yield f"{name}: its groups of images are not those of the data"
    for of, values in predictions.slices.items():
        if of in dataset.slices and (n := int((values != dataset.slices[of][tested]).sum())):
            yield f"{name}: {of} of {n:,} test images is not that of the data"
    facts = predictions.image_facts("test")
    votes = None if facts is None else facts.votes
    if votes is not None and dataset.votes is not None and not np.array_equal(votes, dataset.votes[tested]):
        yield f"{name}: its votes are not those of the data"


def _otherwise_marked(predictions: Predictions, split: Split, copies: Copies) -> Iterator[str]:
    """Images marked as copies that the data do not give, or not marked."""
    marks = copies_in_train(split, copies)
    name = predictions.folder.images_path(predictions.split[1]).name
    for subset in SCORED:
        facts, own = predictions.image_facts(subset), marks[split.subsets()[subset]]
        n = 0 if facts is None else int((facts.copy_in_train != own).sum())
        if n > SAME_COPIES * (own != "").sum():
            yield f"{name}: {n:,} {subset} images are marked otherwise as copies than the data give"


def _otherwise_audited(
    predictions: Predictions, splits: Sequence[Split], dataset: Dataset, copies: Copies
) -> Iterator[str]:
    """Figures that the audit and the data do not both give."""
    if (found := predictions.audit_file()) is None:
        return
    name, audit = found[0].name, found[1]
    said = dict(_figures(audit.model_dump()))
    again = dict(_figures(Audit.model_validate(make_audit(dataset, splits, copies)).model_dump()))
    for figure in sorted(said.keys() | again.keys()):
        if not _agree(figure, old := said.get(figure), new := again.get(figure)):
            yield f"{name}: {figure} is {old!r}, and {new!r} from the data"


def _figures(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every figure of an audit by its place in it, "canary.linear"."""
    if not isinstance(value, dict):
        yield name, value
        return
    for key, part in value.items():
        if name or key not in AS_TOLD:
            yield from _figures(part, f"{name}.{key}" if name else key)


def _agree(figure: str, said: Any, again: Any) -> bool:
    if isinstance(said, float) and isinstance(again, float):
        return math.isclose(said, again, rel_tol=0, abs_tol=SAME_SHARE)
    if isinstance(again, int) and ("near" in figure or "mirrored" in figure):
        return math.isclose(said, again, rel_tol=SAME_COPIES)
    return bool(said == again)
