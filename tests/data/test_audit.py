"""The audit, on data in which every fault was planted and counted; and what the leak gate makes of it."""

import json

import cv2
import numpy as np
import pytest
from faces import distinct_faces

from fer_bench.analysis import against_data
from fer_bench.analysis.findings import class_absent, few_images, looks_different
from fer_bench.data import (
    SUBSETS,
    Dataset,
    Split,
    fer2013,
    make_audit,
    make_folds,
    make_split,
    read_copies,
    stored_audit,
    stored_copies,
    stored_split,
)
from fer_bench.records import Audit

FACES = distinct_faces(400)
OFFICIAL = np.repeat(["train", "validation", "test"], [280, 60, 60])


def data(rows=None, images=None, subsets=OFFICIAL, **fields) -> Dataset:
    """The faces at `rows`, with ids of their own, as a user's file would give them."""
    rows = np.arange(len(FACES)) if rows is None else rows
    values = {
        "name": "made",
        "images": FACES.images[rows] if images is None else images,
        "labels": FACES.labels[rows],
        "class_names": FACES.class_names,
        "sample_ids": np.array([f"id-{at}" for at in range(len(rows))]),
        "subsets": subsets,
    }
    return Dataset(**{**values, **fields})


def audited(dataset: Dataset) -> Audit:
    split = make_split(dataset)
    return Audit.model_validate(json.loads(json.dumps(make_audit(dataset, [split], stored_copies(dataset)))))


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Audit:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FER_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        return audited(data())


def codes(audit: Audit) -> dict[str, dict]:
    """What the leak gate has against data, by code."""
    return {finding.code: dict(finding.values) for finding in against_data(audit)}


def test_clean_data_pass(clean):
    drawn = audited(data(subsets=None))
    for found in (clean, drawn):
        assert codes(found) == {}
        assert found.unique_images == found.images == 400
        assert (found.exact.groups, found.near.groups, found.blank_ids) == (0, 0, [])
        assert found.straddling_groups is None and not found.class_sorted
    assert [subset.drawn for subset in clean.subsets.values()] == [False] * 3
    assert [subset.drawn for subset in drawn.subsets.values()] == [True] * 3
    assert clean.subsets["test"].class_counts == np.bincount(FACES.labels[340:], minlength=7).tolist()


def test_folds_are_drawn_whatever_subsets_there_are():
    official = data()
    folds = make_audit(official, make_folds(official, 3), stored_copies(official))
    assert all(subset["drawn"] for subset in folds["subsets"].values())


def test_every_planted_copy_is_counted():
    images = FACES.images.copy()
    images[290] = images[0]  # validation in train
    images[350] = images[0]  # test in train, and in validation
    images[351] = images[1] // 2 + 30  # test, near
    images[352] = images[2][:, ::-1]  # test, mirrored
    images[10] = images[11]  # within train
    labels = FACES.labels.copy()
    labels[[0, 290, 350]] = 3
    labels[[10, 11]] = [0, 1]
    labels[[1, 351]] = [4, 5]
    labels[[2, 352]] = 6
    found = audited(data(images=images, labels=labels))
    train, validation, test = found.subsets.values()
    assert found.unique_images == 397
    assert found.exact.model_dump() == {"groups": 2, "images": 5, "largest": 3, "across": 1, "conflicting": 1}
    assert found.near.model_dump() == {"groups": 2, "images": 4, "largest": 2, "across": 2, "conflicting": 1}
    assert (found.near_pairs, found.mirrored_pairs) == (2, 1)
    assert (train.exact_in_train, train.near_in_train) == (0, 0)
    assert (validation.exact_in_train, validation.near_in_train) == (1, 0)
    assert (test.exact_in_train, test.near_in_train, test.exact_in_validation) == (1, 2, 1)


def test_large_images_are_never_copied_together(watched):
    """Data larger than the memory are memory-mapped: what copies many rows at once ends there."""
    images, copied = watched(np.stack([cv2.resize(image, (64, 64)) for image in FACES.images]))
    dataset = data(images=images)
    make_audit(dataset, [make_split(dataset)], stored_copies(dataset))
    assert copied == []


def test_blank_images_are_counted_and_named():
    images = FACES.images.copy()
    images[5], images[300] = 0, 255
    found = audited(data(images=images))
    assert found.blank_ids == ["id-5", "id-300"]
    assert [subset.blank for subset in found.subsets.values()] == [1, 1, 0]


def test_rows_sorted_by_class_are_told():
    assert audited(data(rows=np.argsort(FACES.labels, kind="stable"), subsets=None)).class_sorted


def test_given_groups_in_several_subsets_are_told():
    groups = np.arange(400)
    groups[[3, 350]] = 3
    found = audited(data(groups=groups))
    assert found.straddling_groups == 1
    assert codes(found) == {"GROUPS_ACROSS_SUBSETS": {"n": 1}}
    assert audited(data(groups=groups, subsets=None)).straddling_groups == 0


def test_totals_are_held_against_fer2013(monkeypatch):
    monkeypatch.setattr("fer_bench.data.audit.FER2013_FROM", 300)
    counts = [np.bincount(FACES.labels[name == OFFICIAL], minlength=7) for name in ("train", "validation", "test")]
    totals = dict(zip(FACES.class_names, map(tuple, np.transpose(counts).tolist()), strict=True))
    monkeypatch.setattr(fer2013, "COUNTS", totals)
    grey = FACES.images.mean(axis=(1, 2))
    means = {
        name: tuple(grey[(FACES.labels == code) & (subset == OFFICIAL)].mean() for subset in SUBSETS)
        for code, name in enumerate(FACES.class_names)
    }
    monkeypatch.setattr(fer2013, "BRIGHTNESS", means)
    whole = audited(data())
    assert (whole.fer2013, whole.fer2013_differences) == (True, [])
    short = audited(data(rows=np.arange(1, 400), subsets=OFFICIAL[1:]))
    name, n = FACES.class_names[FACES.labels[0]], int(np.bincount(FACES.labels)[FACES.labels[0]])
    assert short.fer2013_differences == [f"{name}: {n - 1:,} images, FER2013 has {n:,}"]
    (difference,) = audited(data(subsets=None)).fer2013_differences
    assert "subsets" in difference


def over_sampled(rows):
    rng = np.random.default_rng(0)
    members = [rows[FACES.labels[rows] == label] for label in np.unique(FACES.labels[rows])]
    n = max(map(len, members))
    return np.concatenate([[*some, *rng.choice(some, n - len(some))] for some in members])


def leaky_over_sampling():
    rows = np.random.default_rng(0).permutation(over_sampled(np.arange(340)))
    cut = round(0.85 * len(rows))
    return data(rows=[*rows, *range(340, 400)], subsets=np.repeat(["train", "validation", "test"],
                [cut, len(rows) - cut, 60]))  # fmt: skip


def leaky_augmentation():
    """Copies turned by five degrees and zoomed: no near copies any more, yet their pixels give the label away."""
    turn = cv2.getRotationMatrix2D((24, 24), 5, 1.06)
    images = FACES.images.copy()
    images[280:340] = [cv2.warpAffine(image, turn, (48, 48), borderMode=cv2.BORDER_REPLICATE) for image in images[:60]]
    labels = np.random.default_rng(0).integers(0, 7, 400)  # labels that nothing but memory can tell
    labels[280:340] = labels[:60]
    return data(images=images, labels=labels)


def leaky_jpeg():
    images = FACES.images.copy()
    for row in range(25):
        _, coded = cv2.imencode(".jpg", images[row], [cv2.IMWRITE_JPEG_QUALITY, 70])
        images[340 + row] = cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE)
    return data(images=images)


def leaky_mirror():
    images = FACES.images.copy()
    images[340:365] = images[:25, :, ::-1]
    return data(images=images)


def leaky_test():
    return data(rows=np.r_[:340, 280:340])


def leaky_train_in_test():
    return data(rows=np.r_[:340, :10, 350:400])


def resampled_validation():
    rows = np.r_[:160, over_sampled(np.arange(160, 280)), 280:400]
    n = len(rows) - 280
    return data(rows=rows, subsets=np.repeat(["train", "validation", "test"], [160, n, 120]))


SIXTY = {"subset": "test", "n_images": 60}
LEAKS = {
    "over-sampled before the split": (leaky_over_sampling, "MANY_EXACT_COPIES", {"subset": "validation"}),
    "augmented before the split": (leaky_augmentation, "NEAREST_NEIGHBOUR_KNOWS", {}),
    "recompressed into test": (leaky_jpeg, "MANY_COPIES", SIXTY),
    "mirrored into test": (leaky_mirror, "MANY_COPIES", {"n": 25, **SIXTY}),
    "validation handed over as test": (leaky_test, "COPIES_IN_VALIDATION", {"n": 60, **SIXTY}),
    "training images in test": (leaky_train_in_test, "MANY_EXACT_COPIES", {"n": 10, **SIXTY}),
    "validation resampled": (resampled_validation, "VALIDATION_RESAMPLED", {}),
}


@pytest.mark.parametrize(("make", "code", "values"), LEAKS.values(), ids=LEAKS)
def test_a_planted_leak_is_caught(make, code, values):
    assert values.items() <= codes(audited(make()))[code].items()


def test_the_same_copies_do_no_harm_where_the_split_is_drawn():
    images, labels = leaky_jpeg().images.copy(), FACES.labels.copy()
    images[360:380] = images[20:40, :, ::-1]
    images[380:390], labels[380:390] = images[40:50], labels[40:50]
    found = audited(data(images=images, labels=labels, subsets=None))
    assert [subset.exact_in_train + subset.near_in_train for subset in found.subsets.values()] == [0, 0, 0]
    assert found.exact.across == found.near.across == 0
    assert codes(found) == {}


def test_a_users_own_drawn_split_that_was_exchanged_is_caught():
    dataset = data(images=leaky_mirror().images, subsets=None)
    split = Split(np.arange(280), np.arange(280, 340), np.arange(340, 400), "exchanged", "0" * 16)
    found = Audit.model_validate(make_audit(dataset, [split], stored_copies(dataset)))
    assert codes(found) == {"COPIES_IN_DRAWN_SPLIT": {"n": 25, **SIXTY}}


def test_the_audit_is_made_once_and_says_which_rows_have_copies(tmp_path):
    images = FACES.images.copy()
    images[350] = images[0]
    images[351] = images[1] // 2 + 30
    data(images=images).save(tmp_path)
    split_folder = stored_split(tmp_path, 0)
    stored = stored_audit(tmp_path, split_folder)
    assert stored_audit(tmp_path, split_folder, lambda done, text: pytest.fail(text)) == stored
    copies = read_copies(stored)
    assert (copies[350], copies[351], copies[0]) == ("exact", "near", "")
    assert (copies != "").sum() == 2
    assert Audit.load(stored / "audit.json").subsets["test"].near_in_train == 1


def test_held_out_images_that_look_unlike_training_images_are_told():
    assert looks_different(audited(data())) is None
    images = FACES.images.copy()
    images[:280] = [cv2.GaussianBlur(image, (0, 0), 3) for image in images[:280]]
    found = looks_different(audited(data(images=images)))
    assert {("validation", "sharpness", True), ("test", "sharpness", True)} <= set(found.values["differences"])


def test_classes_without_a_test_image_are_told():
    found = class_absent(("a", "b", "c", "d"), (5, 0, 20, 30))
    assert (found.values["names"], found.values["best"]) == (["b"], 0.75)
    assert few_images(("a", "b", "c", "d"), (5, 0, 20, 30)).values["names"] == ["a"]
