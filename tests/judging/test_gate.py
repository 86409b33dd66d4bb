"""The leak gate: planted leaks are caught with their figures, clean data and runs are left alone."""

import numpy as np
import pytest

from fer_bench.judging.gate import data_suspicions, overlapping, suspicions
from fer_bench.records.audit import Audit, Canary, GroupsAudit, SubsetAudit

NATURAL = [28, 3, 28, 50, 34, 22, 35]
NO_GROUPS = GroupsAudit(groups=0, images=0, largest=1, across=0, conflicting=0)


def subset(counts=NATURAL, **fields) -> SubsetAudit:
    values = {"drawn": False, "blank": 0, "exact_in_train": 0, "near_in_train": 0, "exact_in_validation": 0}
    return SubsetAudit(images=sum(counts), class_counts=list(counts), **{**values, **fields})


def audit(**fields) -> Audit:
    values = {
        "dataset": "faces", "data_fingerprint": "d" * 16, "split_fingerprint": "s" * 16, "split_source": "official",
        "class_names": list("abcdefg"), "images": 2000, "unique_images": 2000, "imbalance_ratio": 16.7,
        "class_sorted": False, "fer2013": False, "fer2013_differences": [], "exact": NO_GROUPS, "near": NO_GROUPS,
        "near_pairs": 0, "mirrored_pairs": 0, "near_threshold": 0.85, "straddling_groups": None, "blank_ids": [],
        "canary": Canary(images=200, nearest_neighbour=0.42, linear=0.36, majority=0.25),
        "subsets": {"train": subset(np.multiply(NATURAL, 8)), "validation": subset(), "test": subset()},
    }  # fmt: skip
    return Audit(**{**values, **fields})


def with_subset(name, **fields) -> Audit:
    clean = audit()
    return audit(subsets={**clean.subsets, name: subset(**fields)})


def test_clean_data_pass():
    assert data_suspicions(audit()) == ()


def test_fer2013_as_distributed_passes():
    """Its figures: 8 % exact and 19 % copies in all, slightly other shares of classes in validation."""
    counts = {
        "train": [3995, 436, 4097, 7215, 4830, 3171, 4965],
        "validation": [467, 56, 496, 895, 653, 415, 607],
        "test": [491, 55, 528, 879, 594, 416, 626],
    }
    held_out = {"exact_in_train": 288, "near_in_train": 394}
    subsets = {name: subset(rows, **(held_out if name != "train" else {})) for name, rows in counts.items()}
    assert data_suspicions(audit(subsets=subsets, fer2013=True)) == ()


def test_a_levelled_test_set_by_design_passes():
    assert data_suspicions(with_subset("test", counts=[30] * 7)) == ()
    clean = audit()
    levelled = {"validation": subset([30] * 7), "test": subset([30] * 7)}
    assert data_suspicions(audit(subsets={**clean.subsets, **levelled})) == ()


def test_a_canary_that_saw_few_images_says_nothing():
    assert data_suspicions(audit(canary=Canary(images=10, nearest_neighbour=0.8, linear=0.5, majority=0.5))) == ()


LEAKY_DATA = {
    "exact copies in the test set": (with_subset("test", exact_in_train=30), "30 of 200 test images"),
    "exact copies in validation": (with_subset("validation", exact_in_train=190), "95.0 %"),
    "near copies": (with_subset("test", exact_in_train=10, near_in_train=45), "exact or near copies of training"),
    "a copy across a drawn split": (with_subset("test", drawn=True, near_in_train=1), "a drawn split keeps"),
    "validation images in the test set": (with_subset("test", exact_in_validation=200), "copies of validation images"),
    "groups in two subsets": (audit(straddling_groups=3), "3 of the given groups"),
    "a resampled validation set": (with_subset("validation", counts=[30] * 7), "it was resampled"),
    "over-sampled before the split": (
        audit(subsets={"train": subset([395] * 7), "validation": subset([45] * 7), "test": subset()}),
        "resampled before the split",
    ),
    "a canary that remembers": (
        audit(canary=Canary(images=200, nearest_neighbour=0.88, linear=0.38, majority=0.15)),
        "88.0 % of the validation labels",
    ),
}


@pytest.mark.parametrize("leak", LEAKY_DATA)
def test_a_leak_in_the_data_is_caught(leak):
    leaky, evidence = LEAKY_DATA[leak]
    found = data_suspicions(leaky)
    assert len(found) == 1
    assert evidence in found[0]


def supports(record) -> list[int]:
    return [scores.support for scores in record.validation.per_class]


def audit_of(record, **fields) -> Audit:
    validation = subset(supports(record))
    return audit(subsets={**audit().subsets, "validation": validation}, **fields)


def test_an_honest_run_passes(make_record):
    record = make_record(skill=2.0)
    assert suspicions(record) == ()
    assert suspicions(record, False, audit_of(record)) == ()
    assert suspicions(make_record(status="failed", reason="crashed"), False, audit()) == ()


def test_a_run_selected_on_its_test_images_is_caught(make_record):
    assert overlapping(np.array(["a", "b"]), np.array(["c", "b"]))
    assert not overlapping(np.array(["a", "b"]), np.array(["c"]))
    assert "selected on the images it is reported on" in suspicions(make_record(), selects_on_test=True)[0]


def test_a_run_scored_on_a_resampled_validation_set_is_caught(make_record):
    record = make_record()
    found = suspicions(record, False, with_subset("validation", counts=[max(supports(record))] * 7))
    assert len(found) == 1
    assert "resampled or exchanged" in found[0]


def test_the_audit_of_other_data_says_nothing_about_a_run(make_record):
    other = audit(data_fingerprint="e" * 16, subsets={**audit().subsets, "validation": subset([9] * 7)})
    assert suspicions(make_record(), False, other) == ()


def test_perfect_validation_is_caught_unless_pixels_tell_the_classes_apart(make_record):
    record = make_record(skill=30.0)
    assert record.validation.accuracy > 0.95
    assert "100.0 % validation accuracy" in suspicions(record)[0]
    easy = audit_of(record, canary=Canary(images=200, nearest_neighbour=1.0, linear=1.0, majority=0.25))
    assert suspicions(record, False, easy) == ()


def test_a_perfect_test_score_without_validation_is_caught(make_record):
    record = make_record(skill=30.0).model_copy(update={"validation": None})
    assert "100.0 % test accuracy" in suspicions(record)[0]


def test_fer2013_accuracy_that_nobody_reaches_is_caught(make_record):
    record = make_record(skill=2.4)
    assert 0.77 < record.test.accuracy <= 0.95
    assert suspicions(record, False, audit_of(record)) == ()
    found = suspicions(record, False, audit_of(record, fer2013=True))
    assert any("on FER2013's test images" in line for line in found)
