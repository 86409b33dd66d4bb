"""The leak gate: planted leaks are caught with their figures, clean data and runs are left alone."""

import numpy as np
import pytest
from stored import NATURAL, make_audit, subset_audit

from fer_bench.analysis import Predictions, against_data
from fer_bench.analysis.evidence.leakage import against_run, selects_on_test
from fer_bench.errors import FerBenchError
from fer_bench.metrics import score
from fer_bench.records import Audit, Canary


def canary(nearest_neighbour: float, linear: float, majority: float, images: int = 200) -> Canary:
    return Canary(images=images, nearest_neighbour=nearest_neighbour, linear=linear, gradients=0, majority=majority)


def with_subset(name: str, counts=NATURAL, **fields) -> Audit:
    return make_audit(subsets={**make_audit().model_dump()["subsets"], name: subset_audit(counts, **fields)})


def codes(findings) -> list[str]:
    return [finding.code for finding in findings]


FER2013 = {
    "train": [3995, 436, 4097, 7215, 4830, 3171, 4965],
    "validation": [467, 56, 496, 895, 653, 415, 607],
    "test": [491, 55, 528, 879, 594, 416, 626],
}
HELD_OUT_COPIES = {"exact_in_train": 288, "near_in_train": 739}  # 8 % exact, 29 % in all
HONEST = {
    "clean": make_audit(),
    "FER2013 as distributed": make_audit(
        subsets={n: subset_audit(rows, **(HELD_OUT_COPIES if n != "train" else {})) for n, rows in FER2013.items()},
        fer2013=True,
    ),
    "a levelled test set": with_subset("test", [30] * 7),
    "levelled validation and test": make_audit(
        subsets={
            "train": subset_audit([8 * n for n in NATURAL]),
            **{name: subset_audit([30] * 7) for name in ("validation", "test")},
        }
    ),
    "a canary that saw few images": make_audit(canary=canary(0.8, 0.5, 0.5, images=10)),
}


@pytest.mark.parametrize("data", HONEST)
def test_honest_data_pass(data):
    assert against_data(HONEST[data]) == ()


LEAKS = {
    "exact copies in the test set": (
        with_subset("test", exact_in_train=30),
        ("MANY_EXACT_COPIES", {"subset": "test", "n": 30, "n_images": 200}),
    ),
    "exact copies in validation": (
        with_subset("validation", exact_in_train=190),
        ("MANY_EXACT_COPIES", {"subset": "validation", "n": 190, "n_images": 200}),
    ),
    "near copies": (
        with_subset("test", exact_in_train=10, near_in_train=60),
        ("MANY_COPIES", {"subset": "test", "n": 70, "n_images": 200}),
    ),
    "a copy across a drawn split": (
        with_subset("test", drawn=True, near_in_train=1),
        ("COPIES_IN_DRAWN_SPLIT", {"subset": "test", "n": 1, "n_images": 200}),
    ),
    "validation images in the test set": (
        with_subset("test", exact_in_validation=200),
        ("COPIES_IN_VALIDATION", {"subset": "test", "n": 200, "n_images": 200}),
    ),
    "groups in two subsets": (make_audit(straddling_groups=3), ("GROUPS_ACROSS_SUBSETS", {"n": 3})),
    "a resampled validation set": (
        with_subset("validation", [30] * 7),
        ("VALIDATION_RESAMPLED", {"counts": [30] * 7}),
    ),
    "over-sampled before the split": (
        make_audit(
            subsets={
                "train": subset_audit([395] * 7), "validation": subset_audit([45] * 7), "test": subset_audit(NATURAL),
            }
        ),
        ("RESAMPLED_BEFORE_SPLIT", {"counts": NATURAL}),
    ),
    "a canary that remembers": (
        make_audit(canary=canary(0.88, 0.38, 0.15)),
        ("NEAREST_NEIGHBOUR_KNOWS", {"nearest_neighbour": 0.88, "linear": 0.38}),
    ),
}  # fmt: skip


@pytest.mark.parametrize("leak", LEAKS)
def test_a_leak_in_the_data_is_caught(leak):
    leaky, (code, values) = LEAKS[leak]
    (found,) = against_data(leaky)
    assert found.code == code
    assert values.items() <= dict(found.values).items()


@pytest.fixture
def accurate(stored_runs):
    """accurate(share) -> the record of a run that is right about so many of 90 images."""

    def make(share: float, **fields):
        labels = stored_runs.labels["test"]
        wrong = np.arange(len(labels)) >= round(share * len(labels))
        rows = np.eye(3, dtype=np.float32)[(labels + wrong) % 3]
        return stored_runs.record("hog-svm", {"validation": rows, "test": rows}, **fields)

    return make


def own_audit(n=30, **fields) -> Audit:
    """Of data whose validation images are those of `accurate`, n of each class."""
    subsets = {name: subset_audit([n] * 3) for name in ("train", "validation", "test")}
    return make_audit(subsets=subsets, class_names=["top", "middle", "bottom"], **fields)


def test_an_honest_run_passes(accurate):
    assert against_run([accurate(0.7)]) == against_run([accurate(0.7)], own_audit()) == ()
    failed = accurate(0.7, status="failed", reason="crashed", test=None, validation=None)
    assert against_run([failed], own_audit()) == ()


def test_a_run_selected_on_its_test_images_is_caught(accurate, stored_runs):
    assert codes(against_run([accurate(0.7)], None, True)) == ["SELECTED_ON_TEST"]
    honest = stored_runs.find("hog-svm")
    assert not selects_on_test(stored_runs.folder, honest)
    path = stored_runs.predictions_path(honest)
    with np.load(path) as arrays:
        np.savez(path, **(dict(arrays) | {"validation_ids": arrays["test_ids"][::-1]}))
    assert selects_on_test(stored_runs.folder, honest)


def test_a_run_scored_on_a_resampled_validation_set_is_caught(accurate):
    labels = np.array([0, 0, 1, 2])
    resampled = accurate(0.7, validation=score(labels, np.eye(3)[[0, 1, 1, 0]], ("top", "middle", "bottom")))
    (found,) = against_run([resampled], own_audit())
    assert (found.code, found.values) == ("VALIDATION_EXCHANGED", {"counts": [2, 1, 1], "natural": [30, 30, 30]})


def test_the_audit_of_other_data_says_nothing_and_a_damaged_one_is_refused(stored_runs):
    predictions = Predictions.newest(stored_runs.folder)
    assert predictions.audit is None
    stored_runs.write_audit(data_fingerprint="e" * 16)
    assert predictions.audit is None
    stored_runs.write_audit()
    assert predictions.audit.fingerprints == ("d" * 16, stored_runs.split)
    stored_runs.folder.audit_path().write_text("{")
    with pytest.raises(FerBenchError, match=r"audit\.json"):
        _ = predictions.audit


def test_what_is_too_good_follows_from_the_images_and_from_a_linear_model(accurate):
    hard, easy = own_audit(canary=canary(0.3, 0.35, 0.25)), own_audit(canary=canary(1, 0.97, 0.25))
    (found,) = against_run([accurate(1.0)], hard)
    assert found.code == "TOO_GOOD" and found.values["n_images"] == 180 and 0.93 < found.values["ceiling"] < 0.95
    assert (
        codes(against_run([accurate(1.0)]))
        == codes(against_run([accurate(1.0, validation=None)], hard))
        == ["TOO_GOOD"]
    )
    assert against_run([accurate(1.0)], easy) == ()
    assert against_run([accurate(0.95)], hard) == ()  # a bound of 180 images, not their share
    few = np.arange(21) % 3
    nearly = score(few, np.eye(3)[np.where(np.arange(21) == 0, 1, few)], ("top", "middle", "bottom"))
    assert against_run([accurate(0.7, validation=None, test=nearly)], hard) == ()  # 20 of 21


def test_test_far_above_validation_is_caught(accurate):
    low = accurate(0.5).validation
    (found,) = against_run([accurate(0.9, validation=low)], own_audit())
    assert found.code == "TEST_ABOVE_VALIDATION" and (found.values["test"], found.values["n_test"]) == (0.9, 90)
    assert against_run([accurate(0.7, validation=low)], own_audit()) == ()  # 2.7 standard errors
    assert against_run([accurate(0.5, validation=accurate(0.9).validation)], own_audit()) == ()


def test_fer2013_accuracy_that_nobody_reaches_is_caught(accurate):
    assert against_run([accurate(0.8)], own_audit()) == ()
    assert codes(against_run([accurate(0.8)], own_audit(fer2013=True))) == ["ABOVE_PUBLISHED"] * 2


def test_folds_are_judged_by_all_their_images_together(accurate):
    folds = own_audit(60, n_folds=2)
    low, high = accurate(0.8, validation=accurate(0.6).validation), accurate(0.9, validation=accurate(0.6).validation)
    assert against_run([low], folds) == against_run([high], folds) == ()  # a fold alone says little
    (found,) = against_run([low, high], folds)
    assert found.code == "TEST_ABOVE_VALIDATION" and (found.values["n_test"], found.values["n_validation"]) == (
        180,
        180,
    )
    resampled = accurate(0.7, validation=score(np.array([0, 1, 2]), np.eye(3), ("top", "middle", "bottom")))
    assert codes(against_run([accurate(0.7), resampled], folds)) == ["VALIDATION_EXCHANGED"]


def test_a_linear_classifier_of_gradients_tells_easy_data_too(accurate):
    seen = own_audit(canary=canary(0.3, 0.35, 0.25).model_copy(update={"gradients": 0.97}))
    assert against_run([accurate(1.0)], seen) == ()


def test_equally_many_of_each_class_in_train_are_no_leak_where_test_lacks_a_class():
    subsets = {"train": [54, 54], "validation": [6, 6], "test": [20, 0]}
    audit = make_audit(
        subsets={name: subset_audit(counts) for name, counts in subsets.items()}, class_names=["happy", "sad"]
    )
    assert against_data(audit) == ()
