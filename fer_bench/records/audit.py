"""The schema of audit.json: what is known of a dataset and its split before anything is trained on them."""

from __future__ import annotations

from pathlib import Path

from pydantic import NonNegativeInt, PositiveInt, ValidationError, model_validator

from fer_bench.errors import FerBenchError
from fer_bench.records.schema import Fraction, Part, first_problem


class SubsetAudit(Part):
    """One subset. Images, images of each class, and how many of the images have copies elsewhere.

    near_in_train: images with near, but no exact copies in train; 0 for train itself, as is exact_in_train.
    exact_in_validation: of the test images alone.
    """

    drawn: bool
    images: PositiveInt
    class_counts: list[NonNegativeInt]
    blank: NonNegativeInt
    exact_in_train: NonNegativeInt
    near_in_train: NonNegativeInt
    exact_in_validation: NonNegativeInt


class GroupsAudit(Part):
    """Groups of two or more rows. across: groups with rows in several subsets. conflicting: with several labels."""

    groups: NonNegativeInt
    images: NonNegativeInt
    largest: NonNegativeInt
    across: NonNegativeInt
    conflicting: NonNegativeInt


class Canary(Part):
    """Accuracy on validation images of classifiers of seconds: how easy the data are.

    Of pixels nearest_neighbour remembers train, linear (ridge regression) cannot; gradients is ridge regression on
    histograms of gradients; majority looks at nothing.
    """

    images: PositiveInt
    nearest_neighbour: Fraction
    linear: Fraction
    gradients: Fraction
    majority: Fraction


class Audit(Part):
    """The audit of one dataset under one split, or under folds: then subsets are summed over them.

    n_folds: how many, 0 for the one split.
    exact: groups of equal images. near: groups of near copies, where copies of copies belong together, and their exact
    copies. straddling_groups: given groups (people, clips) with rows in several subsets, None where none are given.
    grouped_by: "person", "image" or "clip", "" where none are; groups_from: how they are known; n_groups: how many.
    notes: on how the data were read.
    fer2013: whether the images per class and subset are FER2013's; fer2013_differences: what is not, where data look
    like FER2013. class_sorted: rows come sorted by class. appearance: by held-out subset and measure,
    see `fer_bench.data.appearance.differences`.
    """

    dataset: str
    data_fingerprint: str
    split_fingerprint: str
    split_source: str
    n_folds: NonNegativeInt
    class_names: list[str]
    images: int
    unique_images: int
    imbalance_ratio: float
    class_sorted: bool
    fer2013: bool
    fer2013_differences: list[str]
    subsets: dict[str, SubsetAudit]
    exact: GroupsAudit
    near: GroupsAudit
    near_pairs: int
    mirrored_pairs: int
    near_threshold: Fraction
    straddling_groups: int | None
    grouped_by: str
    groups_from: str
    n_groups: NonNegativeInt
    appearance: dict[str, dict[str, Fraction]]
    notes: tuple[str, ...]
    canary: Canary
    blank_ids: list[str]

    @model_validator(mode="after")
    def _counts_every_class_of_every_subset(self) -> Audit:
        counts = [len(one.class_counts) for one in self.subsets.values()]
        if list(self.subsets) != ["train", "validation", "test"] or counts != 3 * [len(self.class_names)]:
            raise ValueError("subsets must be train, validation and test, each with a count for each class")
        return self

    @classmethod
    def load(cls, path: Path) -> Audit:
        """The audit in the file `path`. Raises FileNotFoundError, or FerBenchError where it is damaged."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise FerBenchError(f"{path}: {first_problem(error)}; delete it and run `fer_bench audit` again") from error

    @property
    def fingerprints(self) -> tuple[str, str]:
        """Of data and split."""
        return self.data_fingerprint, self.split_fingerprint
