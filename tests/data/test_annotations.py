"""Sets whose labels lie in a list: RAF-DB and ExpW."""

import cv2
import numpy as np
import pytest

from fer_bench.data.readers.source import open_dataset
from fer_bench.errors import FerBenchError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FER_BENCH_CACHE", str(tmp_path / "cache"))


def write(path, seed, size=48):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 256, (size, size), dtype=np.uint8))


def test_rafdb(tmp_path):
    root, lines = tmp_path / "raf", []
    for i in range(14):
        name = f"{'train' if i < 7 else 'test'}_{i:05}"
        write(root / "Image" / "aligned" / f"{name}_aligned.png", i)
        lines.append(f"{name}.png {i % 7 + 1}")
    (root / "EmoLabel").mkdir()
    (root / "EmoLabel" / "list_patition_label.txt").write_text("\n".join(lines))
    data = open_dataset(str(root)).load()
    by_id = dict(zip(data.sample_ids, zip(data.labels, data.subsets, strict=True), strict=True))
    label, subset = by_id["Image/aligned/train_00000_aligned.png"]
    assert (data.class_names[label], subset) == ("surprise", "train")
    assert (data.subsets == "test").sum() == 7


def test_expw_has_several_faces_an_image(tmp_path):
    root = tmp_path / "expw"
    write(root / "image" / "a.png", 0, 200)
    write(root / "image" / "b.png", 1, 200)
    lines = [f"{n}.png {f} 10 {5 + 100 * f} {85 + 100 * f} 90 50.0 {3 + f}" for n in "ab" for f in (0, 1)]
    (root / "label.lst").write_text("\n".join(lines))
    data = open_dataset(str(root)).load()
    assert len(data.images) == 4 and sorted(data.class_names) == ["happy", "sad"]
    (root / "label.lst").write_text("\n".join([*lines, "c.png 0 1 1 9 9 5 3"]))
    with pytest.raises(FerBenchError, match="line 5"):
        open_dataset(str(root))


@pytest.mark.parametrize("header", ["image,emotion,split,subject\n", ""], ids=["named", "not named"])
def test_a_list_beside_the_images(header, tmp_path):
    root = tmp_path / "own"
    for i in range(20):
        write(root / "pictures" / f"{i}.png", i)
    splits = ["train"] * 12 + ["val"] * 4 + ["Test"] * 4
    lines = [f"pictures/{i}.png,{'happy' if i % 2 else 'sad'},{splits[i]},S{i // 4}" for i in range(20)]
    (root / "labels.csv").write_text(header + "\n".join(lines))
    data = open_dataset(str(root)).load()
    assert data.class_names == ("happy", "sad") and data.class_counts().tolist() == [10, 10]
    assert [int((data.subsets == name).sum()) for name in ("train", "validation", "test")] == [12, 4, 4]
    assert len(np.unique(data.groups)) == 5 and data.grouped_by == "person"
    (root / "labels.csv").write_text("\n".join([*lines, "pictures/99.png,sad,train,S0"]))
    with pytest.raises(FerBenchError, match=r"line 21: pictures/99\.png"):
        open_dataset(str(root))
