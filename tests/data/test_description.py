"""What people are told about a dataset."""

import numpy as np

from fer_bench.data import Dataset, describe


def lines_for(**more) -> list[list[str]]:
    """The words of every line about six images of two classes."""
    dataset = Dataset(
        name="faces",
        images=np.zeros((6, 4, 5), np.uint8),
        labels=np.array([0, 0, 0, 0, 1, 1]),
        class_names=("happy", "sad"),
        sample_ids=np.array(list("abcdef")),
        **more,
    )
    return [line.split() for line in describe(dataset)]


def test_classes_by_subset_with_totals():
    lines = lines_for(
        subsets=np.array(["train", "train", "train", "test", "train", "test"]), notes=("one row dropped",)
    )
    assert ["images", "6", "of", "4", "x", "5", "pixels,", "gray"] in lines
    assert ["imbalance", "ratio", "2.0", "(largest", "class", "to", "smallest)"] in lines
    assert ["class", "train", "test", "images", "share"] in lines
    assert ["happy", "3", "1", "4", "66.7%"] in lines
    assert ["sad", "1", "1", "2", "33.3%"] in lines
    assert ["all", "4", "2", "6", "100.0%"] in lines
    assert lines[-1] == ["note:", "one", "row", "dropped"]


def test_a_class_in_the_test_alone_is_told():
    *_, note = lines_for(subsets=np.array(["train"] * 4 + ["test"] * 2))
    assert {"note:", "sad", "happy):", "--classes"} <= set(note)


def test_without_subsets_and_with_votes_and_groups():
    lines = lines_for(votes=np.ones((6, 2), int), vote_names=("yes", "no"), groups=np.array([1, 1, 1, 5, 5, 5]))
    assert ["class", "images", "share"] in lines
    assert ["official", "subsets", "none"] in lines
    assert ["votes", "yes,", "no"] in lines
    assert ["people", "unknown;", "groups:", "2,", "of", "3", "to", "3", "images"] in lines
    assert lines[-1] == ["all", "6", "100.0%"]


def test_people_and_slices():
    groups, ages = np.array([1, 1, 1, 5, 5, 7]), np.array(["old", "old", "young", "", "", ""])
    lines = lines_for(groups=groups, grouped_by="person", groups_from="column who", slices={"age": ages})
    assert ["people", "3,", "of", "1", "to", "3", "images", "(by", "column", "who)"] in lines
    assert ["slices", "age:", "unknown", "3,", "old", "2,", "young", "1"] in lines
    assert ["people", "unknown"] in lines_for()
