"""The leak gate: evidence that a score says more about the data or the procedure than about the model.

A row with any evidence against it, or against its data, is not ranked. Copies that a dataset is known and distributed
with, as FER2013 is, stay below the limits: for them every score stands beside the one without such images.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import sqrt
from typing import TYPE_CHECKING, NamedTuple

from fer_bench.analysis.findings import Finding
from fer_bench.data import fer2013
from fer_bench.errors import FerBenchError
from fer_bench.records import Audit

if TYPE_CHECKING:
    from fer_bench.records import ReadableFolder
    from fer_bench.records.schema import Record, Scores

EXACT_LIMIT = 0.10
"""Share of a subset with exact copies in train (FER2013 as distributed: 8 %)."""
COPY_LIMIT = 1 / 3
"""Share of a subset with exact or near copies in train (FER2013 as distributed: 29 %)."""
CANARY_MARGIN = 0.25
"""By how much one nearest neighbour on pixels may beat a linear classifier on them, beside three standard errors
(FER2013: 0.05)."""
TOO_GOOD = 0.1
"""Share of the errors of the better linear classifier, of pixels or of gradients, that a model makes at least."""
EASIEST = 0.5
"""Accuracy of these classifiers where none was tried."""
ERRORS = 2.0
"""Standard errors by which an accuracy must be beyond what is credible."""
FAR_ABOVE, FAR_ERRORS = 0.05, 5.0
"""By how much accuracy on test may be above that on validation: a share, and standard errors of the difference. Of 262
honest runs on FER2013 and the built-in faces the most is 2.8 standard errors."""
FER2013_CEILING = 0.77
"""The best published ensemble has 0.768 on FER2013's test images: Pham, Vu and Tran, "Facial Expression Recognition
Using Residual Masking Network", ICPR 2020."""
CHANCE, UNLIKE = 1e-3, 0.05
"""Probabilities, under equal class shares, below which two histograms differ, and below which they are not alike."""
SHARE_MOVED = 0.05
"""Share of the images that would have to change class for two histograms to agree, below which they agree."""
EVEN = 1.05
"""Ratio of largest to smallest class up to which a histogram counts as levelled."""


def against_run(
    records: Sequence[Record], audit: Audit | None = None, has_selected_on_test: bool = False
) -> tuple[Finding, ...]:
    """Evidence against one run, by its record, or by those of its folds; none where nothing is known against it.

    audit: of its data and split or folds, or None.
    """
    return (*_selection(records, audit, has_selected_on_test), *_heights(records, audit))


def selects_on_test(folder: ReadableFolder, record: Record) -> bool:
    """Whether validation and test images of the stored predictions overlap: what selects has seen what is reported."""
    try:
        arrays = folder.predictions(record.run_id) or {}
    except FerBenchError:  # damaged, which is told where it is scored
        return False
    validation, test = (arrays.get(f"{subset}_ids", ()) for subset in ("validation", "test"))
    return not set(map(str, validation)).isdisjoint(map(str, test))


def _selection(records: Sequence[Record], audit: Audit | None, has_selected_on_test: bool) -> Iterator[Finding]:
    if has_selected_on_test:
        yield Finding("SELECTED_ON_TEST")
    validated = [record.validation for record in records if record.validation]
    if audit and len(validated) == max(1, audit.n_folds):
        natural = audit.subsets["validation"].class_counts
        supports = [[of_class.support for of_class in scores.per_class] for scores in validated]
        counts = [sum(of_class) for of_class in zip(*supports, strict=True)]
        if counts != natural:
            yield Finding("VALIDATION_EXCHANGED", {"counts": counts, "natural": natural})


class _Height(NamedTuple):
    """An accuracy, and how many images it is of."""

    accuracy: float
    n: int

    @classmethod
    def of(cls, scored: Iterable[Scores | None]) -> _Height | None:
        known = [scores for scores in scored if scores]
        n = sum(scores.n_images for scores in known)
        return cls(sum(scores.accuracy * scores.n_images for scores in known) / n, n) if n else None


def _heights(records: Sequence[Record], audit: Audit | None) -> Iterator[Finding]:
    validation, test = (_Height.of(getattr(one, subset) for one in records) for subset in ("validation", "test"))
    both = _Height.of(scores for one in records for scores in (one.validation, one.test))
    if both is None:
        return
    ceiling = _credible(audit)
    if _bound(both.accuracy, both.n, -ERRORS) > ceiling:
        yield Finding("TOO_GOOD", {"accuracy": both.accuracy, "n_images": both.n, "ceiling": ceiling})
    if validation and test:
        yield from _apart(validation, test)
    is_fer2013 = records[0].spec.data_fingerprint == fer2013.FINGERPRINT or (audit is not None and audit.fer2013)
    for name, height in (("validation", validation), ("test", test)):
        if is_fer2013 and height and height.accuracy > FER2013_CEILING:
            yield Finding("ABOVE_PUBLISHED", {"subset": name, "accuracy": height.accuracy, "ceiling": FER2013_CEILING})


def _credible(audit: Audit | None) -> float:
    """The accuracy that a model may have: where a linear classifier is nearly as good, data are easy, and no leak."""
    if audit is None:
        return 1 - TOO_GOOD * (1 - EASIEST)
    linear = max(audit.canary.linear, audit.canary.gradients)
    return 1 - TOO_GOOD * (1 - _bound(linear, audit.canary.images, ERRORS))


def _bound(accuracy: float, n: int, errors: float) -> float:
    """The end of the score interval of an accuracy on n images, so many standard errors away (Wilson 1927)."""
    shift = errors**2 / n
    return (accuracy + shift / 2 + errors * sqrt((accuracy * (1 - accuracy) + shift / 4) / n)) / (1 + shift)


def _apart(validation: _Height, test: _Height) -> Iterator[Finding]:
    """Test images can be harder than validation images, and a little easier; never by far, unless they were seen."""
    n, m = test.n, validation.n
    pooled = (test.accuracy * n + validation.accuracy * m) / (n + m)
    error = sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    if test.accuracy - validation.accuracy > max(FAR_ABOVE, FAR_ERRORS * error):
        values = {"test": test.accuracy, "validation": validation.accuracy, "n_test": n, "n_validation": m}
        yield Finding("TEST_ABOVE_VALIDATION", values)


def against_data(audit: Audit) -> tuple[Finding, ...]:
    """Evidence against a dataset and its split."""
    return (*_copies(audit), *_histograms(audit), *_canary(audit))


def _copies(audit: Audit) -> Iterator[Finding]:
    for name, subset in audit.subsets.items():
        exact, copies = subset.exact_in_train, subset.exact_in_train + subset.near_in_train
        of = {"subset": name, "n_images": subset.images}
        if subset.drawn and copies:
            yield Finding("COPIES_IN_DRAWN_SPLIT", {"n": copies, **of})
        elif exact > EXACT_LIMIT * subset.images:
            yield Finding("MANY_EXACT_COPIES", {"n": exact, **of})
        elif copies > COPY_LIMIT * subset.images:
            yield Finding("MANY_COPIES", {"n": copies, **of})
        if subset.exact_in_validation > EXACT_LIMIT * subset.images:
            yield Finding("COPIES_IN_VALIDATION", {"n": subset.exact_in_validation, **of})
    if audit.straddling_groups:
        yield Finding("GROUPS_ACROSS_SUBSETS", {"n": audit.straddling_groups})


def _histograms(audit: Audit) -> Iterator[Finding]:
    """A validation set that is like neither train nor test was resampled; so was a levelled one beside a natural test.

    Levelled test sets are common and honest, so that validation may differ from one of the two; a test set without
    one of the classes is not natural.
    """
    train, validation, test = (audit.subsets[name].class_counts for name in ("train", "validation", "test"))
    pool = [sum(pair) for pair in zip(train, validation, strict=True)]
    if _differ(validation, train) and _differ(validation, test, UNLIKE):
        yield Finding("VALIDATION_RESAMPLED", {"counts": validation})
    elif max(pool) <= EVEN * min(pool) and min(test) > 0 and _differ(pool, test):
        yield Finding("RESAMPLED_BEFORE_SPLIT", {"counts": test})


def _canary(audit: Audit) -> Iterator[Finding]:
    canary = audit.canary
    expected = max(canary.linear, canary.majority)
    variances = [share * (1 - share) / canary.images for share in (canary.nearest_neighbour, expected)]
    if canary.nearest_neighbour > expected + CANARY_MARGIN + 3 * sqrt(sum(variances)):
        values = {"nearest_neighbour": canary.nearest_neighbour, "linear": canary.linear}
        yield Finding("NEAREST_NEIGHBOUR_KNOWS", values)


def _differ(counts: Sequence[int], others: Sequence[int], chance: float = CHANCE) -> bool:
    """Whether two histograms differ by more than chance and by enough to matter: chi-square, and total variation."""
    import numpy as np

    table = np.array([counts, others])
    shares = table / table.sum(axis=1, keepdims=True)
    if np.abs(shares[0] - shares[1]).sum() / 2 < SHARE_MOVED:
        return False
    from scipy.stats import chi2_contingency  # here, as it takes a second to import and most calls end above

    return bool(chi2_contingency(table[:, table.sum(axis=0) > 0]).pvalue < chance)
