import hashlib
import threading

import numpy as np
import pytest

from fer_bench.models.deep.batches import Batches, DevicePixels, Pixels, augment, made, mixup, prefetch, view
from fer_bench.models.deep.recipe import AUGMENTATIONS, DEFAULT_AUGMENTATION


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
    for seen in prefetch(numbers, None, range(3, 50), n_jobs=2, ahead=4):
        assert len(numbers.asked) <= seen - 3 + 4 + 1
    assert seen == 49
    assert sorted(numbers.asked) == list(range(3, 50))


def test_prefetch_passes_errors_on():
    with pytest.raises(OSError, match="the disk is gone"):
        list(prefetch(Numbers(broken=2), None, range(5), n_jobs=2, ahead=4))


def test_prefetch_that_is_left_early_leaves_no_thread_behind():
    before = set(threading.enumerate())  # some of which may end meanwhile
    ahead = prefetch(Numbers(), None, range(1000), n_jobs=2, ahead=4)
    assert next(ahead) == 0
    ahead.close()
    assert set(threading.enumerate()) <= before


def noise(n=32, size=20, channels=1, seed=7):
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, channels), dtype=np.uint8)


def augmented(images, *names, seed=0):
    return augment(images, np.random.default_rng(seed), names)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("names", "most"), [((), 0), (("mirror",), 0), (("brightness", "contrast"), 1), (AUGMENTATIONS[:-1], 12)]
)
def test_pixels_on_the_device_are_changed_as_on_the_host(names, most, channels):
    """But for rounding, of noise, where an interpolation at a place rounded to 1/32 of a pixel differs most."""
    images, rows = noise(channels=channels), np.array([5, 0, 0, 31, 7])
    on_device = DevicePixels(images, 20, names)
    host = Pixels(images, 20, names).augmented(rows, np.random.default_rng(3)).astype(int)
    device = np.asarray(made(on_device.augmented(rows, np.random.default_rng(3)), on_device.tensor))
    assert device.dtype == np.uint8
    apart = np.abs(device - host)
    assert apart.max() <= most
    assert apart.mean() <= most / 8


def left_bright(n=400, size=48, channels=1):
    images = np.zeros((n, size, size, channels), np.uint8)
    images[:, :, : size // 3] = 200
    return images


def square(n=200, size=48):
    """A bright square in the middle, 8 pixels wide."""
    images = np.zeros((n, size, size, 1), np.uint8)
    images[:, 20:28, 20:28] = 255
    return images


def centres(images):
    """Centre of mass (n, 2), x and y."""
    mass = images.astype(float)[..., 0]
    places = np.arange(images.shape[1])
    x, y = (mass.sum(axis=1) * places).sum(axis=1), (mass.sum(axis=2) * places).sum(axis=1)
    return np.stack([x, y], axis=1) / mass.sum(axis=(1, 2))[:, None]


@pytest.mark.parametrize(("channels", "digest"), [(1, "68a0b73b010c8245"), (3, "43ed8dd6778384cc")])
def test_the_default_augmentation_stays_what_it_was(channels, digest):
    """Or else runs of one leaderboard would have been trained differently."""
    changed = augment(noise(channels=channels), np.random.default_rng(3))
    assert hashlib.sha256(changed.tobytes()).hexdigest()[:16] == digest


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("names", [(), *[(name,) for name in AUGMENTATIONS], AUGMENTATIONS])
def test_it_is_seeded_keeps_shape_and_type_and_leaves_its_input_alone(names, channels):
    images = noise(channels=channels)
    images.flags.writeable = False
    first, again, other = (augmented(images, *names, seed=seed) for seed in (1, 1, 2))
    assert first.shape == images.shape
    assert first.dtype == np.uint8
    assert (first == again).all()
    assert (images == noise(channels=channels)).all()
    assert (first != images).any() == bool(names)
    assert (first != other).any() == bool(names)


def test_no_two_images_of_a_batch_are_changed_alike():
    same = np.repeat(noise(n=1), 400, axis=0)
    changed = augment(same, np.random.default_rng(0))
    assert len(np.unique(changed.reshape(400, -1), axis=0)) > 390


def test_mirror_swaps_left_and_right_of_half_of_the_images_and_nothing_else():
    images = noise(n=400, channels=3)
    changed = augmented(images, "mirror")
    mirrored = (changed == images[:, :, ::-1]).all(axis=(1, 2, 3))
    assert 0.4 < mirrored.mean() < 0.6
    assert (changed[~mirrored] == images[~mirrored]).all()


def test_what_is_not_named_is_left_out_and_the_others_stay_as_they_were():
    images = left_bright()
    with_mirror, without = augmented(images, *DEFAULT_AUGMENTATION), augmented(images, "rotation", "zoom", "shift")
    bright_left = with_mirror[:, 24, 4, 0] > with_mirror[:, 24, 43, 0]
    assert (without[:, 24, 4, 0] > without[:, 24, 43, 0]).all()
    assert 0.4 < bright_left.mean() < 0.6
    assert (with_mirror[bright_left] == without[bright_left]).all()


def test_shift_moves_and_rotation_and_zoom_keep_the_centre():
    shifted = centres(augmented(square(), "shift")) - 23.5
    assert 3 < np.abs(shifted).max() < 0.08 * 48 + 0.5
    assert np.abs(shifted.mean(axis=0)).max() < 0.5
    for name in ("rotation", "zoom"):
        assert np.abs(centres(augmented(square(), name)) - 23.5).max() < 0.3


def test_zoom_changes_the_size_by_up_to_an_eighth():
    sides = np.sqrt(augmented(square(), "zoom").sum(axis=(1, 2, 3)) / 255) / 8
    assert 0.86 < sides.min() < 0.92
    assert 1.08 < sides.max() < 1.14


def test_rotation_turns_by_up_to_twelve_degrees_and_keeps_the_size():
    bar = np.zeros((200, 48, 48, 1), np.uint8)
    bar[:, 23:25] = 255  # level, through the centre
    turned = augmented(bar, "rotation")[..., 0].astype(float)
    heights = (turned[:, :, 42] * np.arange(48)).sum(axis=1) / turned[:, :, 42].sum(axis=1)
    degrees = np.degrees(np.arctan((heights - 23.5) / (42 - 23.5)))
    assert 10 < degrees.max() < 13
    assert -13 < degrees.min() < -10


def test_crop_enlarges_a_square_that_lies_within_the_image():
    size = 48
    ramp = np.broadcast_to((5 * np.arange(size, dtype=np.uint8))[None, None, :, None], (300, size, size, 1)).copy()
    left, right = (augmented(ramp, "crop")[:, 24, column, 0].astype(float) / 5 for column in (0, -1))
    shares = (right - left) / (size - 1)
    assert 0.79 < shares.min() < 0.82
    assert 0.98 < shares.max() <= 1
    assert left.min() < 0.5
    assert right.max() > size - 1.5
    assert np.corrcoef(left, right)[0, 1] < 0.5  # not always about the middle


def test_brightness_shifts_all_pixels_and_contrast_keeps_the_mean():
    images = noise(n=300) // 4 + 96  # far from black and white
    brighter = augmented(images, "brightness").astype(int) - images
    assert (brighter == brighter[:, :1, :1]).all()
    assert -52 <= brighter.min() < -45
    assert 45 < brighter.max() <= 52
    changed = augmented(images, "contrast").astype(float)
    np.testing.assert_allclose(changed.mean(axis=(1, 2, 3)), images.mean(axis=(1, 2, 3)), atol=0.5)
    spread = changed.std(axis=(1, 2, 3)) / images.std(axis=(1, 2, 3))
    assert 0.68 < spread.min() < 0.75
    assert 1.25 < spread.max() < 1.32


def test_brightness_stops_at_black_and_white():
    images = np.repeat(np.array([0, 255], np.uint8), 100).reshape(200, 1, 1, 1) * np.ones((1, 8, 8, 1), np.uint8)
    changed = augmented(images, "brightness")
    assert changed[:100].max() <= 51
    assert changed[100:].min() >= 204


def test_erasing_fills_one_rectangle_of_about_half_of_the_images_with_random_pixels():
    images = np.full((600, 48, 48, 3), 77, np.uint8)
    changed = augmented(images, "erasing")
    hit = (changed != 77).any(axis=3)
    erased = hit.any(axis=(1, 2))
    assert 0.42 < erased.mean() < 0.58
    areas = []
    for image, mask in zip(changed[erased], hit[erased], strict=True):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        area = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert (area == 77).mean() < 0.1  # solid, and not of one colour
        assert area.std() > 50
        areas.append(area.shape[0] * area.shape[1] / 48**2)
    assert 0.01 < min(areas) < 0.05
    assert 0.3 < max(areas) < 0.42


@pytest.mark.parametrize("dtype", [np.uint8, np.float16])
def test_mixup_blends_pairs_of_rows_and_their_labels_by_one_share(dtype):
    inputs = (100 * np.arange(3)).astype(dtype)[:, None] * np.ones(4, dtype)  # row i is of class i
    labels = np.eye(3, dtype=np.float32)
    shares = []
    for seed in range(200):
        mixed, mixed_labels, weights = mixup(inputs, labels, None, np.random.default_rng(seed), alpha=0.4)
        assert mixed.dtype == dtype
        assert weights is None
        np.testing.assert_allclose(mixed_labels.sum(axis=1), 1, atol=1e-6)
        np.testing.assert_allclose(mixed[:, 0], mixed_labels @ [0, 100, 200], atol=0.51)
        shares.extend(mixed_labels[np.arange(3), mixed_labels.argmax(axis=1)])
    assert np.mean(np.array(shares) > 0.9) > 0.4  # Beta(0.4, 0.4) leans to its ends
    assert 0.5 <= min(shares) < 0.6


def test_mixup_counts_each_label_by_the_weight_of_its_own_row():
    rng = np.random.default_rng(0)
    labels, weights = np.eye(4, dtype=np.float32), np.array([0, 0.5, 1, 2.5], np.float32)
    log_p = np.log(rng.dirichlet(np.ones(4), 4))  # of some network for the blended inputs
    for seed in range(20):
        _, plain, _ = mixup(labels, labels, None, np.random.default_rng(seed), alpha=1.0)
        _, mixed, total = mixup(labels, labels, weights, np.random.default_rng(seed), alpha=1.0)
        wanted = -(plain * weights * log_p).sum(axis=1)  # row i is of class i
        np.testing.assert_allclose(-total * (mixed * log_p).sum(axis=1), wanted, atol=1e-5)
        np.testing.assert_allclose(mixed[total > 0].sum(axis=1), 1, atol=1e-5)
