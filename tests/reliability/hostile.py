"""Damaged, absurd and hostile files of every kind that is read, seeded, and the call that reads each.

A family takes a folder and a random generator, writes a file, and returns the call.
"""

import bz2
import gzip
import io
import json
import lzma
import os
import shutil
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from fer_bench.analysis import Predictions, newest_splits, verify
from fer_bench.analysis.evidence.external import read_predictions
from fer_bench.data import ReadOptions, open_dataset
from fer_bench.execution.estimate import Estimate
from fer_bench.execution.preparation import prepare
from fer_bench.records.store import ResultsFolder
from fer_bench.report import write

TOKENS = (
    b"\0", b",", b";", b"\n", b"\r", b'"', b" ", b"-1", b"256", b"1e999", b"NaN", b"9" * 30, b"9" * 5000, b"0x10",
    b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", "ä".encode("latin-1"), "\u2028".encode(), b"../",
    b"()", b"{}", b"[", b"null",
)  # fmt: skip

Case = Callable[[], object]
Family = Callable[[Path, np.random.Generator], Case]


def mutated(content: bytes, rng: np.random.Generator, other: bytes | None = None) -> bytes:
    """`content` with one to four changes: bytes flipped, cut, doubled, put in, or the rest of `other` spliced on."""
    for _ in range(rng.integers(1, 5)):
        at, to = sorted(int(rng.integers(len(content) + 1)) for _ in range(2))
        near = min(to, at + int(rng.integers(1, 30)))
        match rng.integers(10):
            case 0 | 1:
                content = (
                    content[:at] + bytes(byte ^ 1 << int(rng.integers(8)) for byte in content[at:near]) + content[near:]
                )
            case 2:
                content = content[:at] + rng.bytes(near - at) + content[near:]
            case 3:
                content = content[:at] + content[near:]
            case 4:
                content = content[:to] + content[at:]
            case 5 | 6 | 7:
                content = content[:at] + bytes(TOKENS[rng.integers(len(TOKENS))]) + content[at:]
            case 8:
                other = other or content
                content = content[:at] + other[int(rng.integers(len(other) + 1)) :]
            case 9 if rng.random() < 0.4:
                content = content[:at] if rng.random() < 0.7 else content.decode("latin-1").encode("utf-16")
    return content


def faces_csv(rng: np.random.Generator) -> bytes:
    """A small fer2013.csv: 60 images of 5 x 5 pixels, three classes, three subsets."""
    usages = ("Training", "Training", "PublicTest", "PrivateTest")
    lines = [
        f"{row % 3},{' '.join(map(str, rng.integers(0, 256, 25)))},{usages[row % 4]}" for row in range(60)
    ]  # fmt: skip
    return ("\n".join(["emotion,pixels,Usage", *lines]) + "\n").encode()


def zipped(content: bytes, name: str = "fer2013.csv", **others: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, inside in {name: content, **others}.items():
            archive.writestr(member, inside)
    return packed.getvalue()


def opened(source: Path, **options) -> Case:
    return lambda: prepare(str(source), source.parent / "results", options=ReadOptions(**options))


def fuzz_csv(folder: Path, rng: np.random.Generator) -> Case:
    path = folder / "faces.csv"
    path.write_bytes(mutated(faces_csv(rng), rng))
    return opened(path, skip_bad=bool(rng.random() < 0.5))


def fuzz_packed_csv(folder: Path, rng: np.random.Generator) -> Case:
    """Damaged before it is packed, or after, or both; packed twice, or in what is no container of a table."""
    text = faces_csv(rng)
    text = mutated(text, rng) if rng.random() < 0.4 else text
    name = ("fer2013.csv", "../fer2013.csv", "/etc/faces.csv", "a/b.csv", "ä\n.csv", "x" * 300 + ".csv")[
        rng.integers(6)
    ]
    pack = (gzip.compress, lzma.compress, lambda inner: zipped(inner, name), bz2.compress)
    kind = int(rng.integers(4 if rng.random() < 0.1 else 3))
    packed = pack[kind](text)
    if rng.random() < 0.1:
        packed = pack[rng.integers(3)](packed)
    packed = packed if rng.random() < 0.2 else mutated(packed, rng)
    path = folder / f"faces{('.csv.gz', '.xz', '.zip', '.csv')[kind]}"
    path.write_bytes(packed)
    return opened(path, skip_bad=bool(rng.random() < 0.5))


def npy(array: np.ndarray, shape: str = "") -> bytes:
    """`array` as an .npy file, in a header that claims another `shape` if one is given."""
    stored = io.BytesIO()
    np.save(stored, array, allow_pickle=True)
    content = stored.getvalue()
    if not shape:
        return content
    header = f"{{'descr': '{array.dtype.str}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return content[:8] + (len(header) + 1).to_bytes(2, "little") + header + b"\n" + content[128:]


class Runs:
    """Run by whoever unpickles it."""

    def __reduce__(self):
        return Path.touch, (Path("unpickled"),)


def strange(array: np.ndarray, rng: np.random.Generator) -> bytes:
    """`array` under a header that lies, or another in its place that nobody expects there."""
    claims = ("(1000000000000,)", "(999999999,)", "(-1,)", "(" * 200, f"({'1,' * 70})")
    rows = np.arange(len(array))
    others = (
        np.array([Runs()]), array.astype(object), array[:-1], array[:0], array[None], np.array(array.flat[0]),
        rows * 10**17, rows.astype(">i8") - 3, np.linspace(-1, 1e300, len(rows)), rows == 1, rows.astype("M8[s]"),
        np.zeros(len(rows), "V8"), np.zeros(len(rows), [("a", "i4"), ("b", "U3")]), np.full(len(rows), b"\xff\0a"),
        np.array([f"\ud800\0\n{row % 3}" for row in rows]),
    )  # fmt: skip
    at = int(rng.integers(len(claims) + len(others)))
    return npy(array, claims[at]) if at < len(claims) else npy(others[at - len(claims)])


def fuzz_npz(folder: Path, rng: np.random.Generator) -> Case:
    """One member damaged or replaced, packed as it should be; or the archive damaged."""
    labels = np.arange(60) % 3
    arrays = {"images": rng.integers(0, 256, (60, 5, 5), dtype=np.uint8), "labels": labels}
    if rng.random() < 0.7:
        subsets = np.array(["train", "train", "val", "test"])
        arrays |= {
            "class_names": np.array(["a", "b", "c"]), "subsets": subsets[np.arange(60) % 4],
            "groups": np.arange(60) // 2, "votes": rng.integers(0, 9, (60, 4)), "vote_names": np.array(list("abcd")),
            "sample_ids": np.array([f"face-{row}" for row in range(60)]),
        }  # fmt: skip
    else:
        arrays = {"x_train": arrays["images"], "y_train": labels, "x_test": arrays["images"][:9], "y_test": labels[:9]}
    inside = {name: npy(array) for name, array in arrays.items()}
    name = list(arrays)[rng.integers(len(arrays))]
    match rng.integers(4):
        case 0:
            inside[name] = mutated(inside[name], rng, inside[next(iter(arrays))])
        case 1 | 2:
            inside[name] = strange(arrays[name], rng)
        case 3:
            inside[("../images", "labels ", "IMAGES", "", "notes.txt", "x_validation")[rng.integers(6)]] = inside.pop(
                name
            )
    packed = zipped(b"", "readme.txt", **{f"{member}.npy": content for member, content in inside.items()})
    path = folder / "arrays.npz"
    path.write_bytes(mutated(packed, rng) if rng.random() < 0.4 else packed)
    return opened(path)


@cache
def image(suffix: str, number: int) -> bytes:
    rng = np.random.default_rng(number)
    pixels = rng.integers(0, 256, (*rng.integers(1, 40, 2), 3)[: int(rng.integers(2, 4))], dtype=np.uint8)
    if suffix in (".hdr", ".ras"):
        return cv2.imencode(suffix, pixels)[1].tobytes()
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, Image.registered_extensions()[suffix])
    return encoded.getvalue()


def fuzz_images(folder: Path, rng: np.random.Generator) -> Case:
    """A folder of classes in which one image is damaged and now and then one name, link or file is strange."""
    root = folder / "faces"
    shutil.rmtree(root, ignore_errors=True)
    suffixes = (
        ".png",
        ".jpg",
        ".bmp",
        ".gif",
        ".webp",
        ".tiff",
        ".ppm",
        ".pgm",
        ".jp2",
        ".avif",
        ".hdr",
        ".ras",
        ".pbm",
    )
    tops = ("",) if rng.random() < 0.7 else ("train/", "test/")
    for number in range(5 * len(tops)):
        suffix = suffixes[rng.integers(len(suffixes))]
        path = root / f"{tops[number % len(tops)]}{'ab'[number // len(tops) % 2]}/{number}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = image(suffix, int(rng.integers(9)))
        damage = number == 0 or rng.random() < 0.1
        path.write_bytes(mutated(content, rng, image(".png", 0)) if damage else content)
    if rng.random() < 0.3:
        make_strange(root, path, rng)
    skip_bad = bool(rng.random() < 0.5)
    return lambda: open_dataset(str(root), options=ReadOptions(skip_bad=skip_bad)).load()


def make_strange(root: Path, path: Path, rng: np.random.Generator) -> None:
    match rng.integers(7):
        case 0:
            os.mkfifo(path.with_name("fifo.png"))
        case 1:
            path.with_name("loop.png").symlink_to(path.with_name("loop.png"))
        case 2:
            path.with_name("up").symlink_to(root, target_is_directory=True)
        case 3:
            path.rename(os.fsdecode(bytes(path.with_name("b")) + b'\xff\xfe\n,"' + path.suffix.encode()))
        case 4:
            path.with_name("folder.png").mkdir()
        case 5:
            path.parent.rename(root / "\ud800".encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape"))
        case 6:
            (root / "empty").mkdir()


def fuzz_votes(folder: Path, rng: np.random.Generator) -> Case:
    path, votes = folder / "faces.csv", folder / "votes.csv"
    path.write_bytes(faces_csv(np.random.default_rng(0)))
    usages = ("Training", "Training", "PublicTest", "PrivateTest")
    lines = [f"{usages[row % 4]},fer{row}.png,{','.join(map(str, rng.integers(0, 9, 10)))}" for row in range(60)]
    names = "neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
    votes.write_bytes(mutated("\n".join([f"Usage,Image name,{names}", *lines, ""]).encode(), rng))
    return lambda: open_dataset(str(path), options=ReadOptions(votes=votes)).load()


def fuzz_predictions(folder: Path, rng: np.random.Generator) -> Case:
    """What `judge` is given, for the runs in results/tiny: probabilities or labels, of test images or of all."""
    known = Predictions.newest(ResultsFolder(folder / "results" / "tiny"))
    names, subsets = known.class_names, ("test", "validation")[: int(rng.integers(1, 3))]
    ids = [sample_id for subset in subsets for sample_id in known.ids[subset].tolist()]
    if rng.random() < 0.5:
        lines = [f"{sample_id},{names[rng.integers(len(names))]}" for sample_id in ids]
        header = "sample_id,label"
    else:
        lines = [
            f"{i},{','.join(map(repr, row.tolist()))}"
            for i, row in zip(ids, rng.dirichlet([1, 1, 1], len(ids)), strict=True)
        ]
        header = "sample_id," + ",".join(names)
    path = folder / "theirs.csv"
    path.write_bytes(mutated("\n".join([header, *lines, ""]).encode(), rng))
    return lambda: read_predictions(path, known)


VALUES = (
    None, True, -1, 0, 1e308, 10**30, 10**400, float("nan"), float("inf"), "", "../../x", "x" * 300, "\0", "ä\n|`<b>",
    "\ud800", [], {}, [[]], [None], {"": None}, "success", "failed", "2/5", 0.5, "2026-01-01T00:00:00", "0" * 16,
)  # fmt: skip


def altered(value: Any, rng: np.random.Generator) -> Any:
    """JSON-like `value` with something at a random place in it taken away, doubled, or changed for another thing."""
    if isinstance(value, dict) and value and rng.random() < 0.95:
        name = list(value)[rng.integers(len(value))]
        match rng.integers(8):
            case 0:
                return {key: other for key, other in value.items() if key != name}
            case 1:
                return value | {str(VALUES[rng.integers(len(VALUES))]): value[name]}
        return value | {name: altered(value[name], rng)}
    if isinstance(value, list) and value and rng.random() < 0.9:
        at = int(rng.integers(len(value)))
        middle = {0: [], 1: [value[at]] * 2}.get(int(rng.integers(6)), [altered(value[at], rng)])
        return [*value[:at], *middle, *value[at + 1 :]]
    return VALUES[rng.integers(len(VALUES))]


def fuzz_results(folder: Path, rng: np.random.Generator) -> Case:
    """One file of the runs in results/tiny damaged, or a value in it another; then everything that reads them."""
    results = ResultsFolder(folder / "results" / "tiny")
    shutil.rmtree(results.path)
    shutil.copytree(folder / "sound", results.path)
    files = sorted(path for path in results.path.rglob("*.*") if path.is_file() and path.suffix != ".lock")
    path = files[rng.integers(len(files))]
    content = path.read_bytes()
    if path.suffix == ".json" and rng.random() < 0.8:
        content = json.dumps(altered(json.loads(content), rng)).encode()
    elif path.suffix == ".npz" and rng.random() < 0.6:
        content = altered_arrays(content, rng)
    elif path.suffix == ".gz" and rng.random() < 0.8:
        content = gzip.compress(mutated(gzip.decompress(content), rng))
    else:
        content = mutated(content, rng)
    path.write_bytes(content)

    def read() -> None:
        Estimate(results.raw_records(), 100)
        assert all(isinstance(results.status(run.name), str | None) for run in results.runs.iterdir())
        if rng.random() < 0.5:
            verify(results)
        else:
            for split in newest_splits(results.records()):
                write(results, ("csv", "json"), split=split)

    return read


def altered_arrays(content: bytes, rng: np.random.Generator) -> bytes:
    """An .npz with one array in it strange."""
    with np.load(io.BytesIO(content)) as stored:
        arrays = {name: stored[name] for name in stored.files}
    inside = {f"{name}.npy": npy(array) for name, array in arrays.items()}
    name = list(arrays)[rng.integers(len(arrays))]
    inside[f"{name}.npy"] = strange(arrays[name], rng)
    return zipped(b"", "readme.txt", **inside)


FAMILIES: dict[str, Family] = {
    "csv": fuzz_csv, "packed csv": fuzz_packed_csv, "npz": fuzz_npz, "images": fuzz_images, "votes": fuzz_votes,
    "predictions": fuzz_predictions, "results": fuzz_results,
}  # fmt: skip
