"""The front door to data: whatever `--data` names, decoded once into the cache.

Imports nothing heavy: opening what is cached reads one small file.
"""

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fer_bench import cache
from fer_bench.archives import is_hidden, unzipped
from fer_bench.cache import reading
from fer_bench.data import fer2013
from fer_bench.data.options import ReadOptions, check_name
from fer_bench.data.readers.locating import NAMES, SYNTHETIC, Kind, Source, find, only_table, signed
from fer_bench.data.readers.tables import is_file
from fer_bench.errors import FerBenchError
from fer_bench.progress import Progress, silent

if TYPE_CHECKING:
    from fer_bench.data.dataset import Dataset
    from fer_bench.data.readers.decoded import Decoded

FORMAT = 10
"""Goes up when a reader changes what it makes of the same file, so that nothing older is served."""
SAVED = ("about.json", "rows.npz", "images.npy")
PACKED = re.compile(r"(\.(csv|npz|gz|xz|zip))+$", re.IGNORECASE)
PLAIN = ReadOptions()


@dataclass(frozen=True)
class OpenedDataset:
    """A dataset in the cache: its folder, its name and its content fingerprint, known without reading an image."""

    folder: Path
    name: str
    fingerprint: str

    def load(self) -> "Dataset":
        """The dataset itself, images memory-mapped. Raises FerBenchError where the cached files are damaged."""
        from fer_bench.data.dataset import Dataset

        return Dataset.load(self.folder)


def open_dataset(
    source: str,
    *,
    name: str | None = None,
    options: ReadOptions = PLAIN,
    progress: Progress = silent,
) -> OpenedDataset:
    """Find `source`, decode it into the cache if it is not there as it is now, and say which dataset it is.

    source: "synthetic", "fer2013", a CSV like fer2013.csv, an .npz, both perhaps packed (.gz, .xz, .zip), .parquet, a
    list of images, a folder of images whose folders, names or lists say what they show, or a .zip of such a folder.
    name: instead of the source's own; a safe file name.
    progress: called with the share done (0..1) and a short text while something is decoded.

    Raises FerBenchError naming the file, row, class or option where something is wrong with any of these.
    """
    if name is not None:
        check_name(name)
    if options.votes is not None and not options.votes.is_file():
        raise FerBenchError(f"--votes {options.votes}: no such file")
    found = find(source, progress)
    content = {
        "format": FORMAT,
        "source": [found.kind, str(found.path), found.signature],
        "files": [[str(file.resolve()), cache.file_signature(file)] for file in _files(options)],
        "options": {name: str(value) for name, value in vars(options).items()},
        "name": [name, source == fer2013.NAME],
    }

    def build(folder: Path) -> None:
        dataset = _read(found, folder / "pixels.raw", options, progress)
        if source == fer2013.NAME:
            fer2013.check(dataset, found.path)
        if signed(found.kind, found.path) != found:
            raise FerBenchError(f"{found.path}: changed while it was read; start again")
        replace(dataset, name=name or _own_name(found, dataset)).save(folder)
        (folder / "pixels.raw").unlink(missing_ok=True)

    try:
        folder = cache.fetch("datasets", cache.digest(content), build, files=SAVED)
    except OSError as error:
        raise FerBenchError(
            f"the cache {cache.root()} cannot be written ({error.strerror or error}); "
            f"make room there, or set {cache.ENVIRONMENT_VARIABLE} to another folder"
        ) from error
    with reading(folder):
        about = json.loads((folder / "about.json").read_text())
        return OpenedDataset(folder, about["name"], about["fingerprint"])


def _files(options: ReadOptions) -> list[Path]:
    """The files besides the data that the dataset depends on."""
    return [Path(file) for file in (options.votes, options.groups) if file and is_file(file)]


def _read(source: Source, scratch: Path, options: ReadOptions, progress: Progress) -> "Dataset":
    if source.kind == SYNTHETIC:
        if options.classes:
            raise FerBenchError("--classes: the built-in faces have FER2013's")
        from fer_bench.data.synthetic.dataset import built_in

        if options.votes:
            raise FerBenchError(f"--votes {options.votes}: there are none for the synthetic data")
        if options.groups:
            raise FerBenchError(f"--groups {options.groups}: the built-in faces are all of different people")
        progress(0.0, "rendering faces")
        return _only_slices(built_in(), options.slices)
    decoded = _decode(source, scratch, options, progress).with_one_spelling()
    if options.votes:
        from fer_bench.data.readers.attributes.votes import join_votes

        decoded = join_votes(decoded, options.votes)
    if options.classes:
        from fer_bench.data.readers.attributes.classes import with_classes

        decoded = with_classes(decoded, options.classes).with_one_spelling()
    from fer_bench.data.readers.attributes.groups import with_groups

    decoded = with_groups(decoded, options.groups, options.slices)
    if options.slices:
        from fer_bench.data.readers.attributes.slices import with_slices

        decoded = with_slices(decoded, options.slices)
    if decoded.columns:
        decoded = replace(decoded, notes=(*decoded.notes, f"columns not used: {', '.join(decoded.columns)}"))
    try:
        return decoded.dataset(_slug(source.path), options.copies)
    except FerBenchError as error:
        raise FerBenchError(f"{source.path}: {error}") from error


def _only_slices(dataset: "Dataset", names: Sequence[str]) -> "Dataset":
    """The built-in faces with the slices `names` alone; all, where none is named."""
    unknown = [name for name in names if name not in dataset.slices]
    if unknown:
        raise FerBenchError(f"--slices {','.join(unknown)}: the built-in faces know {', '.join(dataset.slices)}")
    return replace(dataset, slices={name: dataset.slices[name] for name in names or dataset.slices})


def _decode(source: Source, scratch: Path, options: ReadOptions, progress: Progress) -> "Decoded":
    if source.kind == "list":
        from fer_bench.data.readers.images.folders import read_folder

        return read_folder(source.root, source.paths, scratch, options, progress, source.path)
    if source.kind == "folder":
        return _decode_folder(source.root, source.paths, scratch, options, progress)
    if source.kind == "zip":
        with unzipped(source.path, scratch.parent) as root:
            paths = [found.relative_to(root).as_posix() + "/" * found.is_dir() for found in root.rglob("*")]
            return _decode_folder(root, paths, scratch, options, progress)
    return _decode_file(source.kind, source.path, scratch, options, progress)


def _decode_folder(
    root: Path, paths: Sequence[str], scratch: Path, options: ReadOptions, progress: Progress
) -> "Decoded":
    """Shards of parquet, or one table without images beside it, or images."""
    if shards := [path for path in paths if path.lower().endswith(".parquet") and not is_hidden(path)]:
        from fer_bench.data.readers.parquet_files import read_parquet

        return read_parquet(root, shards, scratch, options, progress)
    if table := only_table(root, paths):
        return _decode_file(*table, scratch, options, progress)
    from fer_bench.data.readers.images.folders import read_folder

    return read_folder(root, paths, scratch, options, progress)


def _decode_file(kind: Kind, path: Path, scratch: Path, options: ReadOptions, progress: Progress) -> "Decoded":
    if kind == "parquet":
        from fer_bench.data.readers.parquet_files import read_parquet

        return read_parquet(path.parent, [path.name], scratch, options, progress)
    if kind == "npz":
        from fer_bench.data.readers.npz_files import read_npz

        return read_npz(path, scratch)
    from fer_bench.data.readers.attributes.classes import parsed
    from fer_bench.data.readers.csv_files import read_csv

    numbered = all(old.isdecimal() for old in parsed(options.classes)) if options.classes else False
    return read_csv(path, skip_bad=options.skip_bad, numbered=numbered, progress=progress)


def _own_name(source: Source, dataset: "Dataset") -> str:
    """What the results of a dataset go under; the two known names are for the two known datasets only."""
    if source.kind == SYNTHETIC:
        return SYNTHETIC
    if fer2013.is_fer2013(dataset):
        return fer2013.NAME
    slug = _slug(source.path)
    return f"{slug}-variant" if slug in NAMES else slug


def _slug(path: Path) -> str:
    """A safe name of a folder; where letters are lost, with a digest, as others may lose all of theirs, too."""
    name = PACKED.sub("", path.name).lower()
    plain = "".join(one for one in unicodedata.normalize("NFKD", name) if not unicodedata.combining(one))
    slug = re.sub(r"[^a-z0-9._-]+", "-", plain).strip("-._")[:72]
    if any(one.isalpha() and not one.isascii() for one in plain):
        slug = f"{slug or 'data'}-{cache.digest({'name': unicodedata.normalize('NFC', name)})[:6]}"
    return slug or "data"
