"""Parquet files as on Hugging Face."""

import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from fer_bench.data import ReadOptions, open_dataset
from fer_bench.errors import FerBenchError

CLASSES = ("sad", "angry", "happy")


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()


def write(path: Path, labels, images=None, named=True, **columns) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    images = images or [{"bytes": picture(n), "path": f"S{n % 3}_{path.stem}{n}.png"} for n in range(len(labels))]
    features = {"image": {"_type": "Image"}, "label": {"names": list(CLASSES), "_type": "ClassLabel"}} if named else {}
    table = pa.table({"image": images, "label": labels, **columns})
    parquet.write_table(
        table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})}), path
    )
    return path


def opened(path, **options):
    return open_dataset(str(path), options=ReadOptions(**options)).load()


def test_shards_are_subsets_and_numbers_have_names(tmp_path):
    for shard in ("train-00000-of-00002", "train-00001-of-00002", "validation-00000-of-00001", "test-00000-of-00001"):
        write(tmp_path / "fer" / "data" / f"{shard}.parquet", [0, 1, 2] * 3, age=list(range(9)))
    data = opened(tmp_path / "fer", slices=("age",), groups=r"^(S\d)_")
    assert data.class_names == CLASSES and data.labels.tolist() == [0, 1, 2] * 12
    assert [int((data.subsets == name).sum()) for name in ("train", "validation", "test")] == [18, 9, 9]
    assert data.sample_ids[0] == "data/test-00000-of-00001/000000"
    assert data.slices["age"].tolist() == list("012345678") * 4 and len(np.unique(data.groups)) == 3
    expected = cv2.imdecode(np.frombuffer(picture(4), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert np.array_equal(data.images[4], expected)


@pytest.mark.parametrize(
    "labels", [["sad", "happy"] * 4, [3, 7] * 4, [3.0, 7.0] * 4], ids=["names", "numbers", "floats"]
)
def test_one_file_without_metadata(labels, tmp_path):
    path = write(tmp_path / "fer.parquet", labels, [picture(n) for n in range(8)], False, split=["train", "test"] * 4)
    data = opened(path)
    assert data.class_names == (("happy", "sad") if labels[0] == "sad" else ("3", "7"))
    assert data.subsets.tolist() == ["train", "test"] * 4


def test_words_for_nothing_are_no_labels_unless_the_metadata_name_such_a_class(tmp_path):
    path = write(tmp_path / "fer.parquet", ["none", "null", "happy", "N/A"] * 2, [picture(n) for n in range(8)], False)
    with pytest.raises(FerBenchError, match="4 bad rows of 8"):
        opened(path)
    assert opened(path, skip_bad=True).class_names == ("happy", "none")


def test_bad_rows_are_named_together_or_dropped(tmp_path):
    images = [{"bytes": None if n == 2 else b"no image" if n == 3 else picture(n), "path": None} for n in range(8)]
    path = write(tmp_path / "fer.parquet", [0, -1, 2, 1, None, 2, 0, 1], images)
    with pytest.raises(FerBenchError) as raised:
        opened(path)
    assert all(f"fer.parquet, row {row}: no" in str(raised.value) for row in (1, 2, 4))
    assert len(opened(path, skip_bad=True)) == 4


@pytest.mark.parametrize("content", ["photo.png", [1, 2, 3]], ids=["text", "a list"])
def test_a_column_of_images_that_holds_none_is_told_by_row(content, tmp_path):
    for image in (content, {"bytes": content, "path": "a.png"}):
        path = write(tmp_path / "fer.parquet", [0, 1], [image] * 2)
        with pytest.raises(FerBenchError, match=r"fer\.parquet, row 1: no image"):
            opened(path)


@pytest.mark.parametrize("problem", ["damaged", "no label", "no image", "several labels"])
def test_files_that_are_not_read_say_what_is(problem, tmp_path):
    path = write(tmp_path / "fer.parquet", [0, 1] * 4)
    if problem == "damaged":
        path.write_bytes(path.read_bytes()[:-40])
    elif problem == "several labels":
        write(path, [0, 1] * 4)
        table = parquet.read_table(path)
        names = {"names": ["a", "b"], "_type": "ClassLabel"}
        about = {"huggingface": json.dumps({"info": {"features": {"age": names, "mood": names}}})}
        table = table.rename_columns(["image", "age"]).append_column("mood", [[0, 1] * 4])
        parquet.write_table(table.replace_schema_metadata(about), path)
    else:
        parquet.write_table(parquet.read_table(path).drop_columns([problem.removeprefix("no ")]), path)
    with pytest.raises(FerBenchError, match=r"fer\.parquet: " + ("no parquet" if problem == "damaged" else "which")):
        opened(path)


def test_labels_without_a_name_among_others_and_no_rows_at_all_are_told(tmp_path):
    path = write(tmp_path / "fer.parquet", [0, 1, 7, 2])
    with pytest.raises(FerBenchError, match=r"fer\.parquet, row 2: no label"):
        opened(path)
    parquet.write_table(parquet.read_table(path)[:0], path)
    with pytest.raises(FerBenchError, match="no images with a label"):
        opened(path)


def test_what_macos_leaves_beside_a_shard_is_none(tmp_path):
    path = write(tmp_path / "fer" / "train.parquet", [0, 1] * 4)
    path.with_name("._train.parquet").write_bytes(b"\0\5\26\7")
    assert len(opened(path.parent)) == 8


def test_a_word_that_is_no_subset_is_a_bad_row_and_a_column_of_such_words_is_about_something_else(tmp_path):
    words = ["train", "train", "unlabeled", "test"] * 2
    path = write(tmp_path / "fer.parquet", [0, 1, 2, 1] * 2, split=words)
    with pytest.raises(FerBenchError, match=r"fer\.parquet, row 2: unknown subset 'unlabeled'"):
        opened(path)
    assert opened(path, skip_bad=True).subsets.tolist() == ["train", "train", "test"] * 2
    data = opened(write(path, [0, 1, 2, 1] * 2, set=["A", "B"] * 4))
    assert data.subsets is None and any("set" in note for note in data.notes if "not used" in note)
