"""How many altered copies of images are found among all images, by kind; on FER2013 the share is what counts."""

import cv2
import numpy as np
import pytest
from settings import QUICK

from fer_bench.data import Dataset, find_copies, open_dataset

COPIES = 5 if QUICK else 200
"""Altered images of each kind, each of another image."""
FILLS = (cv2.BORDER_REFLECT, cv2.BORDER_REPLICATE, cv2.BORDER_CONSTANT)
RNG = np.random.default_rng(0)


def warped(turn: float = 0, right: float = 0, down: float = 0, zoom: float = 1):
    """Turns by up to so many degrees, moves by up to so many pixels of 48 on each axis, zooms."""

    def alter(image):
        side = len(image)
        matrix = cv2.getRotationMatrix2D(((side - 1) / 2,) * 2, RNG.uniform(-turn, turn), zoom)
        matrix[:, 2] += RNG.uniform(-1, 1, 2) * (right, down) * side / 48
        return cv2.warpAffine(image, matrix, (side, side), borderMode=FILLS[RNG.integers(3)])

    return alter


def relit(image):
    light = 255 * (image / 255) ** RNG.uniform(0.5, 2) * RNG.uniform(0.6, 1.2) + RNG.uniform(-30, 30)
    return np.clip(light, 0, 255).astype(np.uint8)


def as_keras_augments(image):
    image = image[:, ::-1].copy() if RNG.integers(2) else image
    return warped(10, 4.8, 4.8, RNG.uniform(0.9, 1.1))(image)


KINDS = {
    "turned by up to 10 degrees": warped(turn=10),
    "moved by up to 6 of 48 pixels": warped(right=6, down=6),
    "zoomed out by a tenth": warped(zoom=0.9),
    "zoomed in by a tenth": warped(zoom=1.1),
    "mirrored": lambda image: image[:, ::-1],
    "relit": relit,
    "noisy, deviation 12": lambda image: np.clip(image + RNG.normal(0, 12, image.shape), 0, 255).astype(np.uint8),
    "JPEG, quality 20": lambda image: cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 20])[1], 0),
    "blurred, deviation 1": lambda image: cv2.GaussianBlur(image, (0, 0), 1),
    "blurred, deviation 2": lambda image: cv2.GaussianBlur(image, (0, 0), 2),
    "mirrored or not, turned, moved, zoomed": as_keras_augments,
}


@pytest.fixture
def with_altered(data):
    """The data, and after them COPIES altered images of each kind, of images that are gray."""
    known = open_dataset(data).load()
    sources = RNG.permutation(len(known))[: COPIES * len(KINDS)]
    kinds = np.repeat(list(KINDS), COPIES)
    gray = known.images if known.images.ndim == 3 else known.images.mean(axis=3).astype(np.uint8)
    altered = [KINDS[kind](gray[row]) for kind, row in zip(kinds, sources, strict=True)]
    everything = Dataset(
        "altered",
        np.concatenate([gray, altered]),
        np.concatenate([known.labels, known.labels[sources]]),
        known.class_names,
        np.arange(len(known) + len(sources)).astype(str),
    )
    return everything, kinds


def test_altered_copies_are_found(benchmark, tell, with_altered):
    dataset, kinds = with_altered
    n = len(dataset) - len(kinds)
    copies = benchmark.pedantic(lambda: find_copies(dataset), rounds=1)
    found = copies.among(np.arange(n))[n:] != ""
    shares = {kind: float(found[kinds == kind].mean()) for kind in KINDS}
    least = min(shares.values())
    tell(
        f"share of {COPIES} altered copies of each kind that are found among {n:,} images",
        target="0.9 of each kind, 0.75 of mixtures",
        met=all(share >= (0.75 if "or not" in kind else 0.9) for kind, share in shares.items()),
        threshold=copies.threshold,
        **shares,
    )
    assert QUICK or least > 0.5
