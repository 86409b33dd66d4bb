"""The embedded default dataset: rendered faces, no download.

A class is a set of action units (see `faces`), shown more or less strongly by people, in poses and in
light that have nothing to do with the class. Classes and their frequencies are FER2013's.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from fer_bench.cache import replace_folder
from fer_bench.data import fer2013
from fer_bench.data.dataset import Dataset
from fer_bench.errors import FerBenchError, listing

BLOCK = (28, 3, 28, 50, 34, 22, 35)
"""Rows of each class in every 200: FER2013's training set (3995 436 4097 7215 4830 3171 4965 of 28,709)."""

PROTOTYPES: dict[str, tuple[dict[int, float], ...]] = {
    "angry": (
        {4: 1.0, 5: 0.5, 7: 0.8, 23: 1.0},
        {4: 1.0, 7: 0.8, 17: 0.6, 23: 0.9},
        {4: 1.0, 5: 0.4, 7: 0.6, 10: 0.6, 25: 0.8, 26: 0.3},
    ),
    "disgust": (
        {4: 0.4, 7: 0.4, 9: 1.0, 10: 0.6, 17: 0.6},
        {7: 0.3, 9: 0.9, 10: 1.0, 15: 0.4, 25: 0.6},
    ),
    "fear": (
        {1: 1.0, 2: 0.6, 4: 0.7, 5: 0.9, 20: 1.0, 25: 0.7},
        {1: 0.9, 2: 0.5, 4: 0.6, 5: 0.8, 20: 0.6, 25: 0.6, 26: 0.5},
    ),
    "happy": (
        {6: 0.8, 12: 1.0, 25: 1.0},
        {6: 0.5, 12: 0.9},
        {6: 0.9, 12: 1.0, 25: 0.8, 26: 0.4},
    ),
    "sad": (
        {1: 1.0, 4: 0.7, 15: 1.0, 17: 0.5},
        {1: 0.8, 4: 0.5, 15: 0.8, 43: 0.5},
        {1: 0.7, 4: 0.9, 15: 0.6, 17: 0.8},
    ),
    "surprise": (
        {1: 1.0, 2: 1.0, 5: 0.8, 25: 0.5, 26: 1.0},
        {1: 0.9, 2: 0.9, 5: 0.5, 25: 0.6, 26: 0.4},
    ),
    "neutral": ({},),
}
"""Ways to show each expression, as strengths of action units, after the prototypes of EMFACS (Friesen & Ekman,
"EMFACS-7: Emotional Facial Action Coding System", University of California, 1983)."""

LABEL_NOISE = 0.06
"""Share of the images that show another expression than their label says."""
LOOKALIKES = {
    "angry": ("disgust", "sad", "neutral"),
    "disgust": ("angry", "sad"),
    "fear": ("surprise", "sad"),
    "happy": ("neutral", "surprise"),
    "sad": ("neutral", "angry", "fear"),
    "surprise": ("fear", "happy"),
    "neutral": ("sad", "angry", "happy"),
}
"""What is shown instead."""

N_IMAGES = 4500
TURNS = (*["train"] * 8, *["validation"] * 2, *["test"] * 5)
"""Subsets that rows of the built-in data are of in turn: a test of 1,500 images tells rows apart that 300 cannot."""

FAINTEST = 0.35
STRONG = 0.7
TWITCH = 0.3


def _shown(label: str, rng: np.random.Generator) -> str:
    """The expression behind a label: mostly its own."""
    return str(rng.choice(LOOKALIKES[label])) if rng.random() < LABEL_NOISE else label


def _activation(expression: str, rng: np.random.Generator) -> tuple[list[float], str]:
    """Strength of every action unit, and how strong `expression` is: "faint", "strong", or "" where nothing is shown.

    It is one way to show the expression, more or less strongly, and two stray movements.
    """
    from fer_bench.data.synthetic.faces import ACTION_UNITS, N_UNITS

    units = np.zeros(N_UNITS)
    variants = PROTOTYPES[expression]
    strength = FAINTEST + (1 - FAINTEST) * rng.beta(2, 1)
    for unit, share in variants[rng.integers(len(variants))].items():
        units[unit] = share * strength * rng.uniform(0.6, 1.25)
    units[rng.choice(list(ACTION_UNITS), size=2, replace=False)] += TWITCH * rng.random(2)
    intensity = "" if not any(variants) else "strong" if strength >= STRONG else "faint"
    return np.minimum(units, 1).tolist(), intensity


def built_in() -> Dataset:
    """The built-in data: 2,400 faces to train on, 600 to select by and 1,500 to test on."""
    return replace(make_synthetic(N_IMAGES), subsets=np.resize(TURNS, N_IMAGES))


def make_synthetic(n_images: int, random_state: int = 0) -> Dataset:
    """`n_images` rendered gray faces of 48 x 48 pixels in random order of classes, without official subsets.

    Row i depends on `random_state` and i alone: more images are the same images and more. Its slices are pose,
    light, noise, occlusion and intensity, that of the expression.
    Raises FerBenchError for less than one image.
    """
    from fer_bench.data.synthetic.camera import SIDE, render  # brings OpenCV

    if n_images < 1:
        raise FerBenchError(f"a synthetic dataset of {n_images} images: at least 1 is needed")
    order = np.random.default_rng(random_state)
    block = np.repeat(np.arange(len(fer2013.CLASSES)), BLOCK)
    blocks = [order.permutation(block) for _ in range(0, n_images, len(block))]
    labels = np.concatenate(blocks)[:n_images]
    images, levels = np.empty((n_images, SIDE, SIDE), dtype=np.uint8), []
    for row, label in enumerate(labels):
        rng = np.random.default_rng(np.random.SeedSequence(random_state, spawn_key=(row,)))
        units, intensity = _activation(_shown(fer2013.CLASSES[label], rng), rng)
        images[row], seen = render(units, rng)
        levels.append(seen | {"intensity": intensity})
    return Dataset(
        name="synthetic",
        images=images,
        labels=labels,
        class_names=fer2013.CLASSES,
        sample_ids=np.array([f"synthetic-{row:05d}" for row in range(n_images)]),
        slices={name: np.array([level[name] for level in levels]) for name in levels[0]},
        copies="exact",  # each face is rendered anew
        notes=(
            "faces rendered from facial action units, not photographs",
            f"label noise: about {LABEL_NOISE:.0%} of the images show another expression than their label says",
        ),
    )


def write_folder(dataset: Dataset, folder: Path) -> None:
    """Write the images as `folder`/<class>/<sample id>.png, all of them or none.

    Raises FerBenchError where `folder` holds something already or a name cannot be a file's name,
    OSError where it cannot be written.
    """
    folder = Path(folder).resolve()
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise FerBenchError(f"{folder} exists and is not an empty folder: name a new folder to write to")
    names = [*dataset.class_names, *map(str, dataset.sample_ids)]
    unfit = [repr(name) for name in names if not name or name.startswith(".") or set(name) & set("/\\:\0")]
    if unfit:
        raise FerBenchError(f"{len(unfit):,} of the names cannot be the name of a file:\n{listing(unfit)}")
    replace_folder(folder, lambda work: _write_classes(dataset, work))


def _write_classes(dataset: Dataset, folder: Path) -> None:
    import cv2

    for name in dataset.class_names:
        (folder / name).mkdir()
    for image, label, sample_id in zip(dataset.images, dataset.labels, dataset.sample_ids, strict=True):
        pixels = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        _, png = cv2.imencode(".png", pixels)
        (folder / dataset.class_names[label] / f"{sample_id}.png").write_bytes(png.tobytes())
