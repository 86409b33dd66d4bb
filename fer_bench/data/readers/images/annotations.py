"""Image sets whose labels lie beside the images in files of the set's own form: RAF-DB, ExpW, FER+, AffectNet, YOLO."""

import csv
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from fer_bench.archives import is_hidden
from fer_bench.data import fer2013
from fer_bench.data.options import ReadOptions
from fer_bench.data.readers.attributes.classes import asked_for
from fer_bench.data.readers.decoded import drop_bad, official_subset, same_name, subset_of
from fer_bench.data.readers.images.decoding import ImageFile, told_apart
from fer_bench.data.readers.npz_files import DAMAGE
from fer_bench.errors import FerBenchError

Listed = tuple[list[ImageFile], list[str]]
RAF_CLASSES = dict(zip("1234567", ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral"), strict=True))
EXPW_CLASSES = dict(zip("0123456", fer2013.CLASSES, strict=True))
EXPRESSIONS = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt")
NOT_EXPRESSIONS = ("none", "uncertain", "no-face", "unknown", "no majority")
"""Classes of AffectNet and FER+ that are left out."""
AFFECTNET_CLASSES = {str(number): name for number, name in enumerate(EXPRESSIONS + NOT_EXPRESSIONS[:3])}
EXPRESSION_FILE = "_exp.npy"
FERPLUS_VOTES = ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt", "unknown", "no-face")
RAF_LIST, EXPW_LIST, FERPLUS_LIST = "list_patition_label.txt", "label.lst", "label.csv"  # the first is spelled so
FERPLUS_LINE = re.compile(r'[^,]+,("\([\d, ]+\)",)?(\d+,){9}\d+')
YOLO_NAMES = ("classes.txt", "obj.names")
LARGEST_YAML = 1 << 20


def annotated_images(root: Path, pictures: Sequence[str], paths: Sequence[str], options: ReadOptions) -> Listed | None:
    """The faces that files of a known form below `root` tell of among `pictures`, and notes; None without such files.

    Raises FerBenchError naming every line or file that is not as it should be, or whose image is missing, unless
    `options.skip_bad` drops them.
    """
    by_name = {path.rpartition("/")[2]: path for path in paths}
    for name, read in ((RAF_LIST, _raf), (EXPW_LIST, _expw)):
        if name in by_name:
            return _by_lines(root, by_name[name], pictures, read, options)
    if voted := [path for path in paths if path.rpartition("/")[2] == FERPLUS_LIST and _is_ferplus(root / path)]:
        return _ferplus(root, pictures, voted, options)
    if expressions := [path for path in paths if path.endswith(EXPRESSION_FILE) and not is_hidden(path)]:
        return _affectnet(root, pictures, expressions, options)
    for path in paths:
        if (classes := _yolo_classes(root / path)) and (found := _yolo(root, pictures, set(paths), classes, options)):
            return found
    return None


def expressions_only(files: Sequence[ImageFile], options: ReadOptions) -> Listed:
    """`files` without those of the classes that are no expressions, unless `--classes` names them, and a note."""
    kept = asked_for(options.classes)
    others = [name for name in NOT_EXPRESSIONS if same_name(name) not in kept]
    out = Counter(file.class_name for file in files if file.class_name in others)
    note = f"left out {out.total():,} images of no expression ({', '.join(sorted(out))})"
    return [file for file in files if file.class_name not in out], [note] if out else []


def _by_lines(
    root: Path, path: str, pictures: Sequence[str], read: Callable[[Sequence[str], Mapping[str, str]], ImageFile],
    options: ReadOptions,
) -> Listed:  # fmt: skip
    """What `read` makes of the cells of every line, and of the pictures by their names."""
    by_name = {path.rpartition("/")[2]: path for path in pictures}
    if len(by_name) < len(pictures):
        raise FerBenchError(f"{root}: {len(pictures) - len(by_name):,} images have the name of another")
    files, problems = [], []
    for number, line in enumerate((root / path).read_text("utf-8-sig", "replace").splitlines(), 1):
        if cells := line.split():
            try:
                files.append(read(cells, by_name))
            except (KeyError, ValueError, IndexError):
                problems.append(f"line {number}: {line[:80]!r} is not as expected, or its image is missing")
    notes = drop_bad(root / path, "bad lines", len(files) + len(problems), problems, options.skip_bad)
    return files, [f"labels from {PurePosixPath(path).name}", *notes]


def _raf(cells: Sequence[str], by_name: Mapping[str, str]) -> ImageFile:
    """`train_00001.jpg 5`, its image aligned or as it was (Li et al. 2017)."""
    name, label = cells
    stem, _, suffix = name.rpartition(".")
    path = by_name.get(f"{stem}_aligned.{suffix}") or by_name[name]
    return ImageFile(path, RAF_CLASSES[label], official_subset(name.split("_")[0]))


def _expw(cells: Sequence[str], by_name: Mapping[str, str]) -> ImageFile:
    """`image face top left right bottom confidence label`, several faces an image (Zhang et al. 2018)."""
    name, face, top, left, right, bottom, _, label = cells
    path, box = by_name[name], (int(left), int(top), int(right), int(bottom))
    return ImageFile(path, EXPW_CLASSES[label], box=box, sample_id=f"{path}#{face}", columns={"image": name})


def _is_ferplus(path: Path) -> bool:
    with path.open(errors="replace") as file:
        return bool(FERPLUS_LINE.fullmatch(file.readline(1000).strip()))


def _ferplus(root: Path, pictures: Sequence[str], lists: Sequence[str], options: ReadOptions) -> Listed:
    """`fer0000000.png,"(0, 0, 48, 48)",4,0,0,1,3,2,0,0,0,0` in each subset's folder (Barsoum et al. 2016)."""
    there, files, problems, total = set(pictures), [], [], 0
    for path in sorted(lists):
        folder = path.removesuffix(FERPLUS_LIST)
        with (root / path).open(newline="", errors="replace") as lines:
            for number, cells in enumerate(csv.reader(lines), 1):
                total += 1
                counts = [int(cell) for cell in cells[-len(FERPLUS_VOTES) :] if cell.strip().isdecimal()]
                if len(counts) != len(FERPLUS_VOTES) or f"{folder}{cells[0]}" not in there:
                    shown = ",".join(cells)[:60]
                    problems.append(f"{path}, line {number}: {shown!r} is not as expected, or its image is missing")
                    continue
                votes = dict(zip(FERPLUS_VOTES, counts, strict=True))
                name = f"{folder}{cells[0]}"
                files.append(ImageFile(name, _majority(votes), subset_of(folder), votes=votes))
    dropped = drop_bad(root, "bad lines", total, problems, options.skip_bad)
    files, left_out = expressions_only(files, options)
    return files, ["labels by the majority of FER+'s votes", *dropped, *left_out]


def _majority(votes: Mapping[str, int]) -> str:
    """What more than half of the taggers say, single votes not counted, as in the authors' code."""
    counted = {name: count for name, count in votes.items() if count > 1}
    most = max(counted, key=counted.__getitem__, default="")
    return most if 2 * counted.get(most, 0) > sum(counted.values()) else NOT_EXPRESSIONS[-1]


def _affectnet(root: Path, pictures: Sequence[str], expressions: Sequence[str], options: ReadOptions) -> Listed:
    """`images/17.jpg` and `annotations/17_exp.npy`, a number in it (Mollahosseini et al. 2019)."""
    by_place = {((place := PurePosixPath(path)).parent.parent, place.stem): path for path in pictures}
    files, problems = [], []
    for path in sorted(expressions):
        place = PurePosixPath(path)
        picture = by_place.get((place.parent.parent, place.name.removesuffix(EXPRESSION_FILE)))
        try:
            label = str(int(float(np.load(root / path, allow_pickle=False).item())))
            files.append(ImageFile(picture or "", AFFECTNET_CLASSES[label], subset_of(path)))
        except (*DAMAGE, AttributeError) as error:  # an .npz under this name has no item
            problems.append(f"{path}: no number from 0 to {len(AFFECTNET_CLASSES) - 1} ({error})"[:160])
        else:
            problems += [f"{path}: its image is missing"] * (picture is None)
    dropped = drop_bad(root, "bad annotations", len(expressions), problems, options.skip_bad)
    files, left_out = expressions_only([file for file in files if file.path], options)
    return files, [f"labels from AffectNet's files *{EXPRESSION_FILE}", *dropped, *left_out]


def _yolo_classes(path: Path) -> dict[int, str]:
    """The names of the classes in a data.yaml or classes.txt by their numbers; none in any other file."""
    if path.name in YOLO_NAMES:
        return dict(enumerate(line.strip() for line in _lines(path)))
    if path.suffix.lower() not in (".yaml", ".yml"):
        return {}
    import yaml

    try:
        content: Any = yaml.safe_load(path.read_text("utf-8")) if path.stat().st_size < LARGEST_YAML else None
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return {}
    names = content.get("names") if isinstance(content, dict) else None
    numbered = names.items() if isinstance(names, dict) else enumerate(names if isinstance(names, list) else ())
    return {int(number): str(name) for number, name in numbered if str(number).isdecimal()}


def _yolo(
    root: Path, pictures: Sequence[str], paths: set[str], classes: Mapping[int, str], options: ReadOptions
) -> Listed | None:
    """`images/1.jpg` and `labels/1.txt`, a line a face: number of its class, centre, width and height as shares."""
    files: list[ImageFile] = []
    problems, without, lines = [], 0, 0
    for picture in pictures:
        *folders, name = picture.split("/")
        for at in reversed([at for at, folder in enumerate(folders) if folder == "images"]):
            folders[at] = "labels"
            break
        path = "/".join([*folders, f"{PurePosixPath(name).stem}.txt"])
        faces = [line.split() for line in _lines(root / path)] if path in paths else []
        without += not faces
        lines += len(faces)
        for cells in faces:
            try:
                box = _yolo_box([float(cell) for cell in cells[1:]])
                subset = subset_of(picture.rpartition("/")[0])
                files.append(ImageFile(picture, classes[int(cells[0])], subset, box, in_shares=True))
            except (ValueError, KeyError):
                problems.append(f"{path}: {' '.join(cells)[:60]!r} is no class of {len(classes)} with a box")
    if not lines:
        return None
    dropped = drop_bad(root, "bad lines", lines, problems, options.skip_bad)
    note = [f"left out {without:,} images without a face in YOLO's labels"] if without else []
    return told_apart(files), ["labels and boxes as for YOLO", *dropped, *note]


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text("utf-8-sig", "replace").splitlines() if line.strip()]


def _yolo_box(shares: Sequence[float]) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a centre with a size, or of a polygon. Raises ValueError for what is neither."""
    if not np.isfinite(shares).all() or len(shares) < 4 or len(shares) % 2:
        raise ValueError(f"{len(shares)} numbers")
    if len(shares) == 4:
        x, y, width, height = shares
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2
    return min(shares[::2]), min(shares[1::2]), max(shares[::2]), max(shares[1::2])
