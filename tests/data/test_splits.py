"""Splits: stratified, group-aware, the same everywhere; official subsets never moved."""

from dataclasses import replace

import numpy as np
import pytest

from fer_bench.data import Dataset, Split, make_folds, make_split, split_csv, stored_split
from fer_bench.errors import FerBenchError


def dataset(counts=(100, 50, 20), seed=0, **fields) -> Dataset:
    rng = np.random.default_rng(seed)
    n = sum(counts)
    values = {
        "name": "made",
        "images": rng.integers(0, 256, (n, 6, 6), dtype=np.uint8),
        "labels": np.repeat(np.arange(len(counts)), counts),
        "class_names": tuple("abcdefgh"[: len(counts)]),
        "sample_ids": np.array([f"id-{i}" for i in range(n)]),
    }
    return Dataset(**{**values, **fields})


def names(data: Dataset, split: Split) -> np.ndarray:
    where = np.empty(len(data), dtype="U10")
    for name, rows in split.subsets().items():
        where[rows] = name
    return where


def apart(groups: np.ndarray, split: Split) -> list[set[int]]:
    """The groups in each subset, which have none in common."""
    train, validation, test = (set(groups[rows].tolist()) for rows in split.subsets().values())
    assert not train & validation and not train & test and not validation & test
    return [train, validation, test]


def test_every_row_is_in_one_subset_and_every_class_in_each():
    data = dataset()
    split = make_split(data, 0)
    assert np.array_equal(np.sort(np.concatenate(list(split.subsets().values()))), np.arange(len(data)))
    for members, expected in zip(split.subsets().values(), ([80, 40, 16], [10, 5, 2], [10, 5, 2]), strict=True):
        assert data.class_counts(members).tolist() == expected


def test_same_seed_same_split_on_any_machine():
    assert make_split(dataset(), 0).fingerprint == make_split(dataset(), 0).fingerprint
    assert make_split(dataset(), 0).fingerprint != make_split(dataset(), 1).fingerprint
    # written down: another machine or library version must reach the same draw
    assert make_split(dataset((6, 4, 4)), 0).test.tolist() == [0, 7, 13]


def test_split_does_not_depend_on_row_order():
    data = dataset()
    order = np.random.default_rng(1).permutation(len(data))
    turned = dataset(images=data.images[order], labels=data.labels[order], sample_ids=data.sample_ids[order])
    assert set(data.sample_ids[make_split(data).test]) == set(turned.sample_ids[make_split(turned).test])


def test_exact_copies_and_groups_stay_on_one_side():
    images, groups = dataset((60, 60)).images.copy(), np.arange(120)
    images[30:40] = images[20:30]
    images[70] = images[5]  # the same image under another label
    groups[[40, 41, 42, 20]] = 40  # a group that meets a copy: 20 and 30 belong to it too
    data = dataset((60, 60), images=images, groups=groups)
    for seed in range(10):
        where = names(data, make_split(data, seed))
        assert (where[30:40] == where[20:30]).all()
        assert where[70] == where[5]
        assert len(set(where[[20, 30, 40, 41, 42]])) == 1


def test_official_subsets_are_kept_even_with_copies_across_them():
    subsets, images = np.array(["train", "validation", "test"] * 20), dataset((30, 30)).images.copy()
    images[1] = images[0]
    data = dataset((30, 30), subsets=subsets, images=images)
    split = make_split(data, 3)
    assert np.array_equal(names(data, split), subsets)
    assert split.source == "official train, validation and test"


def test_two_subsets_take_validation_out_of_train():
    subsets = np.array((["train"] * 8 + ["test"] * 2) * 10)
    data = dataset((50, 50), subsets=subsets)
    split = make_split(data, 0)
    assert np.array_equal(split.test, np.flatnonzero(subsets == "test"))
    assert data.class_counts(split.validation).tolist() == [4, 4]
    assert "validation is a tenth of train" in split.source


def with_copies_in_the_official_test() -> Dataset:
    """Ten test images of class a, copies of the first of 30 training images of it; and 30 of class b."""
    images = dataset((40, 30)).images.copy()
    images[:10] = images[10]
    return dataset((40, 30), images=images, subsets=np.repeat(["test", "train"], [10, 60]))


@pytest.mark.parametrize("seed", range(3))
def test_rows_that_are_not_drawn_count_for_nothing(seed):
    data = with_copies_in_the_official_test()
    assert data.class_counts(make_split(data, seed).validation).tolist() == [3, 3]
    folds = make_folds(data, 3, seed)
    assert [data.class_counts(split.test).tolist() for split in folds] == [[10, 10]] * 3
    assert [data.class_counts(split.validation).tolist() for split in folds] == [[2, 2]] * 3


def test_an_image_with_a_copy_of_another_class_counts_for_its_own():
    images = dataset((30, 3)).images.copy()
    images[30] = images[0]
    split = make_split(dataset((30, 3), images=images))
    assert [dataset((30, 3)).class_counts(rows)[1] for rows in split.subsets().values()] == [1, 1, 1]


@pytest.mark.parametrize("n_people", [12, 30])
@pytest.mark.parametrize("n_folds", [0, 3])
def test_people_who_show_every_class_are_dealt_out_whole(n_people, n_folds):
    """The usual case of groups: no class has an image without others in its group."""
    counts = (3 * n_people,) * 7
    data = dataset(counts, groups=np.arange(sum(counts)) % n_people)
    splits = make_folds(data, n_folds) if n_folds else [make_split(data)]
    for split in splits:
        train, validation, test = map(len, apart(data.groups, split))
        held_out = round(n_people / n_folds) if n_folds else max(1, round(0.1 * n_people))
        assert (train + validation + test, test) == (n_people, held_out)
        assert abs(validation - 0.1 * (n_people - (test if n_folds else 0))) <= 1


def test_too_few_people_are_refused():
    data = dataset((20, 20), groups=np.tile(np.arange(2), 20))
    with pytest.raises(FerBenchError, match="a: 20 images, 2 of them"):
        make_split(data)


def made_of_people(contents: np.ndarray) -> Dataset:
    """Images of each person (rows) and class (columns): int (n_people, n_classes)."""
    person, label = (np.repeat(index, contents.ravel()) for index in np.indices(contents.shape).reshape(2, -1))
    return replace(dataset(tuple(contents.sum(axis=0))), labels=label, groups=person)


def classes_and_people(data: Dataset, split: Split) -> tuple[list[list[int]], list[list[int]]]:
    """How many people show each class, and which people there are, by subset."""
    shown = [np.unique(np.stack([data.groups[rows], data.labels[rows]]), axis=1) for rows in split.subsets().values()]
    return [np.bincount(pairs[1], minlength=len(data.class_names)).tolist() for pairs in shown], [
        np.unique(data.groups[rows]).tolist() for rows in split.subsets().values()
    ]


A_RARE_CLASS = np.array([[45, 45, 10]] * 4 + [[25, 25, 0]] * 16)
"""Twenty people; the four with most images are the only ones who show the third class."""


@pytest.mark.parametrize("seed", range(5))
def test_a_class_that_few_people_show_is_in_each_subset(seed):
    data = made_of_people(A_RARE_CLASS)
    shown, people = classes_and_people(data, make_split(data, seed))
    assert [counts[2] for counts in shown] == [2, 1, 1]
    assert all(1 <= len(side) <= 3 for side in people[1:])


@pytest.mark.parametrize("n_folds", [2, 3, 4])
def test_a_class_that_few_people_show_is_in_each_fold(n_folds):
    data = made_of_people(A_RARE_CLASS)
    for split in make_folds(data, n_folds):
        shown, _ = classes_and_people(data, split)
        assert all(min(counts) > 0 for counts in shown)


def some_people(rng: np.random.Generator) -> np.ndarray:
    """Ten to forty people of unequal size, each with classes of their own; some classes are rare."""
    shares = rng.dirichlet(np.full(rng.integers(3, 8), rng.choice([0.3, 1, 3])))
    return np.stack(
        [rng.multinomial(n, rng.dirichlet(20 * shares + 0.05)) for n in rng.geometric(0.1, rng.integers(10, 40))]
    )


@pytest.mark.parametrize("n_folds", [0, 4])
def test_each_class_that_enough_people_show_is_in_each_subset(n_folds):
    rng, n_subsets = np.random.default_rng(4), n_folds or 3  # some of these find a way at the second go only
    drawn = [
        contents
        for contents in (some_people(rng) for _ in range(30))
        if ((contents > 0).sum(axis=0) >= n_subsets).all()
    ]
    assert len(drawn) > 15
    for contents in drawn:
        data = made_of_people(contents)
        for split in make_folds(data, n_folds) if n_folds else [make_split(data)]:
            shown, people = classes_and_people(data, split)
            assert min(map(min, shown)) > 0
            assert sorted(np.concatenate(people)) == np.flatnonzero(contents.any(axis=1)).tolist()


def test_people_who_leave_no_way_to_have_each_class_in_each_subset_are_told():
    """Classes b and c put the third person with the fourth, class d forbids it."""
    contents = np.zeros((10, 4), int)
    contents[:, 0] = 5
    for label, shown_by in enumerate([[0, 1, 2], [0, 1, 3], [0, 2, 3]], start=1):
        contents[shown_by, label] = 2
    with pytest.raises(FerBenchError, match=r"\w: 6 images in 3 groups, none of them in t"):
        make_split(made_of_people(contents))


def test_classes_that_are_too_small_are_all_named():
    with pytest.raises(FerBenchError, match=r"(?s)b: 2 images.*d: 1 images"):
        make_split(dataset((30, 2, 30, 1)))


def test_three_copies_of_one_image_are_one():
    images = dataset((30, 3)).images.copy()
    images[30:] = images[30]
    with pytest.raises(FerBenchError, match="b: 3 images, 1 of them distinct"):
        make_split(dataset((30, 3), images=images))


def test_three_distinct_images_reach_three_subsets():
    images = dataset((30, 9)).images.copy()
    images[30:33], images[33:36], images[36:39] = images[30], images[33], images[36]
    data = dataset((30, 9), images=images)
    split = make_split(data)
    assert [data.class_counts(rows)[1] for rows in split.subsets().values()] == [3, 3, 3]


def test_stored_split_comes_back(tmp_path):
    data = dataset()
    data.save(tmp_path)
    stored, made = Split.load(stored_split(tmp_path, 0)), make_split(data, 0)
    assert (stored.fingerprint, stored.source) == (made.fingerprint, made.source)
    assert np.array_equal(stored.train, made.train)
    folds = stored_split(tmp_path, 0, folds=3)
    for number, split in enumerate(make_folds(data, 3), start=1):
        assert np.array_equal(Split.load(folds, number).test, split.test)


@pytest.mark.parametrize("lost", ["about.json", "rows.f2.npz"])
def test_a_stored_split_that_lost_a_file_is_made_again(tmp_path, lost):
    dataset().save(tmp_path)
    folder = stored_split(tmp_path, 0, folds=2)
    (folder / lost).unlink()
    assert (stored_split(tmp_path, 0, folds=2) / lost).is_file()


@pytest.mark.parametrize("damaged", ["about.json", "rows.npz"])
@pytest.mark.parametrize("kept", [0, 20])
def test_a_damaged_stored_split_is_named(tmp_path, damaged, kept):
    dataset().save(tmp_path)
    folder = stored_split(tmp_path, 0)
    (folder / damaged).write_bytes((folder / damaged).read_bytes()[:kept])
    with pytest.raises(FerBenchError, match=f"{folder}: damaged"):
        Split.load(folder)


def test_csv_gives_labels_of_scored_rows_only():
    data = dataset()
    split = make_split(data)
    lines = split_csv(data, split).decode().splitlines()
    assert len(lines) == len(data) + 1
    assert all(line.endswith(",train,") for line in lines if ",train," in line)
    assert sum(line.endswith((",a", ",b", ",c")) for line in lines) == len(split.validation) + len(split.test)


def test_every_row_is_tested_in_exactly_one_fold_and_never_seen_in_it_before():
    data = dataset((110, 60, 30))
    folds = make_folds(data, 4)
    assert sorted(np.concatenate([split.test for split in folds])) == list(range(200))
    for split in folds:
        assert set.union(*apart(np.arange(200), split)) == set(range(200))
        assert (data.class_counts(split.test) > 0).all() and (data.class_counts(split.validation) > 0).all()
    assert len({split.fingerprint for split in folds}) == 4
    validated = np.concatenate([split.validation for split in folds])
    assert len(np.unique(validated)) > 0.75 * len(validated)  # other rows in each fold
    spread = np.array([data.class_counts(split.test) for split in folds])
    assert (spread.max(axis=0) - spread.min(axis=0) <= 1).all()


def test_official_test_images_are_in_no_fold():
    data = dataset((110, 60, 30))
    subsets = np.array(["test", "train", "validation", "train", "train"] * 40)
    others = np.flatnonzero(subsets != "test")
    for split in make_folds(replace(data, subsets=subsets), 3):
        assert np.array_equal(np.sort(np.concatenate(list(split.subsets().values()))), others)
        assert "40 official test images left out" in split.source


def test_more_folds_than_images_of_a_class_are_refused():
    with pytest.raises(FerBenchError, match="needs at least 150 distinct images, one for each fold"):
        make_folds(dataset((110, 60, 30)), 150)


def laboratory(n_people: int, rng_seed: int = 0) -> Dataset:
    """People with one to twenty-five images of seven classes, some of which are rare."""
    rng = np.random.default_rng(rng_seed)
    shares = [0.15, 0.06, 0.15, 0.1, 0.22, 0.1, 0.22]
    contents = np.stack([rng.multinomial(n, shares) for n in rng.integers(1, 26, n_people)])
    return replace(made_of_people(contents), grouped_by="person")


def test_people_are_held_out_equally_often_however_many_images_they_have():
    data, n_seeds = laboratory(40), 50
    held = np.zeros(len(data))
    for seed in range(n_seeds):
        split = make_split(data, seed)
        apart(data.groups, split)
        held[split.test] += 1
        assert abs(len(split.test) - 0.1 * len(data)) <= 3
    size = np.bincount(data.groups)
    by_person = np.bincount(data.groups, held) / size / n_seeds
    assert by_person.mean() == pytest.approx(0.1, abs=0.02)
    assert abs(np.corrcoef(size, by_person)[0, 1]) < 0.4
    largest = np.argsort(size)[-10:]
    assert by_person[largest].mean() == pytest.approx(0.1, abs=0.04)


@pytest.mark.parametrize("n_folds", [3, 5])
def test_folds_of_people_are_of_one_size_and_mix(n_folds):
    data = laboratory(118)
    counts = np.array([data.class_counts(split.test) for split in make_folds(data, n_folds)])
    assert np.ptp(counts.sum(axis=1)) <= 4 and np.ptp(counts, axis=0).max() <= 3


@pytest.mark.parametrize(("n_people", "n_folds"), [(3, 3), (10, 10), (20, 20), (45, 10)])
def test_folds_by_people_leave_each_person_out_once(n_people, n_folds):
    data = replace(made_of_people(np.full((n_people, 3), 2)), grouped_by="person")
    splits = make_folds(data, "people")
    assert len(splits) == n_folds and sorted(np.concatenate([split.test for split in splits])) == list(range(len(data)))
    assert sorted(np.concatenate([split.validation for split in splits])) == list(range(len(data)))
    for split in splits:
        apart(data.groups, split)


def test_people_with_one_image_each_are_left_out_one_by_one_too():
    contents = np.full((6, 2), 3)
    contents[:2] = [[1, 0], [0, 1]]
    data = replace(made_of_people(contents), grouped_by="person")
    assert sorted(len(split.test) for split in make_folds(data, "people")) == [1, 1, 6, 6, 6, 6]


def test_a_class_that_two_people_show_can_be_left_out_by_people_only(tmp_path):
    contents = np.full((10, 3), 3)
    contents[2:, 2] = 0
    data = replace(made_of_people(contents), grouped_by="person")
    with pytest.raises(FerBenchError, match="--folds people"):
        make_split(data)
    assert all(data.class_counts(split.train).all() for split in make_folds(data, "people"))
    data.save(tmp_path)
    assert sorted(Split.load(stored_split(tmp_path, 0, "people"), 10).test)


def test_a_class_that_one_person_shows_cannot_be_left_out():
    contents = np.full((10, 3), 3)
    contents[1:, 2] = 0
    with pytest.raises(FerBenchError, match=r"c: 3 images, such as id-\d+"):
        make_folds(replace(made_of_people(contents), grouped_by="person"), "people")


def test_folds_by_people_need_people():
    with pytest.raises(FerBenchError, match="--groups"):
        make_folds(dataset(), "people")
    with pytest.raises(FerBenchError, match="at least 3 people"):
        make_folds(replace(made_of_people(np.full((2, 3), 9)), grouped_by="person"), "people")
