"""How many faces in photographs are found, and how many of these are named as the bare face is.

python benchmarks/placed_faces.py my-model/ [validation]

No real photographs are part of this project: 300 of the test images, or of another subset, that the bundle's data have
in the cache are put before blurred noise, 640 x 480, at 48, 96 and 224 pixels, and found and cut out as `predict
--faces` does it.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
from tabulate import tabulate

from fer_bench import load_model
from fer_bench.data import Dataset, Split
from fer_bench.deploy import Box, Bundle
from fer_bench.deploy.exporting.choosing import stored_folder

SIZES, N_FACES, PHOTO = (48, 96, 224), 300, (480, 640)
SURE = 0.5


def wall(rng: np.random.Generator) -> np.ndarray:
    """Noise of four grains, RGB."""
    grains = [rng.normal(0, 60 / n**0.5, (n, n, 3)).astype(np.float32) for n in (4, 8, 16, 32)]
    noise = sum(cv2.resize(grain, PHOTO[::-1], interpolation=cv2.INTER_CUBIC) for grain in grains)
    return np.clip(noise + 128, 0, 255).astype(np.uint8)


def placed(face: np.ndarray, size: int, rng: np.random.Generator) -> tuple[np.ndarray, Box]:
    """A photograph with `face`, uint8 (h, w[, 3]), somewhere in it, and where."""
    photo = wall(rng)
    top, left = (int(rng.integers(length - size)) for length in PHOTO)
    larger = cv2.resize(face, (size, size), interpolation=cv2.INTER_CUBIC)
    photo[top : top + size, left : left + size] = larger if face.ndim == 3 else larger[..., None]
    return photo, Box(left, top, size, size)


def is_hit(box: Box, true: Box) -> bool:
    """Whether `box` is of the face in `true`: its middle in it, and about as large."""
    across, down = box.left + box.width / 2 - true.left, box.top + box.height / 2 - true.top
    return 0 <= across <= true.width and 0 <= down <= true.height and 0.4 < box.width / true.width < 1.6


def looked_for(bundle: Bundle, faces: np.ndarray, labels: np.ndarray) -> list[tuple[int, bool, bool, bool, bool, bool]]:
    """Of each of `faces`: size, found, named as bare, sure when bare, right when bare, right when found."""
    rng, bare, rows = np.random.default_rng(1), bundle.predict(faces), []
    for at, face in enumerate(faces):
        photo, true = placed(face, SIZES[at % len(SIZES)], rng)
        hits = [box for box in bundle.find_faces(photo) if is_hit(box, true)][:1]
        own, told = bare[at].argmax(), bundle.predict_squares(bundle.cut(photo, hits)).argmax() if hits else -1
        rows.append(
            (true.width, bool(hits), told == own, bare[at].max() >= SURE, own == labels[at], told == labels[at])
        )
    return rows


def main() -> None:
    bundle, subset = load_model(sys.argv[1]), (sys.argv[2:] or ["test"])[0]
    data = bundle.card["data"]
    folders = [
        stored_folder(kind, data[name], bundle.card["training"]["command"])
        for kind, name in (("datasets", "fingerprint"), ("splits", "split_fingerprint"))
    ]
    dataset, rows = Dataset.load(folders[0]), Split.load(folders[1]).subsets()[subset]
    rows = rows[:: max(1, len(rows) // N_FACES)][:N_FACES]
    found = np.array(looked_for(bundle, np.asarray(dataset.images[rows]), dataset.labels[rows]))
    lines = []
    for size in (*SIZES, None):
        own = found if size is None else found[found[:, 0] == size]
        hit = own[own[:, 1] == 1]
        sure = hit[hit[:, 3] == 1]
        lines.append((
            size or "all", f"{len(hit)} of {len(own)}", f"{hit[:, 2].mean():.0%}",
            f"{sure[:, 2].mean():.0%} of {len(sure)}", f"{hit[:, 4].mean():.0%}", f"{hit[:, 5].mean():.0%}",
        ))  # fmt: skip
    headers = (
        "pixels",
        "found",
        "named as bare",
        f"those with {SURE:.0%} or more when bare",
        "right, bare",
        "right, found",
    )
    print(f"{Path(sys.argv[1]).name}: {bundle.card['run']}, {subset} images of {data['name']}")
    print(tabulate(lines, headers, "pipe"))


if __name__ == "__main__":
    main()
