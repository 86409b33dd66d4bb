"""NumPy archives: images and labels, or x_train, y_train, x_test, y_test."""

import re
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fer_bench.archives import refuse_bomb, unpack
from fer_bench.data.readers.decoded import Decoded, is_missing, official_subset
from fer_bench.errors import FerBenchError, listing

Arrays = dict[str, np.ndarray]
BY_ROW = ("labels", "sample_ids", "subsets", "groups", "votes")
KEYS = {"images", "class_names", "vote_names", *BY_ROW}
DAMAGE = (
    ValueError, OSError, EOFError, KeyError, TypeError, RuntimeError, OverflowError, MemoryError, SyntaxError,
    zipfile.BadZipFile, zlib.error, tokenize.TokenError,
)  # fmt: skip
"""What NumPy and zipfile raise on archives that are truncated, damaged, encrypted, or lie about their size."""


def read_npz(path: Path, scratch: Path | None = None) -> Decoded:
    """Read uint8 images (n, h, w[, 1 or 3]) and labels (n,), whole numbers or names, and what else is known of them.

    Keys: images, labels and perhaps class_names, sample_ids, subsets, groups, votes, vote_names; or x_ and y_ with a
    subset, as in x_train and y_train. scratch: where a .gz or .xz is unpacked for the time.

    Raises FerBenchError saying what was found where they do not fit.
    """
    if scratch and path.suffix.lower() in (".gz", ".xz"):
        unpack(path, scratch)
        try:
            arrays = _load(scratch)
        finally:
            scratch.unlink()
    else:
        arrays = _load(path)
    if not {"images", "labels"} <= set(arrays):
        arrays = _by_subset(path, arrays)
    images = _images(path, arrays["images"])
    n = len(images)
    for key in BY_ROW:
        if key in arrays and arrays[key].shape[:1] != (n,):
            raise FerBenchError(f"{path}: {key} have shape {arrays[key].shape} for {n:,} images")
    votes = arrays.get("votes")
    if votes is not None and (votes.ndim != 2 or votes.dtype.kind not in "iu"):
        raise FerBenchError(f"{path}: votes are {_described(votes)}, not whole numbers (n, k)")
    class_names, labels = _labels(path, arrays)
    row_names = np.array([f"row-{row:05d}" for row in range(n)])
    columns = {
        key: array.astype(np.str_) if array.dtype.kind == "f" else _texts(path, arrays, key)
        for key, array in arrays.items()
        if key not in KEYS and array.shape == (n,) and array.dtype.kind in "iufUS"
    }
    unused = sorted(set(arrays) - KEYS - set(columns))
    return Decoded(
        images=images,
        labels=labels,
        class_names=class_names,
        sample_ids=_texts(path, arrays, "sample_ids") if "sample_ids" in arrays else row_names,
        n_rows=n,
        rows=np.arange(n),
        subsets=_subsets(path, arrays) if "subsets" in arrays else None,
        votes=votes,
        vote_names=tuple(_texts(path, arrays, "vote_names").tolist()) if "vote_names" in arrays else (),
        groups=np.unique(_texts(path, arrays, "groups"), return_inverse=True)[1] if "groups" in arrays else None,
        grouped_by="person" if "groups" in arrays else "",
        groups_from="groups" if "groups" in arrays else "",
        columns=columns,
        notes=(f"{path.name} also holds {', '.join(unused)}: not used",) if unused else (),
    )


def _load(path: Path) -> Arrays:
    try:
        archive = np.load(path, allow_pickle=False)
    except DAMAGE as error:
        why = "" if "allow_pickle" in str(error) else f" ({error})"  # NumPy takes anything for a pickle, and says how
        raise FerBenchError(f"{path}: not an .npz archive, or a truncated one{why}") from error
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise FerBenchError(f"{path}: one bare array, not an .npz archive with images and labels")
    arrays = {}
    with archive:
        try:
            refuse_bomb(path)
        except ValueError as error:
            raise FerBenchError(f"{path}: {error}: no images and labels") from error
        for key in archive.files:
            try:
                array = archive[key]
            except DAMAGE as error:
                if "Object arrays" in str(error):
                    raise FerBenchError(
                        f"{path}: {key!r} holds Python objects, which can run code and are never loaded; "
                        "save it as numbers or text"
                    ) from error
                raise FerBenchError(f"{path}: {key!r} is truncated or damaged ({error})") from error
            if isinstance(array, np.ndarray):
                arrays[key] = array
    return arrays


def _by_subset(path: Path, arrays: Arrays) -> Arrays:
    """x_train, y_train and the like as images, labels and subsets; what else there is stays."""
    parts: dict[str, dict[str, np.ndarray]] = {}
    rest = dict(arrays)
    for key in arrays:
        match = re.fullmatch(r"(x|y)_(\w+)", key.lower())
        if match and (subset := official_subset(match[2])):
            part = parts.setdefault(subset, {})
            if match[1] in part:
                raise FerBenchError(
                    f"{path}: several arrays are {match[1]} of {subset}, {key!r} is one of them: keep one"
                )
            part[match[1]] = rest.pop(key)
    whole = [
        part
        for part in parts.values()
        if len(part) == 2 and part["x"].ndim and part["y"].ndim and len(part["x"]) == len(part["y"])
    ]
    shapes = {(part["x"].shape[1:], part["y"].shape[1:]) for part in whole}
    if not parts or len(whole) != len(parts) or len(shapes) != 1:
        found = [f"{key}: {_described(array)}" for key, array in arrays.items()]
        raise FerBenchError(
            f"{path}: needs the keys images and labels, or x_train, y_train, x_test, y_test with one row each; "
            f"found\n{listing(found or ['nothing'])}"
        )
    try:
        joined = {
            name: np.concatenate([part[key] for part in whole]) for name, key in (("images", "x"), ("labels", "y"))
        }
    except TypeError as error:
        raise FerBenchError(f"{path}: arrays of one kind have different types ({error})") from error
    return rest | joined | {"subsets": np.repeat(list(parts), [len(part["x"]) for part in whole])}


def _images(path: Path, images: np.ndarray) -> np.ndarray:
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    if images.dtype != np.uint8 or images.ndim < 3 or images.shape[3:] not in ((), (3,)) or not images.size:
        numbers = images.size and images.dtype.kind in "iuf"
        span = f" from {images.min():g} to {images.max():g}" if numbers else ""
        raise FerBenchError(
            f"{path}: images are {_described(images)}{span}, "
            "not uint8 (n, h, w) or (n, h, w, 3), with values from 0 to 255"
        )
    return images


def _labels(path: Path, arrays: Arrays) -> tuple[tuple[str, ...], np.ndarray]:
    """Class names and codes: as given, or the distinct labels themselves in sorted order."""
    labels = given = arrays["labels"]
    if labels.shape[1:] == (1,):
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iuUS":
        raise FerBenchError(f"{path}: labels are {_described(labels)}, not (n,) whole numbers or names")
    if "class_names" not in arrays:
        distinct, codes = np.unique(labels, return_inverse=True)
        names = _texts(path, {"labels": distinct}, "labels").tolist()
        if labels.dtype.kind in "US" and (odd := list(filter(is_missing, names))):
            raise FerBenchError(f"{path}: rows without a label ({', '.join(map(repr, odd))}): drop or label them")
        if labels.dtype.kind == "i" and distinct[0] < 0:
            raise FerBenchError(
                f"{path}: labels run from {distinct[0]}: drop the rows without one, or give class_names"
            )
        return tuple(names), codes
    names = _texts(path, arrays, "class_names").tolist()
    if labels.dtype.kind in "US":
        known = {name: code for code, name in enumerate(names)}
        labels = np.array([known.get(label, -1) for label in _texts(path, {"labels": labels}, "labels").tolist()])
    outside = np.flatnonzero((labels < 0) | (labels >= len(names)))
    among = f"the {len(names)} class_names {', '.join(names[:10])}"
    if outside.size:
        bad = [f"row {row}: {label}" for row, label in zip(outside, given[outside].ravel().tolist(), strict=True)]
        raise FerBenchError(f"{path}: {outside.size:,} labels are none of {among}\n{listing(bad)}")
    if len(set(names)) != len(names):
        raise FerBenchError(f"{path}: there are repeats among {among}")
    return tuple(names), labels.astype(np.int64)


def _subsets(path: Path, arrays: Arrays) -> np.ndarray:
    words = _texts(path, arrays, "subsets")
    distinct, codes = np.unique(words, return_inverse=True)
    subsets = [official_subset(word) for word in distinct]
    unknown = [word for word, subset in zip(distinct.tolist(), subsets, strict=True) if subset is None]
    if unknown:
        raise FerBenchError(f"{path}: unknown subsets {', '.join(map(repr, unknown[:10]))} (train, validation, test)")
    return np.array(subsets)[codes]


def _texts(path: Path, arrays: Mapping[str, np.ndarray], key: str) -> np.ndarray:
    array = arrays[key]
    try:
        if array.ndim != 1 or array.dtype.kind not in "iuUS":
            raise ValueError(f"{_described(array)}, not a row of text or whole numbers")
        if array.dtype.kind == "U":  # NumPy takes any numbers for characters
            array.tobytes().decode("utf-32-le" if array.dtype.str.startswith("<") else "utf-32-be")
        return np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array.astype(np.str_)
    except ValueError as error:
        raise FerBenchError(f"{path}: {key} cannot be read ({error})") from error


def _described(array: np.ndarray) -> str:
    return f"{array.dtype} {array.shape}"
