"""NumPy archives in both forms, and everything that can be wrong with one."""

import numpy as np
import pytest

from fer_bench.data.readers.npz_files import read_npz
from fer_bench.errors import FerBenchError

IMAGES = np.arange(6 * 4 * 4, dtype=np.uint8).reshape(6, 4, 4)
LABELS = np.array([0, 1, 2, 0, 1, 2])


@pytest.fixture
def saved(tmp_path):
    """saved(images=..., labels=...) -> path."""

    def save(**arrays):
        path = tmp_path / "faces.npz"
        np.savez(path, **arrays)
        return path

    return save


def error_of(path) -> str:
    with pytest.raises(FerBenchError) as raised:
        read_npz(path)
    assert str(raised.value).startswith(f"{path}: ")
    return str(raised.value)


def test_images_and_labels_are_enough(saved):
    decoded = read_npz(saved(images=IMAGES, labels=LABELS))
    assert np.array_equal(decoded.images, IMAGES)
    assert decoded.labels.tolist() == LABELS.tolist()
    assert decoded.class_names == ("0", "1", "2")
    assert decoded.sample_ids[5] == "row-00005"
    assert (decoded.n_rows, decoded.rows.tolist()) == (6, [0, 1, 2, 3, 4, 5])


def test_everything_that_can_be_given(saved):
    path = saved(
        images=IMAGES[..., None], labels=LABELS[:, None], class_names=["fear", "happy", "sad"],
        sample_ids=list("abcdef"), subsets=["Training"] * 4 + ["test"] * 2, groups=["x", "x", "y", "y", "z", "z"],
        votes=np.ones((6, 2), np.uint8), vote_names=["yes", "no"], mean=np.zeros(3),
    )  # fmt: skip
    dataset = read_npz(path).dataset("faces")
    assert dataset.images.shape == (6, 4, 4)
    assert dataset.class_names == ("fear", "happy", "sad")
    assert dataset.sample_ids.tolist() == list("abcdef")
    assert dataset.subsets.tolist() == ["train"] * 4 + ["test"] * 2
    assert dataset.groups.tolist() == [0, 0, 1, 1, 2, 2]
    assert dataset.vote_names == ("yes", "no")
    assert dataset.notes == ("faces.npz also holds mean: not used",)


@pytest.mark.parametrize("names", [None, ["sad", "happy"]])
def test_labels_may_be_names(names, saved):
    more = {} if names is None else {"class_names": names}
    decoded = read_npz(saved(images=IMAGES, labels=["happy", "sad"] * 3, **more))
    assert [decoded.class_names[label] for label in decoded.labels] == ["happy", "sad"] * 3
    assert decoded.class_names == tuple(names or ["happy", "sad"])


def test_one_pair_of_arrays_per_subset(saved):
    colour = np.repeat(IMAGES[..., None], 3, axis=3)
    parts = {"x_train": colour[:3], "y_train": LABELS[:3], "X_test": colour[3:5], "Y_test": LABELS[3:5]}
    decoded = read_npz(saved(**parts, x_val=colour[5:], y_val=LABELS[5:]))
    assert np.array_equal(decoded.images, colour)
    assert decoded.labels.tolist() == LABELS.tolist()
    assert decoded.subsets.tolist() == ["train"] * 3 + ["test"] * 2 + ["validation"]


WRONG = {
    "no labels": ({"labels": None, "label": LABELS}, "images: uint8 (6, 4, 4)\n  - label: int64 (6,)"),
    "fractions": ({"images": IMAGES / 255}, "images are float64 (6, 4, 4)"),
    "whole numbers of 64 bits": ({"images": IMAGES.astype(int)}, "images are int64"),
    "flat images": ({"images": IMAGES.reshape(6, 16)}, "images are uint8 (6, 16)"),
    "channels first": ({"images": np.zeros((6, 3, 4, 4), np.uint8)}, "images are uint8 (6, 3, 4, 4)"),
    "no images": ({"images": IMAGES[:0], "labels": LABELS[:0]}, "images are uint8 (0, 4, 4)"),
    "too few labels": ({"labels": LABELS[:5]}, "labels have shape (5,) for 6 images"),
    "another range": ({"images": IMAGES / 255}, "from 0 to 0."),
    "rows without a label": ({"labels": ["a", "", "nan", "NULL", "n/a", "b"]}, "('', 'NULL', 'n/a', 'nan')"),
    "labels below 0": ({"labels": LABELS - 1}, "labels run from -1"),
    "one-hot labels": ({"labels": np.eye(6, dtype=int)}, "labels are int64 (6, 6)"),
    "labels with fractions": ({"labels": LABELS / 2}, "labels are float64 (6,)"),
    "labels outside": ({"class_names": ["a", "b"]}, "a, b\n  - row 2: 2\n  - row 5: 2"),
    "labels unknown": ({"labels": list("abcabc"), "class_names": ["a", "b"]}, "a, b\n  - row 2: c\n  - row 5: c"),
    "class names twice": ({"class_names": ["a", "b", "a"]}, "class_names a, b, a"),
    "unknown subsets": ({"subsets": ["train", "dunno"] * 3}, "subsets 'dunno'"),
    "flat votes": ({"votes": LABELS}, "votes are int64 (6,)"),
    "ids that are fractions": ({"sample_ids": LABELS / 2}, "sample_ids"),
    "Python objects": ({"labels": np.array([{}] * 6, dtype=object)}, "'labels' holds Python objects"),
}


@pytest.mark.parametrize(("arrays", "problem"), WRONG.values(), ids=WRONG)
def test_wrong_arrays(arrays, problem, saved):
    arrays = {"images": IMAGES, "labels": LABELS, **arrays}
    assert problem in error_of(saved(**{name: array for name, array in arrays.items() if array is not None}))


TRAIN = {"x_train": IMAGES, "y_train": LABELS}
WRONG_PARTS = {
    "nothing": ({}, "images and labels"),
    "half a pair": ({**TRAIN, "x_test": IMAGES}, "x_test: uint8 (6, 4, 4)"),
    "pairs that differ": ({**TRAIN, "x_test": IMAGES[:, :3], "y_test": LABELS}, "x_test: uint8 (6, 3, 4)"),
    "two of one subset": ({"x_val": IMAGES, "y_val": LABELS, "x_dev": IMAGES, "y_dev": LABELS}, "x of validation"),
}


@pytest.mark.parametrize(("arrays", "problem"), WRONG_PARTS.values(), ids=WRONG_PARTS)
def test_wrong_parts(arrays, problem, saved):
    assert problem in error_of(saved(**arrays))


VOTES = np.ones((6, 2), int)
UNFIT = {
    "an id with a carriage return": ({"sample_ids": ["a\r", *"bcdef"]}, r"'a\\r'"),
    "a class name with one": ({"class_names": ["happy\r", "fear", "sad"]}, r"'happy\\r'"),
    "a blank class name": ({"class_names": [" ", "fear", "sad"]}, "1 class names"),
    "ids twice": ({"sample_ids": ["a", "b", "a", "c", "c", "c"]}, "sample ids repeat: a, c"),
    "names of other votes": ({"votes": VOTES, "vote_names": ["yes"]}, r"1 vote_names for votes of shape \(6, 2\)"),
    "names of no votes": ({"vote_names": ["yes", "no"]}, r"2 vote_names for votes of shape \(6, 0\)"),
    "votes below nothing": ({"votes": VOTES - 2 * np.eye(6, 2, -2, int)}, "votes below 0 in rows 2, 3"),
}


@pytest.mark.parametrize(("arrays", "problem"), UNFIT.values(), ids=UNFIT)
def test_arrays_that_do_not_fit_together_are_refused_by_name(arrays, problem, saved):
    with pytest.raises(FerBenchError, match=problem):
        read_npz(saved(images=IMAGES, labels=LABELS, **arrays)).dataset("faces")


def test_votes_need_no_names(saved):
    dataset = read_npz(saved(images=IMAGES, labels=LABELS, votes=VOTES)).dataset("faces")
    assert dataset.vote_names == ()
    assert dataset.votes.tolist() == VOTES.tolist()


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_truncated(kept, saved):
    path = saved(images=IMAGES, labels=LABELS)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    assert "truncated" in error_of(path)


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x93NUMPY\x01\x00"])
def test_not_an_archive(content, tmp_path):
    path = tmp_path / "faces.npz"
    path.write_bytes(content)
    message = error_of(path)
    assert "not an .npz archive" in message and "pickle" not in message


def test_one_bare_array(tmp_path):
    with (tmp_path / "faces.npz").open("wb") as file:
        np.save(file, IMAGES)
    assert "one bare array" in error_of(tmp_path / "faces.npz")
