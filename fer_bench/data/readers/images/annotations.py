"""Image sets whose labels lie in a list beside the images, as they are given out: RAF-DB and ExpW."""

from collections.abc import Sequence
from pathlib import Path

from fer_bench.data.readers.decoded import official_subset
from fer_bench.data.readers.images.decoding import ImageFile
from fer_bench.errors import FerBenchError, listing

RAF_LIST, EXPW_LIST = "list_patition_label.txt", "label.lst"  # the first is spelled so
RAF_CLASSES = dict(zip("1234567", ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral"), strict=True))
EXPW_CLASSES = dict(zip("0123456", ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"), strict=True))


def listed_images(
    root: Path, pictures: Sequence[str], paths: Sequence[str]
) -> tuple[list[ImageFile], list[str]] | None:
    """The faces that a known list below `root` names among `pictures`, and a note; None where there is no such list.

    Raises FerBenchError naming every line that is not as the set's own, or whose image is missing.
    """
    for name, read in ((RAF_LIST, _raf), (EXPW_LIST, _expw)):
        lists = [path for path in paths if path.rsplit("/", 1)[-1] == name]
        if len(lists) == 1:
            by_name = {path.rsplit("/", 1)[-1]: path for path in pictures}
            if len(by_name) < len(pictures):
                raise FerBenchError(f"{root}: {len(pictures) - len(by_name):,} images have the name of another")
            files, problems = [], []
            for number, line in enumerate((root / lists[0]).read_text("utf-8-sig", "replace").splitlines(), 1):
                if cells := line.split():
                    try:
                        files.append(read(cells, by_name))
                    except (KeyError, ValueError, IndexError):
                        problems.append(f"line {number}: {line[:80]!r} is not as expected, or its image is missing")
            if problems or not files:
                raise FerBenchError(f"{root / lists[0]}: {len(problems):,} bad lines\n{listing(problems)}")
            return files, [f"labels from {lists[0]}"]
    return None


def _raf(cells: Sequence[str], by_name: dict[str, str]) -> ImageFile:
    """`train_00001.jpg 5`, its image aligned or as it was (Li et al. 2017)."""
    name, label = cells
    stem, _, suffix = name.rpartition(".")
    path = by_name.get(f"{stem}_aligned.{suffix}") or by_name[name]
    return ImageFile(path, RAF_CLASSES[label], official_subset(name.split("_")[0]))


def _expw(cells: Sequence[str], by_name: dict[str, str]) -> ImageFile:
    """`image face top left right bottom confidence label`, several faces an image (Zhang et al. 2018)."""
    name, face, top, left, right, bottom, _, label = cells
    box = (int(left), int(top), int(right), int(bottom))
    return ImageFile(
        by_name[name], EXPW_CLASSES[label], box=box, sample_id=f"{by_name[name]}#{face}", columns={"image": name}
    )
