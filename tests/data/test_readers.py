"""One door for all sources: which reader, which name, what the cache serves and what it must not."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fer_bench import cache
from fer_bench.data import Dataset, OpenedDataset, open_dataset
from fer_bench.data.readers import source as readers
from fer_bench.errors import FerBenchError


@pytest.fixture
def decodings(monkeypatch) -> list[str]:
    """The sources that were decoded, not served from the cache."""
    seen = []
    read = readers._read

    def counted(source, *others):
        seen.append(source.path.name)
        return read(source, *others)

    monkeypatch.setattr(readers, "_read", counted)
    return seen


@pytest.fixture
def npz(tmp_path) -> Path:
    path = tmp_path / "My Faces.npz"
    np.savez(path, images=np.arange(64, dtype=np.uint8).reshape(4, 4, 4), labels=[0, 1, 0, 1])
    return path


@pytest.fixture
def folder(write_images) -> Path:
    return write_images(dict.fromkeys(["happy/a.png", "happy/b.png", "sad/c.png"], (4, 4)))


def test_every_source_opens_by_its_path(csv_lines, write_csv, npz, folder):
    for source, name, n in [(write_csv(csv_lines), "faces", 9), (npz, "my-faces", 4), (folder, "faces", 3)]:
        opened = open_dataset(str(source))
        dataset = opened.load()
        assert isinstance(opened, OpenedDataset)
        assert (opened.name, len(dataset)) == (name, n)
        assert (opened.name, opened.fingerprint) == (dataset.name, dataset.fingerprint)
        assert isinstance(dataset.images, np.memmap)
        assert sorted(path.name for path in opened.folder.iterdir()) == ["about.json", "images.npy", "rows.npz"]


def test_synthetic(decodings):
    told = []
    opened = open_dataset("synthetic", progress=lambda share, text: told.append(text))
    assert opened.name == "synthetic"
    assert len(opened.load()) == 3000
    assert told
    assert open_dataset("synthetic") == opened
    assert decodings == ["synthetic"]


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".xz", ".csv.zip", ".CSV"])
def test_names_lose_what_they_are_packed_in(suffix, csv_lines, write_csv):
    path = write_csv(csv_lines, f"Our Faces 2{suffix}")
    if suffix.endswith("zip"):
        content = path.read_text()
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("faces.csv", content)
    assert open_dataset(str(path)).name == "our-faces-2"


def test_name_is_an_option(csv_lines, write_csv):
    opened = open_dataset(str(write_csv(csv_lines)), name="Study_1.b")
    assert opened.name == opened.load().name == "Study_1.b"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../up", "a b", "-x", "x" * 81, "é"])
def test_name_must_be_a_safe_file_name(name, csv_lines, write_csv):
    with pytest.raises(FerBenchError, match="--name"):
        open_dataset(str(write_csv(csv_lines)), name=name)


@pytest.mark.parametrize("name", ["synthetic", "fer2013"])
def test_known_names_are_for_the_known_data(name, csv_lines, write_csv):
    assert open_dataset(str(write_csv(csv_lines, f"{name}.csv"))).name == f"{name}-variant"


def test_second_opening_decodes_nothing(csv_lines, write_csv, npz, folder, decodings):
    for source in (write_csv(csv_lines), npz, folder):
        first = open_dataset(str(source))
        decodings.clear()
        assert open_dataset(str(source), progress=lambda share, text: pytest.fail(text)) == first
        assert decodings == []


def test_second_opening_imports_no_numpy(csv_lines, write_csv, folder):
    sources = [str(write_csv(csv_lines)), str(folder)]
    for source in sources:
        open_dataset(source)
    code = (
        "import sys; from fer_bench.data.readers import open_dataset\n"
        "for source in sys.argv[1:]: open_dataset(source)\n"
        "print([name for name in ('numpy', 'cv2', 'pandas', 'kagglehub') if name in sys.modules])"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, *sources], capture_output=True, text=True, cwd=Path(readers.__file__).parents[2]
    )
    assert told.stdout.strip() == "[]", told.stderr


def test_relative_and_linked_paths_share_one_entry(csv_lines, write_csv, monkeypatch, tmp_path):
    path = write_csv(csv_lines)
    first = open_dataset(str(path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.csv").symlink_to(path)
    assert open_dataset("faces.csv") == open_dataset("./link.csv") == first


def test_changed_file_is_never_served(csv_lines, write_csv, decodings):
    path = write_csv(csv_lines)
    before = path.stat()
    first = open_dataset(str(path))
    path.write_text(path.read_text().replace("\n0,0 1", "\n0,9 1"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    second = open_dataset(str(path))
    assert second.fingerprint != first.fingerprint
    assert second.load().images[0, 0, 0] == 9
    assert decodings == ["faces.csv"] * 2


@pytest.mark.parametrize("change", ["edit", "add", "remove", "move"])
def test_changed_folder_is_never_served(change, folder, write_images):
    first = open_dataset(str(folder))
    if change == "edit":
        (folder / "sad/c.png").write_bytes((folder / "happy/a.png").read_bytes())
    elif change == "add":
        write_images({"sad/d.png": (4, 4)})
    elif change == "remove":
        (folder / "happy/a.png").unlink()
    else:
        (folder / "happy/a.png").rename(folder / "sad/a.png")
    assert open_dataset(str(folder)).fingerprint != first.fingerprint


def test_file_that_changes_while_it_is_read(csv_lines, write_csv, monkeypatch, cache_folder):
    path = write_csv(csv_lines)
    read = readers._read

    def read_and_change(*arguments):
        dataset = read(*arguments)
        path.write_text(path.read_text() + "0,1 2 3 4,Training\n")
        return dataset

    monkeypatch.setattr(readers, "_read", read_and_change)
    with pytest.raises(FerBenchError, match="changed while it was read"):
        open_dataset(str(path))
    assert [entry for entry in (cache_folder / "datasets").iterdir() if entry.is_dir()] == []


def test_changed_votes_are_never_served(csv_lines, write_csv):
    data = write_csv(csv_lines)
    for n in (1, 2):
        votes = write_csv(["happy,sad", *[f"{n},0"] * 9], "votes.csv")
        assert open_dataset(str(data), votes=votes).load().votes[0, 0] == n
    assert open_dataset(str(data)).load().votes is None


def test_skip_bad_is_told_apart(csv_lines, write_csv):
    path = write_csv([*csv_lines, "0,1 2,Training"])
    with pytest.raises(FerBenchError, match="1 bad rows of 10"):
        open_dataset(str(path))
    assert "dropped 1 bad rows" in open_dataset(str(path), skip_bad=True).load().notes[0]
    with pytest.raises(FerBenchError, match="1 bad rows of 10"):
        open_dataset(str(path))


@pytest.mark.parametrize("missing", readers.SAVED)
def test_entry_that_lost_a_file_is_rebuilt(missing, csv_lines, write_csv, decodings):
    path = write_csv(csv_lines)
    opened = open_dataset(str(path))
    (opened.folder / missing).unlink()
    assert open_dataset(str(path)) == opened
    assert len(opened.load()) == 9
    assert len(decodings) == 2


@pytest.mark.parametrize("damaged", readers.SAVED)
def test_damaged_entry_is_reported(damaged, csv_lines, write_csv):
    opened = open_dataset(str(write_csv(csv_lines)))
    (opened.folder / damaged).write_bytes((opened.folder / damaged).read_bytes()[:20])
    with pytest.raises(FerBenchError, match="damaged cache entry") as raised:
        open_dataset(str(opened.folder.parents[2] / "faces.csv")).load()
    assert str(opened.folder) in str(raised.value)
    with pytest.raises(FerBenchError, match=r"damaged cache entry .*; delete that folder and start again"):
        Dataset.load(opened.folder)


def test_cache_that_cannot_be_written(csv_lines, write_csv, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FER_BENCH_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(FerBenchError, match=r"cannot be written .*FER_BENCH_CACHE"):
        open_dataset(str(write_csv(csv_lines)))


def test_full_disk_is_told_and_leaves_nothing(folder, monkeypatch, cache_folder):
    def full(self, folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Dataset, "save", full)
    with pytest.raises(FerBenchError, match="No space left on device"):
        open_dataset(str(folder))
    assert [entry for entry in (cache_folder / "datasets").iterdir() if entry.is_dir()] == []


SOURCES = {
    "a missing file": ("nowhere/faces.csv", "no such file or folder; give a file, a folder, or a name"),
    "a misspelt name": ("sythetic", "did you mean 'synthetic'"),
    "another kind of file": ("photo.png", "neither a folder nor a .csv"),
    "an empty file": ("empty.csv", "empty file"),
    "an empty folder": ("nothing", "no class folders"),
}


@pytest.mark.parametrize(("source", "problem"), SOURCES.values(), ids=SOURCES)
def test_bad_source(source, problem, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.png").write_bytes(b"x")
    (tmp_path / "empty.csv").write_bytes(b"")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(FerBenchError) as raised:
        open_dataset(source)
    assert source in str(raised.value)
    assert problem in str(raised.value)


def test_votes_that_cannot_be(csv_lines, write_csv, tmp_path, folder):
    votes = write_csv(["happy,sad", "1,2"], "votes.csv")
    for source, path, problem in [
        (str(write_csv(csv_lines)), tmp_path / "missing.csv", "no such file"),
        (str(write_csv(csv_lines)), votes, "1 rows of votes for 9 rows"),
        (str(folder), votes, "has no rows, only files"),
        ("synthetic", votes, "none for the synthetic data"),
    ]:
        with pytest.raises(FerBenchError, match=problem) as raised:
            open_dataset(source, votes=path)
        assert str(path) in str(raised.value)


def test_problems_of_the_whole_name_the_source(csv_lines, write_csv):
    path = write_csv([csv_lines[0], *["3,1 2 3 4,Training"] * 3])
    with pytest.raises(FerBenchError, match="1 class, at least 2 are needed") as raised:
        open_dataset(str(path))
    assert str(path) in str(raised.value)


def test_hidden_folders_and_deep_ones_are_left_alone(folder, write_images):
    first = open_dataset(str(folder)).load()
    write_images({".git/x/a.png": (9, 9), "__MACOSX/happy/._a.png": (9, 9)})
    again = open_dataset(str(folder)).load()
    assert again.fingerprint == first.fingerprint
    assert again.notes == ()


def test_entry_is_in_the_cache(csv_lines, write_csv):
    opened = open_dataset(str(write_csv(csv_lines)))
    assert opened.folder.parent == cache.root() / "datasets"
