"""Folders of images: one folder per class, one such tree per subset, or file names that say the class."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from fer_bench.archives import is_hidden
from fer_bench.data.options import ReadOptions
from fer_bench.data.readers.attributes.classes import renamed
from fer_bench.data.readers.decoded import TRAIN, Decoded, class_spellings, official_subset, same_name
from fer_bench.data.readers.images import decoding
from fer_bench.data.readers.images.annotations import RAF_CLASSES, annotated_images
from fer_bench.data.readers.images.decoding import ImageFile
from fer_bench.data.readers.images.lists import find_lists, read_lists
from fer_bench.data.readers.images.named_files import named_images
from fer_bench.data.readers.images.picture_types import is_picture
from fer_bench.errors import FerBenchError, listing
from fer_bench.progress import Progress, silent

RAF_NAME = re.compile(r"(train|test)_\d+(_aligned)?\.\w+")
FER2013_NAME = re.compile(r"(Training|PublicTest|PrivateTest)_\d+", re.IGNORECASE)
READ = (
    "\nRead are happy/1.png (folders of classes), train/happy/1.png (train, validation and test, in any wrapper), "
    "beside the images a list of lines such as images/1.png,happy[,train][,person], file names as in CK+, JAFFE, KDEF, "
    "RaFD and Yale, what RAF-DB, ExpW, AffectNet, FER+ and YOLO come with, Hugging Face's .parquet, one .csv or .npz."
)
Folder = tuple[str, ...]


def read_folder(
    root: Path, paths: Sequence[str], scratch: Path, options: ReadOptions, progress: Progress = silent,
    only: Path | None = None,
) -> Decoded:  # fmt: skip
    """Read the images among `paths` below `root`; a folder ends with "/". only: the list that says which and what.

    Raises FerBenchError as `find_images` and `decoding.read_images` do, and where a file of labels cannot be read.
    """
    try:
        files, notes, empty = find_images(root, paths, options, only)
    except OSError as error:
        raise FerBenchError(f"{error.filename or root}: cannot be read ({error.strerror or error})") from error
    names = [*sorted({file.class_name for file in files}), *empty] if empty else ()  # last: they change no order
    return decoding.read_images(root, files, notes, scratch, options, progress, names)


def find_images(
    root: Path, paths: Sequence[str], options: ReadOptions, only: Path | None = None
) -> tuple[list[ImageFile], list[str], list[str]]:
    """The image files among `paths` (see `read_folder`), sorted by path, notes on what was passed over, empty classes.

    What they show is known by files beside them, by their names, or else by folders, of classes or of subsets with
    classes. Wrapper folders are seen through, as are doubled ones. Raises FerBenchError where none of it is so: too few
    classes, one that holds folders, an empty one that `--classes` leaves and `--skip-bad` does not drop.
    """
    pictures = sorted(path for path in paths if not path.endswith("/") and _counts(root, path))
    passed_over = sorted({path for path in paths if not path.endswith("/")} - set(pictures))
    if found := annotated_images(root, pictures, paths, options):
        return *found, []
    if not only and (found := named_images(root, pictures, paths, options)):
        return *found, []
    folders = {path: tuple(path.split("/")[:-1]) for path in pictures}
    last = {path: folder[-1] for path, folder in folders.items() if folder and not official_subset(folder[-1])}
    classes = last if len(set(last.values())) > 1 else {}
    listed, list_notes = read_lists(root, find_lists(root, pictures, paths, bool(classes), only), classes, options)
    if listed and all(file.class_name for file in listed):
        left_out = len(set(pictures) - {file.path for file in listed})
        unlisted = [f"{left_out:,} images that are in no list"] if left_out else []
        return _named_as_rafdb(listed), [*list_notes, *unlisted], []
    short = _seen_through(set(folders.values()))
    if short and all(len(folder) == 2 and official_subset(folder[1]) for folder in short.values()):
        short = {folder: (subset, name) for folder, (name, subset) in short.items()}  # class/subset/image
    subsets = _subset_folders(root, {folder[0] for folder in short.values() if folder}, short)
    depth = 2 if subsets else 1
    nested = ["/".join(folder) for folder, seen in short.items() if len(seen) > depth]
    if nested:
        raise FerBenchError(
            f"{root}: {len(nested):,} folders where images should be; images lie directly in the folder of their "
            f"class.\n{listing(sorted(nested), 5)}{READ}"
        )
    of_classes = {folder: seen for folder, seen in short.items() if len(seen) == depth}
    names, notes = class_spellings(
        Counter(of_classes[folder][-1] for folder in folders.values() if folder in of_classes)
    )
    all_folders = [tuple(path[:-1].split("/")) for path in sorted(paths) if path.endswith("/") and not is_hidden(path)]
    empty = _empty_classes(root, all_folders, of_classes, names, options)
    files = [
        ImageFile(path, names[of_classes[folder][-1]], subsets.get(of_classes[folder][0]))
        for path, folder in folders.items()
        if folder in of_classes
    ]
    passed_over += [path for path, folder in folders.items() if folder not in of_classes]
    files, name_notes = _follow_names(_named_as_rafdb(files))
    columns = {file.path: file.columns for file in listed}
    files = [replace(file, columns=columns.get(file.path, {})) for file in files]
    others = [*_passed_over_note(passed_over), *_other_folders(all_folders, subsets, short)]
    return files, [*notes, *name_notes, *list_notes, *others], empty


def _counts(root: Path, path: str) -> bool:
    return not is_hidden(path) and is_picture(root / path)


def _seen_through(folders: Collection[Folder], own: str = "") -> dict[Folder, Folder]:
    """What each of the `folders` with images is without wrappers: those that hold one folder and nothing else.

    own: name of the folder that these are below.
    """
    below: dict[str, list[Folder]] = defaultdict(list)
    for folder in folders:
        if folder:
            below[folder[0]].append(folder[1:])
    seen: dict[Folder, Folder] = {(): ()} if () in folders else {}
    alone = len(below) == 1 and not seen
    for top, rest in below.items():
        inner = _seen_through(rest, top)
        subset, holds_classes = official_subset(top), any(inner.values())
        doubled = subset == official_subset(own) if own else any(official_subset(e[0]) for e in inner.values() if e)
        if alone and holds_classes:
            kept: Folder = (top,) if subset and not doubled else ()
        else:  # a class's only folder is the class
            kept = () if alone and own and not official_subset(own) else (top,)
        seen |= {(top, *folder): (*kept, *shorter) for folder, shorter in inner.items()}
    return seen


def _subset_folders(root: Path, tops: Collection[str], short: Mapping[Folder, Folder]) -> dict[str, str]:
    """The subset that each of the folders `tops` is, or nothing where they are classes."""
    subsets = {top: subset for top in sorted(tops) if (subset := official_subset(top))}
    others = sorted(set(tops) - set(subsets))
    loose = [top for top in subsets if all(len(seen) == 1 for seen in short.values() if seen and seen[0] == top)]
    if loose:
        raise FerBenchError(
            f"{root}: {', '.join(loose)}: names of subsets, not of classes, and no class folders in them; "
            f"what the images show is not known.{READ}"
        )
    if subsets and others:
        raise FerBenchError(
            f"{root}: has subsets ({', '.join(subsets)}) beside other folders ({', '.join(others[:5])}); "
            f"it must hold either classes, or train, validation and test.{READ}"
        )
    twice = [subset for subset, count in Counter(subsets.values()).items() if count > 1]
    if twice:
        same = [top for top in subsets if subsets[top] in twice]
        raise FerBenchError(f"{root}: the folders {', '.join(same)} are the same subset, {', '.join(twice)}")
    return subsets


def _empty_classes(
    root: Path, all_folders: Sequence[Folder], classes: Mapping[Folder, Folder], names: Mapping[str, str],
    options: ReadOptions,
) -> list[str]:  # fmt: skip
    """The classes whose folders hold no image. FerBenchError where there are fewer than two with images, or one stays.

    None stays that `options.classes` drops or merges into one with images, or that `options.skip_bad` drops.
    """
    known = set(names.values())
    beside = {folder[:-1] for folder in classes}
    keys = {same_name(name) for name in known}
    held = {folder[:n] for folder in classes for n in range(1, len(folder) + 1)}
    empty = [one for one in all_folders if one not in held and one[:-1] in beside and same_name(one[-1]) not in keys]
    kept = {"", *map(same_name, renamed(sorted(known), options.classes))}
    new_names = renamed([one[-1] for one in empty], options.classes)
    left = ["/".join(one) for one, new in zip(empty, new_names, strict=True) if same_name(new) not in kept]
    if left and not options.skip_bad:
        raise FerBenchError(
            f"{root}: class folders without an image\n{listing(left)}\nAdd images, drop such a class, as in --classes "
            f"'{left[0].rpartition('/')[2]}=', or drop all of them with --skip-bad."
        )
    if len(known) < 2:
        found = f"one class folder ({', '.join(known)})" if known else "no class folders"
        raise FerBenchError(f"{root}: {found}; at least two are needed, with the images of each class in it.{READ}")
    return sorted({one[-1] for one in empty})


def _other_folders(
    all_folders: Sequence[Folder], subsets: Mapping[str, str], short: Mapping[Folder, Folder]
) -> list[str]:
    """A note that names the folders beside the subsets."""
    parents = {folder[: folder.index(seen[0])] for folder, seen in short.items() if subsets and seen}
    with_images = {folder[:n] for folder in short for n in range(1, len(folder) + 1)}
    others = [one[-1] for one in all_folders if one[:-1] in parents and one not in with_images]
    return [f"folders beside the subsets that hold no images: {', '.join(others[:5])}"] if others else []


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


def _named_as_rafdb(files: list[ImageFile]) -> list[ImageFile]:
    """`files` with the names of RAF-DB's numbers where they are named as its are, as in Kaggle's copies."""
    numbers = {file.class_name for file in files} <= set(RAF_CLASSES)
    if not numbers or not all(RAF_NAME.fullmatch(PurePosixPath(file.path).name) for file in files):
        return files
    return [replace(file, class_name=RAF_CLASSES[file.class_name]) for file in files]


def _passed_over_note(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    kinds = Counter(PurePosixPath(name).suffix.lower() or name for name in names)
    shown = ", ".join(kind for kind, _ in kinds.most_common(5))
    return [f"passed over {len(names):,} files that are no images of a class ({shown})"]
