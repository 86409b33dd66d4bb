"""Folders of images: one folder per class, or one such tree per subset."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from fer_bench.data.options import ReadOptions
from fer_bench.data.readers import image_files
from fer_bench.data.readers.decoded import TRAIN, Decoded, distinct_names, official_subset
from fer_bench.data.readers.image_files import ImageFile
from fer_bench.data.readers.picture_types import is_picture
from fer_bench.errors import FerBenchError, listing
from fer_bench.progress import Progress, silent

FER2013_NAME = re.compile(r"(Training|PublicTest|PrivateTest)_\d+", re.IGNORECASE)


def read_folder(
    root: Path, paths: Sequence[str], scratch: Path, options: ReadOptions, progress: Progress = silent
) -> Decoded:
    """Read the images among `paths` below `root`: "class/image" or "subset/class/image"; a folder ends with "/".

    Raises FerBenchError as `find_images` and `image_files.read_images` do.
    """
    return image_files.read_images(root, *find_images(root, paths), scratch, options, progress)


def find_images(root: Path, paths: Sequence[str]) -> tuple[list[ImageFile], list[str]]:
    """The image files among `paths` (see `read_folder`), sorted by path, and notes on what was passed over.

    Raises FerBenchError where the folders are not classes, or classes in subsets: too few of them, an empty one,
    one that holds folders, subsets with different classes.
    """
    parts = [PurePosixPath(path).parts for path in sorted(paths) if path.endswith("/")]
    tops = [top for (top, *below) in parts if not below]
    subsets = _subset_folders(root, tops)
    depth = 2 if subsets else 1
    nested = ["/".join(folder) for folder in parts if len(folder) > depth]
    if nested:
        raise FerBenchError(
            f"{root}: {len(nested):,} folders where images should be; images lie directly in the folder of their "
            f"class. If the data is one folder deeper, give that one.\n{listing(nested, 5)}"
        )
    classes: dict[tuple[str, ...], list[ImageFile]] = {folder: [] for folder in parts if len(folder) == depth}
    _check_classes(root, classes, subsets)
    passed_over = []
    for path in sorted(path for path in paths if not path.endswith("/")):
        *folder, name = path.split("/")
        images = classes.get(tuple(folder))
        if images is None or name.startswith(".") or not is_picture(root / path):
            passed_over.append(name)
        else:
            images.append(ImageFile(path, folder[-1], subsets.get(folder[0])))
    empty = ["/".join(folder) for folder, images in classes.items() if not images]
    if empty:
        raise FerBenchError(f"{root}: class folders without an image\n{listing(empty)}")
    files, notes = _follow_names([image for images in classes.values() for image in images])
    return files, notes + _passed_over_note(passed_over)


def _subset_folders(root: Path, tops: Sequence[str]) -> dict[str, str]:
    """The subset that each of the folders `tops` is, or nothing where they are classes."""
    subsets = {top: subset for top in tops if (subset := official_subset(top))}
    others = [top for top in tops if top not in subsets]
    if subsets and others:
        raise FerBenchError(
            f"{root}: has subsets ({', '.join(subsets)}) beside other folders ({', '.join(others[:5])}); "
            "it must hold either classes, or train, validation and test"
        )
    twice = [subset for subset, count in Counter(subsets.values()).items() if count > 1]
    if twice:
        same = [top for top in tops if subsets[top] in twice]
        raise FerBenchError(f"{root}: the folders {', '.join(same)} are the same subset, {', '.join(twice)}")
    return subsets


def _check_classes(root: Path, folders: Iterable[tuple[str, ...]], subsets: dict[str, str]) -> None:
    """At least two classes, the same ones in every subset; otherwise FerBenchError."""
    held: dict[str, set[str]] = defaultdict(set, {subset: set() for subset in subsets})
    for *above, class_name in folders:
        held["/".join(above)].add(class_name)
    names: set[str] = set().union(*held.values())
    if len(names) < 2:
        found = f"one class folder ({', '.join(names)})" if names else "no class folders"
        raise FerBenchError(f"{root}: {found}; at least two are needed, with the images of each class in it")
    distinct_names(root, names)
    missing = [f"{top} has no folder {name!r}" for top in held for name in sorted(names - held[top])]
    if missing:
        raise FerBenchError(f"{root}: the subsets have different classes\n{listing(missing)}")


def _follow_names(files: list[ImageFile]) -> tuple[list[ImageFile], list[str]]:
    """FER2013's subsets where every file is named after one, as in Kaggle's copies, and no folder disagrees."""
    named = [match[1] if (match := FER2013_NAME.match(PurePosixPath(file.path).name)) else "" for file in files]
    subsets = [official_subset(name) for name in named]
    if not all(subsets):
        return files, []
    if any(
        file.subset and (file.subset == TRAIN) != (subset == TRAIN) for file, subset in zip(files, subsets, strict=True)
    ):
        return files, ["files are named after other subsets than the folders they lie in: the folders were followed"]
    return [replace(file, subset=subset) for file, subset in zip(files, subsets, strict=True)], []


def _passed_over_note(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    kinds = Counter(PurePosixPath(name).suffix.lower() or name for name in names)
    shown = ", ".join(kind for kind, _ in kinds.most_common(5))
    return [f"passed over {len(names):,} files that are no images of a class ({shown})"]
