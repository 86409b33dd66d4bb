"""The leak gate: evidence that a score says more about the data or the procedure than about the model.

Every rule is a sentence with the figures in it. A row with any evidence against it, or against its data, is marked
LEAK SUSPECT and not ranked. Copies that a dataset is known and distributed with, as FER2013 is, stay below the limits:
for them every score stands beside the one without such images.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import sqrt

from fer_bench.records.audit import Audit
from fer_bench.records.schema import Record

MARK = "LEAK SUSPECT"
EXACT_LIMIT = 0.10
"""Share of a subset with exact copies in train (FER2013 as distributed: 8 %)."""
COPY_LIMIT = 0.25
"""Share of a subset with exact or near copies in train (FER2013 as distributed: 19 %)."""
CANARY_MARGIN = 0.25
"""By how much one nearest neighbour on pixels may beat a linear classifier on them, beside three standard errors
(FER2013: 0.05)."""
TOO_GOOD = 0.95
EASY = 0.9
"""Accuracy of the linear classifier on pixels from which data are so easy that a model may be that good."""
FER2013_CEILING = 0.77
"""The best published ensemble has 0.768 on FER2013's test images: Pham, Vu and Tran, "Facial Expression Recognition
Using Residual Masking Network", ICPR 2020."""
CHANCE, UNLIKE = 1e-3, 0.05
"""Probabilities, under equal class shares, below which two histograms differ, and below which they are not alike."""
SHARE_MOVED = 0.05
"""Share of the images that would have to change class for two histograms to agree, below which they agree."""
EVEN = 1.05
"""Ratio of largest to smallest class up to which a histogram counts as levelled."""


def overlapping(validation_ids: Iterable[str], test_ids: Iterable[str]) -> bool:
    """Whether any image is in both: what selects has then seen what is reported."""
    return not {str(i) for i in validation_ids}.isdisjoint(str(i) for i in test_ids)


def suspicions(record: Record, selects_on_test: bool = False, audit: Audit | None = None) -> tuple[str, ...]:
    """Evidence against one run, one line each; none where nothing is known against it.

    selects_on_test: whether validation and test images of the stored predictions are `overlapping`.
    audit: that of the record's data and split, where there is one; that of others says nothing about the run.
    """
    of_this = audit and audit.fingerprints == (record.spec.data_fingerprint, record.spec.split_fingerprint)
    return tuple(_against_run(record, selects_on_test, audit if of_this else None))


def _against_run(record: Record, selects_on_test: bool, audit: Audit | None) -> Iterator[str]:
    if selects_on_test:
        yield "it was selected on the images it is reported on: validation and test share images"
    if record.validation and audit:
        natural = audit.subsets["validation"].class_counts
        counts = [scores.support for scores in record.validation.per_class]
        if counts != natural:
            yield (
                f"its validation images per class are {_listed(counts)}, those of the data are {_listed(natural)}: "
                "the validation set was resampled or exchanged"
            )
    easy = audit is not None and audit.canary.linear >= EASY
    name, first = ("validation", record.validation) if record.validation else ("test", record.test)
    if first and first.accuracy > TOO_GOOD and not easy:
        yield f"{_percent(first.accuracy)} {name} accuracy: expressions are not told apart that well"
    for name, scores in (("validation", record.validation), ("test", record.test)):
        if audit and audit.fer2013 and scores and scores.accuracy > FER2013_CEILING:
            yield f"{_percent(scores.accuracy)} on FER2013's {name} images: the best published ensembles reach 77 %"


def data_suspicions(audit: Audit) -> tuple[str, ...]:
    """Evidence against a dataset and its split, one line each."""
    return (*_copies(audit), *_histograms(audit), *_canary(audit))


def _copies(audit: Audit) -> Iterator[str]:
    for name, subset in audit.subsets.items():
        exact, copies = subset.exact_in_train, subset.exact_in_train + subset.near_in_train
        told = f"of {subset.images:,} {name} images"
        if subset.drawn and copies:
            yield f"{copies:,} {told} have a copy in train, though a drawn split keeps copies together"
        elif exact > EXACT_LIMIT * subset.images:
            yield f"{exact:,} {told} ({_percent(exact / subset.images)}) are exact copies of training images"
        elif copies > COPY_LIMIT * subset.images:
            yield f"{copies:,} {told} ({_percent(copies / subset.images)}) are exact or near copies of training images"
        if subset.exact_in_validation > EXACT_LIMIT * subset.images:
            yield (
                f"{subset.exact_in_validation:,} {told} are exact copies of validation images: "
                "what selects has seen what is reported"
            )
    if audit.straddling_groups:
        yield f"{audit.straddling_groups:,} of the given groups (people or clips) are in more than one subset"


def _histograms(audit: Audit) -> Iterator[str]:
    """A validation set that is like neither train nor test was resampled; so was a levelled one beside a natural test.

    Levelled test sets are common and honest, so that validation may differ from one of the two.
    """
    train, validation, test = (audit.subsets[name].class_counts for name in ("train", "validation", "test"))
    pool = [sum(pair) for pair in zip(train, validation, strict=True)]
    if _differ(validation, train) and _differ(validation, test, UNLIKE):
        yield f"validation images per class ({_listed(validation)}) follow neither train nor test: it was resampled"
    elif _is_even(pool) and _differ(pool, test):
        yield (
            "train and validation together have the same number of images in every class, "
            f"test does not ({_listed(test)}): resampled before the split"
        )


def _canary(audit: Audit) -> Iterator[str]:
    canary = audit.canary
    expected = max(canary.linear, canary.majority)
    variances = [share * (1 - share) / canary.images for share in (canary.nearest_neighbour, expected)]
    if canary.nearest_neighbour > expected + CANARY_MARGIN + 3 * sqrt(sum(variances)):
        yield (
            f"the nearest training image tells {_percent(canary.nearest_neighbour)} of the validation labels "
            f"by pixels alone, a linear classifier {_percent(canary.linear)}: train seems to hold their copies"
        )


def _differ(counts: list[int], others: list[int], chance: float = CHANCE) -> bool:
    """Whether two histograms differ by more than chance and by enough to matter: chi-square, and total variation."""
    import numpy as np

    table = np.array([counts, others])
    shares = table / table.sum(axis=1, keepdims=True)
    if np.abs(shares[0] - shares[1]).sum() / 2 < SHARE_MOVED:
        return False
    from scipy.stats import chi2_contingency  # here, as it takes a second to import and most calls end above

    return bool(chi2_contingency(table[:, table.sum(axis=0) > 0]).pvalue < chance)


def _is_even(counts: list[int]) -> bool:
    return max(counts) <= EVEN * min(counts)


def _listed(counts: list[int]) -> str:
    return ", ".join(f"{count:,}" for count in counts)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
