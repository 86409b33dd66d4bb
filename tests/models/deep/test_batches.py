import threading

import numpy as np
import pytest

from fer_bench.models.deep.batches import Batches, Pixels, prefetch, view


def plain_images(n):
    """Image number i is all i: no augmentation can change it, so it tells which row it was."""
    return np.repeat(np.arange(n, dtype=np.uint8), 64).reshape(n, 8, 8)


def batches_of(n, labels=None, weights=None, rows=None, seed=0, **changes):
    rows = np.arange(n) if rows is None else rows
    labels = np.zeros(len(rows), int) if labels is None else labels
    return Batches(rows, labels, weights, **{"n_classes": 3, "steps": 9, "batch_size": 4, "seed": seed, **changes})


def rows_of(batch):
    return batch[0][:, 0, 0, 0].astype(int)


def test_rows_keep_their_labels_and_weights():
    rows = np.array([9, 1, 4, 4, 7])  # of ten images, one of them twice
    labels, weights = np.array([2, 0, 1, 1, 0]), np.array([0.5, 1, 2, 2, 3])
    batches, inputs = batches_of(10, labels, weights, rows), Pixels(plain_images(10), 8)
    for index in range(9):
        images, one_hot, batch_weights = batches.make(inputs, index)
        where = [rows.tolist().index(row) for row in rows_of((images,))]
        assert images.shape == (4, 8, 8, 1)
        assert (one_hot == np.eye(3)[labels[where]]).all()
        assert batch_weights == pytest.approx(weights[where])
        assert one_hot.dtype == batch_weights.dtype == np.float32


@pytest.mark.parametrize("n_rows", [3, 10, 100])
def test_every_row_comes_once_before_any_comes_again(n_rows):
    batches, inputs = batches_of(n_rows), Pixels(plain_images(n_rows), 8)
    rows = np.concatenate([rows_of(batches.make(inputs, index)) for index in range(9)])
    assert len(rows) == 36  # whatever the number of rows
    for start in range(0, 36, n_rows):
        whole_pass = rows[start : start + n_rows]
        assert len(np.unique(whole_pass)) == len(whole_pass)


def test_every_pass_is_shuffled_anew_and_by_the_seed():
    inputs = Pixels(plain_images(20), 8)
    first, other = (
        np.concatenate([rows_of(batches_of(20, seed=seed, steps=10).make(inputs, index)) for index in range(10)])
        for seed in (1, 2)
    )
    orders = [tuple(rows) for rows in (range(20), *first.reshape(2, 20), *other.reshape(2, 20))]
    assert len(set(orders)) == 5


@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_a_batch_is_the_same_whenever_it_is_asked_for(alpha):
    inputs = Pixels(np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8), 8)
    first, again, other = (batches_of(20, seed=seed, alpha=alpha) for seed in (1, 1, 2))
    batch = first.make(inputs, 3)[0]
    assert (batch == first.make(inputs, 3)[0]).all()
    assert (batch == again.make(inputs, 3)[0]).all()
    assert (batch != first.make(inputs, 2)[0]).any()
    assert (batch != other.make(inputs, 3)[0]).any()


def test_a_row_that_comes_again_is_changed_anew():
    images = np.random.default_rng(0).integers(0, 256, (1, 8, 8), dtype=np.uint8)
    batches = batches_of(1, rows=np.zeros(5, int))
    copies = np.concatenate([batches.make(Pixels(images, 8), index)[0] for index in range(9)])
    assert len(np.unique(copies.reshape(len(copies), -1), axis=0)) == len(copies)


def test_mixup_blends_inputs_labels_and_weights():
    labels, weights = np.arange(10) % 3, np.linspace(0.5, 1.5, 10)
    inputs = Pixels(plain_images(10), 8)
    plain, mixed = (batches_of(10, labels, weights, alpha=alpha).make(inputs, 0) for alpha in (0.0, 1.0))
    assert set(plain[1].ravel()) == {0, 1}
    assert ((mixed[1] > 0) & (mixed[1] < 1)).any()
    np.testing.assert_allclose(mixed[1].sum(axis=1), 1, atol=1e-6)
    assert mixed[2].mean() == pytest.approx(plain[2].mean())
    assert mixed[0].dtype == np.uint8


def test_pixels_are_augmented_as_told_and_the_images_never_written_to():
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8), dtype=np.uint8)
    before = images.copy()
    images.flags.writeable = False
    rows = np.array([5, 0, 0])
    augmented = Pixels(images, 8).augmented(rows, np.random.default_rng(0))
    assert (augmented != images[rows][..., None]).any()
    unchanged = Pixels(images, 8, augmentation=()).augmented(rows, np.random.default_rng(0))
    assert (unchanged == images[rows][..., None]).all()
    assert (images == before).all()


def test_pixels_are_shown_as_they_are_or_mirrored():
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    pixels = Pixels(images, 8)
    assert len(pixels) == 6
    assert (pixels.plain(slice(2, 4), mirrored=False) == images[2:4]).all()
    assert (pixels.plain(slice(2, 4), mirrored=True) == images[2:4, :, ::-1]).all()
    assert Pixels(images, 16).plain(slice(0, 1), mirrored=False).shape == (1, 16, 16, 3)


@pytest.mark.parametrize(("shape", "seen"), [((5, 30, 40), 1), ((5, 100, 90, 3), 3), ((5, 16, 16), 1)])
def test_view_resizes_to_a_square_with_channels(shape, seen):
    images = np.full(shape, 77, np.uint8)
    assert view(images, 16).shape == (5, 16, 16, seen)
    assert (view(images, 16) == 77).all()


class Numbers:
    """Batches that are their own numbers."""

    def __init__(self, broken=None):
        self.asked, self.broken, self.lock = [], broken, threading.Lock()

    def make(self, inputs, index):
        with self.lock:
            self.asked.append(index)
        if index == self.broken:
            raise OSError("the disk is gone")
        return index


def test_prefetch_keeps_the_order_and_looks_only_a_little_ahead():
    numbers = Numbers()
    for seen in prefetch(numbers, None, range(3, 50), n_jobs=2):
        assert len(numbers.asked) <= seen - 3 + 2 * 2 + 1
    assert seen == 49
    assert sorted(numbers.asked) == list(range(3, 50))


def test_prefetch_passes_errors_on():
    with pytest.raises(OSError, match="the disk is gone"):
        list(prefetch(Numbers(broken=2), None, range(5), n_jobs=2))


def test_prefetch_that_is_left_early_leaves_no_thread_behind():
    before = threading.active_count()
    ahead = prefetch(Numbers(), None, range(1000), n_jobs=2)
    assert next(ahead) == 0
    ahead.close()
    assert threading.active_count() == before
