"""FER2013 is recognised by counts and brightness, found where it lies, otherwise downloaded; here without a network.

The counts are a hundredth of the real ones here.
"""

import lzma
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fer_bench.data import fer2013, open_dataset
from fer_bench.errors import FerBenchError

USAGES = ("Training", "PublicTest", "PrivateTest")
COUNTS = dict(fer2013.COUNTS)
FEWER = {name: tuple(-(-n // 100) for n in counts) for name, counts in COUNTS.items()}
TOTALS = [sum(counts) for counts in zip(*FEWER.values(), strict=True)]


@pytest.fixture(autouse=True)
def a_hundredth(monkeypatch):
    monkeypatch.setattr(fer2013, "COUNTS", FEWER)
    means = {name: tuple(float(np.mean(np.arange(n) % 256)) for n in counts) for name, counts in FEWER.items()}
    monkeypatch.setattr(fer2013, "BRIGHTNESS", means)


def lines(form: str = "original") -> list[str]:
    """A CSV with these counts and images of one pixel."""
    order, header = {
        "original": ("{label},{pixels},{usage}", "emotion,pixels,Usage"),
        "icml": ("{label},{usage},{pixels}", "emotion, Usage, pixels"),
    }[form]
    rows = [
        order.format(label=label, pixels=row % 256, usage=usage)
        for subset, usage in enumerate(USAGES)
        for label, emotion in enumerate(fer2013.CLASSES)
        for row in range(fer2013.COUNTS[emotion][subset])
    ]
    return [header, *rows]


@pytest.fixture
def kaggle(monkeypatch):
    """kaggle({handle: folder or exception}) puts a kagglehub in place that gives these, and notes what was asked."""

    def place(copies: dict[str, Path | Exception]) -> list[str]:
        asked = []

        def dataset_download(handle: str) -> str:
            asked.append(handle)
            if isinstance(copies[handle], Exception):
                raise copies[handle]
            return str(copies[handle])

        monkeypatch.setitem(sys.modules, "kagglehub", SimpleNamespace(dataset_download=dataset_download))
        return asked

    return place


def test_counts_add_up():
    assert [sum(counts) for counts in zip(*COUNTS.values(), strict=True)] == [28_709, 3_589, 3_589]


@pytest.mark.parametrize("form", ["original", "icml"])
def test_recognised_under_any_file_name(form, write_csv):
    opened = open_dataset(str(write_csv(lines(form), "something.csv")))
    assert opened.name == "fer2013"
    assert len(opened.load()) == sum(TOTALS)


def test_recognised_with_classes_in_another_order_and_by_other_names(tmp_path):
    labels = np.concatenate([np.repeat(np.arange(7), counts) for counts in zip(*fer2013.COUNTS.values(), strict=True)])
    path = tmp_path / "faces.npz"
    images = np.concatenate(
        [np.arange(n) % 256 for counts in zip(*fer2013.COUNTS.values(), strict=True) for n in counts]
    )
    np.savez(
        path, images=images.astype(np.uint8).reshape(-1, 1, 1), labels=6 - labels, class_names=list("ABCDEFG"),
        subsets=np.repeat(["train", "validation", "test"], TOTALS),
    )  # fmt: skip
    assert open_dataset(str(path)).name == "fer2013"


def test_a_part_of_it_is_not_it(write_csv):
    assert open_dataset(str(write_csv(lines()[:-1], "fer2013.csv"))).name == "fer2013-variant"


@pytest.mark.parametrize("place", ["file", "folder", "packed"])
def test_found_where_the_environment_points(place, write_csv, monkeypatch, tmp_path):
    path = write_csv(lines("icml"), "here/icml_face_data.csv")
    if place == "packed":
        path.with_suffix(".csv.xz").write_bytes(lzma.compress(path.read_bytes()))
        path.unlink()
    monkeypatch.setenv("FER_BENCH_DATA", str(path if place == "file" else path.parent))
    assert open_dataset("fer2013").name == "fer2013"


def test_environment_points_nowhere(monkeypatch, tmp_path):
    monkeypatch.setenv("FER_BENCH_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FerBenchError, match=r"FER_BENCH_DATA points to .*nowhere"):
        open_dataset("fer2013")


def test_found_in_the_cache(write_csv, cache_folder, kaggle):
    asked = kaggle({})
    write_csv(lines(), "cache/downloads/fer2013.csv")
    assert open_dataset("fer2013").name == "fer2013"
    assert asked == []


def test_incomplete_copy_is_refused(write_csv):
    write_csv(lines()[:-1], "cache/downloads/fer2013.csv")
    with pytest.raises(FerBenchError, match=rf"fer2013\.csv: .*{sum(TOTALS) - 1}"):
        open_dataset("fer2013")


def test_downloaded_once(write_csv, kaggle):
    asked = kaggle({"deadskull7/fer2013": write_csv(lines(), "hub/versions/1/fer2013.csv").parent})
    told = []
    first = open_dataset("fer2013", progress=lambda share, text: told.append(text))
    assert "deadskull7/fer2013" in told[0]
    assert open_dataset("fer2013") == first
    assert asked == ["deadskull7/fer2013"]


def test_second_copy_where_the_first_is_gone(write_images, kaggle):
    names = [
        f"{folder}/{emotion}/{usage}_1.png"
        for folder, usage in [("train", "Training"), ("test", "PublicTest")]
        for emotion in ("sad", "happy")
    ]
    root = write_images(dict.fromkeys(names, (4, 4)))
    asked = kaggle({"deadskull7/fer2013": PermissionError("403"), "msambare/fer2013": root})
    assert fer2013.locate() == root
    assert fer2013.locate().resolve() == root
    assert asked == ["deadskull7/fer2013", "msambare/fer2013"]


def test_no_network_is_one_line_that_says_what_to_do(kaggle, cache_folder):
    kaggle(dict.fromkeys(fer2013.KAGGLE, ConnectionError("no route")))
    with pytest.raises(FerBenchError) as raised:
        open_dataset("fer2013")
    message = str(raised.value)
    assert "\n" not in message
    assert "ConnectionError" in message
    assert "kaggle.com/datasets/deadskull7/fer2013" in message
    assert str(cache_folder / "downloads" / "fer2013.csv") in message


def test_without_kagglehub_one_line_too(monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(FerBenchError, match="kagglehub is not installed: download fer2013") as raised:
        open_dataset("fer2013")
    assert "\n" not in str(raised.value)


def test_other_images_with_its_counts_are_not_fer2013(write_csv, monkeypatch):
    brighter = {name: tuple(mean + 1 for mean in means) for name, means in fer2013.BRIGHTNESS.items()}
    monkeypatch.setattr(fer2013, "BRIGHTNESS", brighter)
    assert open_dataset(str(write_csv(lines(), "fer2013.csv"))).name == "fer2013-variant"
