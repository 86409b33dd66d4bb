"""Image files whose names, or files of labels beside them, say what they show: CK+, JAFFE, KDEF, RaFD, Yale."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from fer_bench.data.options import ReadOptions
from fer_bench.data.readers.attributes.classes import asked_for
from fer_bench.data.readers.attributes.names import EXPRESSIONS, recognised
from fer_bench.data.readers.decoded import same_name, subset_of
from fer_bench.data.readers.images.decoding import ImageFile
from fer_bench.errors import FerBenchError, listing

CK_EMOTION = re.compile(r"(S\d{3}_\d{3})_\d{8}_emotion\.txt", re.IGNORECASE)
CK_FRAME = re.compile(r"(S\d{3}_\d{3})_\d{8}", re.IGNORECASE)
CK_CLASSES = ("neutral", "angry", "contempt", "disgust", "fear", "happy", "sad", "surprise")
"""By their numbers in CK+'s files (Lucey et al. 2010)."""
CK_LAST = 3
"""Frames at the end of a sequence that show its emotion, as is customary."""
OTHERWISE = "names written otherwise"
Named = tuple[list[ImageFile], list[str]]


def named_images(root: Path, pictures: Sequence[str], paths: Sequence[str], options: ReadOptions) -> Named | None:
    """The labelled images among `pictures`, and notes; None where names say nothing or each folder is one class.

    Conditions that are no expressions are left out, unless `options.classes` names them.
    """
    found = recognised(pictures)
    if found is None:
        return None
    data_set, parts = found
    if data_set == "CK+":
        return _extended_cohn_kanade(root, pictures, paths)
    if _folders_are_classes(pictures, parts):
        return None
    expressions = EXPRESSIONS[data_set]
    asked = asked_for(options.classes) - {""}
    files, left_out = [], Counter[str]()
    for path, part in zip(pictures, parts, strict=True):
        shown = part.get("expression", "")
        if (name := expressions.get(shown)) or same_name(shown) in asked:
            columns = {key: value for key, value in part.items() if key not in ("person", "expression")}
            files.append(
                ImageFile(path, name or shown.lower(), subset_of(str(PurePosixPath(path).parent)), columns=columns)
            )
        else:
            left_out[shown.lower() or OTHERWISE] += 1
    notes = [f"classes are read from file names as in {data_set}"]
    if left_out:
        shown, first = ", ".join(sorted(left_out)), min(left_out)
        hint = "" if first == OTHERWISE else f"; --classes '{first}=neutral' would keep one of these"
        notes.append(f"left out {left_out.total():,} images of no expression ({shown}){hint}")
    return files, notes


def _folders_are_classes(pictures: Sequence[str], parts: Sequence[Mapping[str, str]]) -> bool:
    """Whether the images of every folder show one expression, in more than one folder."""
    shown: dict[PurePosixPath, set[str]] = defaultdict(set)
    for path, part in zip(pictures, parts, strict=True):
        if part:
            shown[PurePosixPath(path).parent].add(part["expression"])
    return len(shown) > 1 and all(len(expressions) == 1 for expressions in shown.values())


def _extended_cohn_kanade(root: Path, pictures: Sequence[str], paths: Sequence[str]) -> Named | None:
    """Of every sequence with a file of its emotion: the last frames show that, the first is neutral."""
    emotions = {match[1].upper(): path for path in paths if (match := CK_EMOTION.fullmatch(PurePosixPath(path).name))}
    if not emotions:
        return None
    frames: dict[str, list[str]] = defaultdict(list)
    for path in sorted(pictures, key=lambda path: PurePosixPath(path).name):
        if match := CK_FRAME.match(PurePosixPath(path).name):
            frames[match[1].upper()].append(path)
    classes, problems = {}, []
    for sequence, path in sorted(emotions.items()):
        try:
            classes[sequence] = CK_CLASSES[int(float((root / path).read_text()))]
        except (OSError, ValueError, OverflowError, IndexError):
            problems.append(f"{path}: no number from 0 to {len(CK_CLASSES) - 1}")
    if problems:
        raise FerBenchError(f"{root}: files of emotions that cannot be read\n{listing(problems)}")
    files = []
    for sequence, name in classes.items():
        first, last = frames[sequence][:1], frames[sequence][1:][-CK_LAST:]
        files += [ImageFile(path, "neutral") for path in first] + [ImageFile(path, name) for path in last]
    unlabelled = len(set(frames) - set(classes))
    return sorted(files, key=lambda file: file.path), [
        f"CK+: of {len(classes):,} sequences with an emotion the first frame is read as neutral and the last "
        f"{CK_LAST} as the emotion; {unlabelled:,} sequences without one are left out"
    ]
