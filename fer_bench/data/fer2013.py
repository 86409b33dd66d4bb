"""FER2013 by name: what it must hold, where it lies on this machine, and how to get it."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from fer_bench import cache
from fer_bench.errors import FerBenchError
from fer_bench.progress import Progress, silent

if TYPE_CHECKING:
    from fer_bench.data.dataset import Dataset

NAME = "fer2013"
ENVIRONMENT_VARIABLE = "FER_BENCH_DATA"
COUNTS = {
    "angry": (3995, 467, 491),
    "disgust": (436, 56, 55),
    "fear": (4097, 496, 528),
    "happy": (7215, 895, 879),
    "sad": (4830, 653, 594),
    "surprise": (3171, 415, 416),
    "neutral": (4965, 607, 626),
}
"""Images of each class in Training, PublicTest and PrivateTest: 28,709, 3,589 and 3,589, 35,887 in all."""
CLASSES = tuple(COUNTS)
"""In the order of the labels 0..6."""
BRIGHTNESS = {
    "angry": (126.23, 127.06, 128.51),
    "disgust": (135.23, 135.85, 133.43),
    "fear": (135.52, 135.31, 134.82),
    "happy": (129.43, 127.61, 127.68),
    "sad": (121.27, 120.16, 120.04),
    "surprise": (146.26, 146.41, 146.28),
    "neutral": (123.90, 124.25, 123.44),
}
"""Mean grey level of the same images, by which the data are known: others with these counts have other pixels."""
SAME_BRIGHTNESS = 0.5
"""Grey levels by which a mean may differ: JPEG copies of the images do by less."""
FINGERPRINT = "072036ffc5d720a4"
"""Of the original file as it is read here: what is known of it holds whatever an audit says."""
FILES = [f"{stem}.csv{packed}" for stem in ("fer2013", "icml_face_data") for packed in ("", ".xz", ".gz", ".zip")]
KAGGLE = ("deadskull7/fer2013", "msambare/fer2013")
"""Public copies: the original fer2013.csv, and JPEG images in train and test folders."""


def is_fer2013(dataset: "Dataset") -> bool:
    """Whether these are FER2013's images, whatever the classes are called and sorted by, as pixels or as JPEGs.

    Known by the images per class and subset, and by their brightness.
    """
    from fer_bench.data.dataset import SUBSETS

    if dataset.subsets is None:
        return False
    per_subset = [dataset.class_counts(dataset.subsets == subset).tolist() for subset in SUBSETS]
    by_class: list[tuple[int, ...]] = list(zip(*per_subset, strict=True))
    if sorted(by_class) != sorted(COUNTS.values()):
        return False
    names: dict[tuple[int, ...], str] = {counts: name for name, counts in COUNTS.items()}
    means = dataset.images.reshape(len(dataset), -1).mean(axis=1)
    for code, counts in enumerate(by_class):
        for subset, known in zip(SUBSETS, BRIGHTNESS[names[counts]], strict=True):
            rows = (dataset.labels == code) & (dataset.subsets == subset)
            if abs(means[rows].mean() - known) > SAME_BRIGHTNESS:
                return False
    return True


def check(dataset: "Dataset", path: Path) -> None:
    """Raise FerBenchError where what was read from `path` is not FER2013, complete and with its three subsets."""
    if not is_fer2013(dataset):
        raise FerBenchError(
            f"{path}: not the whole FER2013, which has 35,887 images in 7 classes (28,709 Training, 3,589 PublicTest, "
            f"3,589 PrivateTest), or with other pixels; this has {len(dataset):,} in {len(dataset.class_names)}; "
            "as it is: --data PATH"
        )


def locate(progress: Progress = silent) -> Path:
    """The file or folder that holds FER2013: where FER_BENCH_DATA points, in the cache's downloads, or downloaded now.

    Raises FerBenchError, in one line saying what to download and where to put it, where none of them has it.
    """
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    if named:
        path = cache.expanded(named)
        if not path.exists():
            raise FerBenchError(f"{ENVIRONMENT_VARIABLE} points to {path}, which does not exist")
        return _csv_in(path) or path
    downloads = cache.root() / "downloads"
    folder = downloads / NAME
    if found := _csv_in(downloads) or _csv_in(folder):
        return found
    if not folder.is_dir():
        folder = _download(downloads, progress)
    return _csv_in(folder) or folder


def _csv_in(folder: Path) -> Path | None:
    return next((folder / name for name in FILES if (folder / name).is_file()), None)


def _download(downloads: Path, progress: Progress) -> Path:
    """Fetch a public copy with kagglehub, and link to it where the next start looks."""
    advice = (
        f"download fer2013.csv (kaggle.com/datasets/{KAGGLE[0]}) and put it at {downloads / FILES[0]}, "
        f"or set {ENVIRONMENT_VARIABLE} to where it lies"
    )
    try:
        import kagglehub
    except ImportError as error:
        raise FerBenchError(f"FER2013 is not on this machine and kagglehub is not installed: {advice}") from error
    failures = []
    for handle in KAGGLE:
        progress(0.0, f"downloading FER2013 from Kaggle ({handle})")
        try:
            folder = Path(kagglehub.dataset_download(handle))
        except Exception as error:  # kagglehub and requests share no base class
            failures.append(type(error).__name__)
            continue
        _link(downloads / NAME, folder)
        return folder
    raise FerBenchError(
        f"FER2013 is not on this machine and Kaggle cannot be reached ({', '.join(failures)}): {advice}"
    )


def _link(link: Path, folder: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    work = link.with_name(f".{link.name}.{os.getpid()}")
    work.symlink_to(folder, target_is_directory=True)
    work.replace(link)
