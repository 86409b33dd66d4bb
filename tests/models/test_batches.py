import threading

import numpy as np
import pytest

from fer_bench.models.batches import Batches, augment, prefetch, view
from fer_bench.models.task import Task


def a_task(**changes):
    return Task(
        **{
            "class_names": ("a", "b", "c"),
            "n_rows": 10,
            "image_shape": (8, 8),
            "validation": (np.empty((0, 8, 8), np.uint8), np.empty(0, int)),
            **changes,
        }
    )


def plain_images(n):
    """Image number i is all i: no augmentation can change it, so it tells which row it was."""
    return np.repeat(np.arange(n, dtype=np.uint8), 64).reshape(n, 8, 8)


def rows_of(batch):
    return batch[0][:, 0, 0, 0].astype(int)


def test_rows_keep_their_labels_and_weights():
    labels = np.arange(10) % 3
    weights = np.linspace(0.5, 1.5, 10)
    batches = Batches(plain_images(10), labels, weights, a_task(), steps=7, batch_size=4, size=8)
    for index in range(7):
        images, one_hot, batch_weights = batches[index]
        rows = rows_of((images,))
        assert images.shape == (4, 8, 8, 1)
        assert (one_hot == np.eye(3)[labels[rows]]).all()
        assert batch_weights == pytest.approx(weights[rows])


@pytest.mark.parametrize("n_rows", [3, 10, 100])
def test_every_row_comes_once_before_any_comes_again(n_rows):
    batches = Batches(plain_images(n_rows), np.zeros(n_rows, int), None, a_task(), steps=9, batch_size=4, size=8)
    rows = np.concatenate([rows_of(batches[index]) for index in range(9)])
    assert len(rows) == 36  # whatever the number of rows
    for start in range(0, 36, n_rows):
        whole_pass = rows[start : start + n_rows]
        assert len(np.unique(whole_pass)) == len(whole_pass)


def test_a_batch_is_the_same_whenever_it_is_asked_for():
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8)
    first, again, other = (
        Batches(images, np.zeros(20, int), None, a_task(random_state=seed), steps=5, batch_size=4, size=8)
        for seed in (1, 1, 2)
    )
    assert (first[3][0] == again[3][0]).all()
    assert (first[3][0] == first[3][0]).all()
    assert (first[3][0] != first[2][0]).any()
    assert (first[3][0] != other[3][0]).any()


def test_the_images_are_never_written_to():
    images = plain_images(6)
    images.flags.writeable = False
    Batches(images, np.zeros(6, int), None, a_task(), steps=2, batch_size=4, size=8)[1]
    assert (images == plain_images(6)).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_augmentation_keeps_shape_and_changes_about_half_by_mirroring(channels):
    image = np.zeros((48, 48, channels), np.uint8)
    image[:, :16] = 200  # bright on the left
    images = np.repeat(image[None], 400, axis=0)
    augmented = augment(images, np.random.default_rng(0))
    assert augmented.shape == images.shape
    assert augmented.dtype == np.uint8
    mirrored = augmented[:, 24, 4, 0] < augmented[:, 24, 43, 0]
    assert 0.4 < mirrored.mean() < 0.6
    assert len(np.unique(augmented.reshape(400, -1), axis=0)) > 390  # no two alike


def test_augmentation_keeps_the_centre_near_the_centre():
    images = np.zeros((200, 48, 48, 1), np.uint8)
    images[:, 20:28, 20:28] = 255
    augmented = augment(images, np.random.default_rng(0)).astype(float)[..., 0]
    x = (augmented.sum(axis=1) * np.arange(48)).sum(axis=1) / augmented.sum(axis=(1, 2))
    assert abs(x.mean() - 23.5) < 0.5
    assert np.abs(x - 23.5).max() < 0.08 * 48 + 0.5


@pytest.mark.parametrize(("shape", "seen"), [((5, 30, 40), 1), ((5, 100, 90, 3), 3), ((5, 16, 16), 1)])
def test_view_resizes_to_a_square_with_channels(shape, seen):
    images = np.full(shape, 77, np.uint8)
    assert view(images, 16).shape == (5, 16, 16, seen)
    assert (view(images, 16) == 77).all()


def test_prefetch_keeps_the_order_and_looks_only_a_little_ahead():
    asked = []
    lock = threading.Lock()

    class Numbers:
        def __getitem__(self, index):
            with lock:
                asked.append(index)
            return index

    for seen in prefetch(Numbers(), range(3, 50), n_jobs=2):
        assert len(asked) <= seen - 3 + 2 * 2 + 1
    assert seen == 49
    assert sorted(asked) == list(range(3, 50))


def test_prefetch_passes_errors_on():
    class Broken:
        def __getitem__(self, index):
            if index == 2:
                raise OSError("the disk is gone")
            return index

    with pytest.raises(OSError, match="the disk is gone"):
        list(prefetch(Broken(), range(5), n_jobs=2))
