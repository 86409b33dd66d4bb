"""Textures and what is put together of them: what their values are, and that train alone decides on words and axes."""

from dataclasses import replace

import numpy as np
import pytest

from fer_bench.data import Dataset, make_split
from fer_bench.models.extractors import OrientedGradients
from fer_bench.models.features import stored_features
from fer_bench.models.registry import FEATURES
from fer_bench.models.textures import BinaryPatterns, DenseSift, Together


@pytest.fixture
def images() -> np.ndarray:
    """60 smooth images."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (60, 6, 6))
    return np.uint8(0.8 * np.kron(coarse, np.ones((8, 8))) + rng.integers(0, 50, (60, 48, 48)))


def test_sift_of_a_mirror_is_sift_mirrored_and_light_does_not_matter(images):
    sift = DenseSift(48)
    plain, mirrored = sift.descriptors(images[:4]), sift.descriptors(images[:4, :, ::-1])
    at = {tuple(one): number for number, one in enumerate(sift.positions()[:169])}  # the finest grid
    there = [at[down, 48 - right] for down, right in at]
    cells = plain[:, there].reshape(4, 169, 4, 4, 8)
    turned = cells[:, :, :, ::-1][..., (4 - np.arange(8)) % 8].reshape(4, 169, 128)
    np.testing.assert_allclose(mirrored[:, :169], turned, atol=1e-5)
    np.testing.assert_allclose((plain**2).sum(axis=2), 1, atol=1e-3)
    dark = images[:4] // 2 * 2
    np.testing.assert_allclose(sift.descriptors(dark // 2), sift.descriptors(dark), atol=0.02)


def test_binary_patterns_are_counted_cell_by_cell(images):
    from skimage.feature import local_binary_pattern

    rows = BinaryPatterns(48, 10).transform(images)  # cells need not fill the square
    assert rows.shape == (60, 16 * 59) and rows.dtype == np.float32
    patterns = local_binary_pattern(images[7], 8, 1, "nri_uniform")[10:20, 30:40]
    counts = np.bincount(patterns.astype(int).ravel(), minlength=59)
    np.testing.assert_allclose(rows[7].reshape(4, 4, 59)[1, 3] ** 2 * 100, counts, atol=1e-4)


def test_together_keeps_the_distances_of_all_its_parts_side_by_side(images):
    """With as many axes as there are: gradients of several sizes, none of which outweighs the others."""
    sizes = [OrientedGradients(48, 9, cell, 2) for cell in (6, 8)]
    rows = Together(sizes, 1000).fit(images, np.zeros(60)).transform(images)
    parts = [size.transform(images) for size in sizes]
    joined = np.hstack([part / np.sqrt(part.var(axis=0).sum()) for part in parts])
    assert rows.shape == (60, 59)
    far, wanted = (((one[:, None] - one) ** 2).sum(axis=2) for one in (rows, joined))
    np.testing.assert_allclose(far, wanted, atol=1e-3)


@pytest.mark.parametrize("name", ["bovw", "hog-lbp"])
def test_words_and_axes_come_from_training_images_alone(images, name):
    labels = np.arange(60) % 3
    dataset = Dataset("made", images, labels, ("a", "b", "c"), np.arange(60).astype(str))
    split = make_split(dataset)
    others = images.copy()
    others[np.concatenate([split.validation, split.test])] //= 3
    own, changed = (stored_features(FEATURES[name], replace(dataset, images=some), split) for some in (images, others))
    assert np.array_equal(own.train, changed.train) and not np.array_equal(own.test, changed.test)
