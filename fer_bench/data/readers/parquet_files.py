"""Parquet files as on Hugging Face: a row an image, its file's bytes in it, the names of the classes in the schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_bench.archives import is_bomb, temporary_folder
from fer_bench.data.options import ReadOptions
from fer_bench.data.readers.csv_files import SUBSET_COLUMNS
from fer_bench.data.readers.decoded import Decoded, drop_bad, is_missing, official_subset, subset_of
from fer_bench.data.readers.images.decoding import ImageFile, read_images
from fer_bench.data.readers.images.image_list import LABELS
from fer_bench.errors import FerBenchError
from fer_bench.progress import Progress, silent

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 256
IMAGES = ("image", "img", "picture", "photo", "face", "jpg", "png")
READ = (
    "Read are tables with a column of images, {bytes, path} or mere bytes, and one called label: names of classes, or "
    "numbers that Hugging Face's metadata name; subsets are files such as data/train-00000-of-00001.parquet."
)


def read_parquet(
    root: Path, shards: Sequence[str], scratch: Path, options: ReadOptions, progress: Progress = silent
) -> Decoded:
    """Read the images and labels of the files `shards` below `root`, a subset where their names say one.

    Ids are the file's name and the number of the row; what else is known of an image stands in columns. Raises
    FerBenchError where a file is damaged or has no such columns, and naming every row without an image or a label,
    unless `options.skip_bad` drops them.
    """
    files: list[ImageFile] = []
    said: dict[str, tuple[str, str, str]] = {}
    problems: list[str] = []
    names: dict[str, None] = {}
    with temporary_folder(scratch.parent, root) as folder:
        n = 0
        for at, shard in enumerate(sorted(shards)):
            progress(0.0, f"unpacking {shard}, {at + 1} of {len(shards)}")
            below = shard.removesuffix(Path(shard).suffix)
            (folder / below).mkdir(parents=True)
            layout, rows = _open(root / shard)
            names |= dict.fromkeys(layout.classes)
            for row, values in enumerate(rows):
                n += 1
                path = f"{below}/{row:06d}"
                data, columns = layout.image_of(values)
                label = layout.label_of(values)
                if data is None or not label:
                    problems.append(f"{shard}, row {row}: no {'image' if data is None else 'label'}")
                    continue
                (folder / path).write_bytes(data)
                files.append(ImageFile(path, label, subset_of(shard), columns=columns))
                if layout.subset:
                    said[path] = layout.subset, str(values[layout.subset]), f"{shard}, row {row}"
        files = _with_subsets(files, said, problems)
        dropped = drop_bad(root, "bad rows", n, problems, options.skip_bad)
        return read_images(folder, files, dropped, scratch, options, progress, list(names))


def _with_subsets(
    files: Sequence[ImageFile], said: Mapping[str, tuple[str, str, str]], problems: list[str]
) -> list[ImageFile]:
    """`files` with the subsets that a column says: by path its name, the word in it, and where that stands.

    A word that is no subset is a problem, unless most are none: then the column is about something else.
    """
    subsets = {path: official_subset(word) for path, (_, word, _) in said.items()}
    unknown = {path for path, subset in subsets.items() if subset is None}
    if 2 * len(unknown) > len(said):
        words = {path: {name: word} for path, (name, word, _) in said.items()}
        return [replace(file, columns={**file.columns, **words.get(file.path, {})}) for file in files]
    problems += [f"{said[path][2]}: unknown subset {said[path][1][:30]!r}" for path in sorted(unknown)]
    named = [replace(file, subset=subsets.get(file.path, file.subset)) for file in files]
    return [file for file in named if file.path not in unknown]


@dataclass(frozen=True)
class _Layout:
    """The columns of a file: of images, labels and subsets, and the further ones. names: of classes, by column."""

    image: str
    label: str
    subset: str | None
    further: Sequence[str]
    names: Mapping[str, Sequence[str]]

    @property
    def classes(self) -> Sequence[str]:
        """In the order of the metadata; none where there is none."""
        return self.names.get(self.label, ())

    def image_of(self, values: Mapping[str, Any]) -> tuple[bytes | None, dict[str, str]]:
        """The image file's content, None where it is missing, and what else is known, its name among it."""
        image = values[self.image]
        path = image.get("path") if isinstance(image, dict) else None
        columns = {name: self._text(name, values[name]) for name in self.further}
        content = image.get("bytes") if isinstance(image, dict) else image
        return content if isinstance(content, bytes) and content else None, columns | (
            {"path": path} if isinstance(path, str) and path else {}
        )

    def label_of(self, values: Mapping[str, Any]) -> str:
        """The name of the class; "" where it is not known, as -1 says on Hugging Face, or has no name among others."""
        text = self._text(self.label, values[self.label])
        is_known = text in self.classes if self.classes else not is_missing(text)
        return text if is_known and text not in ("-1", "nan") else ""

    def _text(self, name: str, value: Any) -> str:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        names = self.names.get(name, ())
        if isinstance(value, int) and 0 <= value < len(names):
            return names[value]
        return "" if value is None else str(value)


def _open(path: Path) -> tuple[_Layout, Iterator[dict[str, Any]]]:
    """The columns of the file at `path`, and its rows by column. Raises FerBenchError."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
        metadata = file.metadata
        unpacked = sum(metadata.row_group(at).total_byte_size for at in range(metadata.num_row_groups))
    except (pa.ArrowException, OSError) as error:
        raise FerBenchError(f"{path}: no parquet file, or a damaged one ({error})") from error
    if is_bomb(unpacked, path.stat().st_size):
        raise FerBenchError(f"{path}: {path.stat().st_size:,} bytes that unpack to {unpacked:,}")
    layout = _layout(path, file.schema_arrow)
    wanted = [name for name in (layout.image, layout.label, layout.subset, *layout.further) if name]

    def rows() -> Iterator[dict[str, Any]]:
        try:
            for batch in file.iter_batches(BATCH, columns=wanted):
                yield from batch.to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise FerBenchError(f"{path}: damaged ({error})") from error

    return layout, rows()


def _layout(path: Path, schema: pa.Schema) -> _Layout:
    """Raises FerBenchError where `schema` has no column of images, or not one of labels."""
    from pyarrow import types

    features = _features(schema)
    names = {
        name: [str(one) for one in feature["names"]]
        for name, feature in features.items()
        if feature.get("_type") == "ClassLabel" and isinstance(feature.get("names"), list)
    }
    images = [
        field.name
        for field in schema
        if features.get(field.name, {}).get("_type") == "Image"
        or (types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0)
        or types.is_binary(field.type)
        or types.is_large_binary(field.type)
    ]
    known = {"string", "large_string", "bool", "dictionary"}
    plain = [
        field.name
        for field in schema
        if types.is_integer(field.type) or types.is_floating(field.type) or str(field.type).split("<")[0] in known
    ]
    labels = [name for name in plain if name.casefold() in LABELS]
    labels = [name for name in labels if name in names] or labels or [name for name in plain if name in names]
    if not images or not labels or (len(labels) > 1 and labels[0].casefold() not in LABELS):
        found = "\n".join(f"  {field.name}: {str(field.type)[:60]}" for field in schema)
        raise FerBenchError(
            f"{path}: which column is the image, and which the label, is not known; found\n{found}\n{READ}"
        )
    image = next((name for name in images if name.casefold() in IMAGES), images[0])
    subset = next((name for name in plain if name.casefold() in ("usage", *SUBSET_COLUMNS)), None)
    further = [name for name in plain if name not in (labels[0], subset)]
    return _Layout(image, labels[0], subset, further, names)


def _features(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """What Hugging Face's metadata say of each column; nothing where there are none."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {str(name): feature for name, feature in features.items() if isinstance(feature, dict)}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}
