"""One door for all sources: which reader, which name, what the cache serves and what it must not."""

import gzip
import lzma
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fer_bench import cache
from fer_bench.data import Dataset, ReadOptions, make_split, make_synthetic, open_dataset, stored_split
from fer_bench.data.readers import source
from fer_bench.errors import FerBenchError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def decodings(monkeypatch) -> list[str]:
    """The sources that were decoded, not served from the cache."""
    seen = []
    read = source._read

    def counted(found, *others):
        seen.append(found.path.name)
        return read(found, *others)

    monkeypatch.setattr(source, "_read", counted)
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
    for path, name, n in [(write_csv(csv_lines), "faces", 9), (npz, "my-faces", 4), (folder, "faces", 3)]:
        opened = open_dataset(str(path))
        dataset = opened.load()
        assert (opened.name, len(dataset)) == (name, n)
        assert (opened.name, opened.fingerprint) == (dataset.name, dataset.fingerprint)
        assert isinstance(dataset.images, np.memmap)
        assert opened.folder.parent == cache.root() / "datasets"
        assert sorted(path.name for path in opened.folder.iterdir()) == ["about.json", "images.npy", "rows.npz"]


def test_the_same_file_is_the_same_data_and_split_on_every_machine_so_far(csv_lines, write_csv):
    """Results on disk are found by these."""
    opened = open_dataset(str(write_csv(csv_lines)))
    assert opened.fingerprint == "4c798f37dcc60671"
    assert make_split(opened.load()).fingerprint == "df868b7b29e3368a"


def test_synthetic(decodings, monkeypatch):
    faces, texts = make_synthetic(40), []
    monkeypatch.setattr("fer_bench.data.synthetic.dataset.built_in", lambda: faces)
    opened = open_dataset("synthetic", progress=lambda share, text: texts.append(text))
    assert (opened.name, opened.fingerprint) == ("synthetic", faces.fingerprint)
    assert texts
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


@pytest.mark.parametrize("form", ["npz.gz", "npz.xz", "npz in a zip", "csv in a folder", "list.gz"])
def test_what_is_packed_or_in_a_folder_of_its_own_is_the_same(form, npz, csv_lines, write_csv, tmp_path, folder):
    plain, packed = npz, tmp_path / f"packed.{form}"
    if form == "npz in a zip":
        packed = tmp_path / "packed.zip"
        with zipfile.ZipFile(packed, "w") as archive:
            archive.write(npz, "data/faces.npz")
    elif form == "csv in a folder":
        plain, packed = write_csv(csv_lines), write_csv(csv_lines, "fer2013/data/fer2013.csv").parents[1]
        (packed / "README.md").write_text("faces")
    elif form == "list.gz":
        plain, packed = folder, tmp_path / "faces.txt.gz"
        lines = "".join(f"faces/{name} {name.split('/')[0]}\n" for name in ("happy/a.png", "happy/b.png", "sad/c.png"))
        packed.write_bytes(gzip.compress(lines.encode()))
    else:
        compress = gzip.compress if form.endswith("gz") else lzma.compress
        packed.write_bytes(compress(npz.read_bytes()))
    one, other = open_dataset(str(plain)).load(), open_dataset(str(packed)).load()
    assert np.array_equal(one.images, other.images) and np.array_equal(one.labels, other.labels)


def test_of_several_tables_in_a_folder_one_must_be_named(csv_lines, write_csv):
    for name in ("train", "icml_face_data"):
        path = write_csv(csv_lines, f"kaggle/{name}.csv")
    with pytest.raises(FerBenchError, match=r"several tables[^$]*icml_face_data\.csv\n[^$]*train\.csv"):
        open_dataset(str(path.parent))


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
    for path in (write_csv(csv_lines), npz, folder):
        first = open_dataset(str(path))
        decodings.clear()
        assert open_dataset(str(path), progress=lambda share, text: pytest.fail(text)) == first
        assert decodings == []


def test_what_is_stored_is_opened_without_numpy(csv_lines, write_csv, write_images):
    images = write_images({f"{name}/{number}.png": (4, 4) for name in ("happy", "sad") for number in range(4)})
    paths = [str(write_csv(csv_lines)), str(images)]
    for path in paths:
        stored_split(open_dataset(path).folder, 0)
    code = (
        "import sys; from fer_bench.data import Split, open_dataset, stored_split\n"
        "for path in sys.argv[1:]: stored_split(open_dataset(path).folder, 0)\n"
        "print([name for name in ('numpy', 'cv2', 'pandas', 'pydantic', 'kagglehub') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr


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
    read = source._read

    def read_and_change(*arguments):
        dataset = read(*arguments)
        path.write_text(path.read_text() + "0,1 2 3 4,Training\n")
        return dataset

    monkeypatch.setattr(source, "_read", read_and_change)
    with pytest.raises(FerBenchError, match="changed while it was read"):
        open_dataset(str(path))
    assert [entry for entry in (cache_folder / "datasets").iterdir() if entry.is_dir()] == []


def test_changed_votes_are_never_served(csv_lines, write_csv):
    data = write_csv(csv_lines)
    for n in (1, 2):
        votes = write_csv(["happy,sad", *[f"{n},0"] * 9], "votes.csv")
        assert open_dataset(str(data), options=ReadOptions(votes=votes)).load().votes[0, 0] == n
    assert open_dataset(str(data)).load().votes is None


def test_skip_bad_is_told_apart(csv_lines, write_csv):
    path = write_csv([*csv_lines, "0,1 2,Training"])
    for _ in range(2):
        with pytest.raises(FerBenchError, match="1 bad rows of 10"):
            open_dataset(str(path))
        assert len(open_dataset(str(path), options=ReadOptions(skip_bad=True)).load()) == 9


@pytest.mark.parametrize("missing", source.SAVED)
def test_entry_that_lost_a_file_is_rebuilt(missing, csv_lines, write_csv, decodings):
    path = write_csv(csv_lines)
    opened = open_dataset(str(path))
    (opened.folder / missing).unlink()
    assert open_dataset(str(path)) == opened
    assert len(opened.load()) == 9
    assert len(decodings) == 2


@pytest.mark.parametrize("damaged", source.SAVED)
def test_damaged_entry_is_reported(damaged, csv_lines, write_csv):
    opened = open_dataset(str(write_csv(csv_lines)))
    (opened.folder / damaged).write_bytes((opened.folder / damaged).read_bytes()[:20])
    with pytest.raises(FerBenchError, match=f"{opened.folder}: damaged"):
        Dataset.load(opened.folder)


def test_cache_that_cannot_be_written(csv_lines, write_csv, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FER_BENCH_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(FerBenchError, match=r"cannot be written .*FER_BENCH_CACHE"):
        open_dataset(str(write_csv(csv_lines)))


def test_full_disk_is_reported_and_leaves_nothing(folder, monkeypatch, cache_folder):
    def full(self, folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Dataset, "save", full)
    with pytest.raises(FerBenchError, match="No space left on device"):
        open_dataset(str(folder))
    assert [entry for entry in (cache_folder / "datasets").iterdir() if entry.is_dir()] == []


SOURCES = {
    "a missing file": ("nowhere/faces.csv", "no such file"),
    "the home of a user that there is not": ("~nosuchuser/faces.csv", "no such file"),
    "a misspelt name": ("sythetic", "'synthetic'"),
    "another kind of file": ("photo.png", ".csv"),
    "an empty file": ("empty.csv", "empty file"),
    "an empty folder": ("nothing", "no class folders"),
}


@pytest.mark.parametrize(("path", "problem"), SOURCES.values(), ids=SOURCES)
def test_bad_source(path, problem, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.png").write_bytes(b"x")
    (tmp_path / "empty.csv").write_bytes(b"")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(FerBenchError) as raised:
        open_dataset(path)
    assert path in str(raised.value) and problem in str(raised.value)


def test_votes_that_cannot_be(csv_lines, write_csv, tmp_path, folder):
    votes = write_csv(["happy,sad", "1,2"], "votes.csv")
    data = write_csv(csv_lines)
    for path, given in [(data, tmp_path / "missing.csv"), (data, votes), (folder, votes), ("synthetic", votes)]:
        with pytest.raises(FerBenchError, match=str(given)):
            open_dataset(str(path), options=ReadOptions(votes=given))


def test_problems_of_the_whole_name_the_source(csv_lines, write_csv):
    path = write_csv([csv_lines[0], *["3,1 2 3 4,Training"] * 3])
    with pytest.raises(FerBenchError, match=f"{path}: .*1 class"):
        open_dataset(str(path))


def test_hidden_folders_and_deep_ones_are_left_alone(folder, write_images):
    first = open_dataset(str(folder)).load()
    write_images({".git/x/a.png": (9, 9), "__MACOSX/happy/._a.png": (9, 9)})
    again = open_dataset(str(folder)).load()
    assert again.fingerprint == first.fingerprint
    assert again.notes == ()


@pytest.mark.parametrize(("divisor", "brightest"), [(255, 1), (16, 15)], ids=["of 0..1", "of 12 in 16 bits"])
def test_nearly_black_data_are_refused_with_their_range(divisor, brightest, tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (30, 8, 8))
    images[0] = 255
    np.savez(tmp_path / "faces.npz", images=(images // divisor).astype(np.uint8), labels=np.arange(30) % 2)
    with pytest.raises(FerBenchError, match=f"from 0 to {brightest} of 255"):
        open_dataset(str(tmp_path / "faces.npz"))


def test_a_table_as_pandas_writes_it(write_csv):
    """Lists in quotes, one over lines, labels as floats, split and subject columns, one that nobody understands."""
    rng = np.random.default_rng(0)
    pixels = [
        str(row.tolist()).replace(", ", ",\n " if at == 3 else ", ")
        for at, row in enumerate(rng.integers(0, 256, (18, 4)))
    ]
    splits = ["train"] * 6 + ["val"] * 6 + ["test"] * 6
    rows = [f'{at % 3}.0,"{pixels[at]}",{splits[at]},S{at // 3},x' for at in range(18)]
    dataset = open_dataset(str(write_csv(["emotion,pixels,split,subject,comment", *rows]))).load()
    assert dataset.images.shape == (18, 2, 2) and dataset.labels.tolist() == [0, 1, 2] * 6
    assert np.unique(dataset.subsets, return_counts=True)[1].tolist() == [6, 6, 6]
    assert dataset.grouped_by == "person" and len(np.unique(dataset.groups)) == 6
    assert any("comment" in note for note in dataset.notes) and not any(
        "subject" in n for n in dataset.notes if "not used" in n
    )


def test_classes_are_renamed_merged_and_dropped(write_csv):
    rng = np.random.default_rng(0)
    lines = [f"{11 + at % 4},{' '.join(map(str, rng.integers(0, 256, 4)))}" for at in range(20)]
    path = str(write_csv(["label,pixels", *lines]))
    with pytest.raises(FerBenchError, match="--classes"):
        open_dataset(path)
    dataset = open_dataset(path, options=ReadOptions(classes="11=happy,12=sad,13=sad,14=")).load()
    assert dataset.class_names == ("happy", "sad") and dataset.class_counts().tolist() == [5, 10]
    with pytest.raises(FerBenchError, match="no class 9; there are 11, 12, 13, 14"):
        open_dataset(path, options=ReadOptions(classes="9=happy"))
    with pytest.raises(FerBenchError, match="more than once"):
        open_dataset(path, options=ReadOptions(classes="11=happy,11=sad,12=sad"))


@pytest.mark.parametrize("form", ["csv", "npz", "list"])
def test_classes_that_differ_in_case_or_unicode_form_are_one(form, tmp_path, write_csv, write_images):
    labels = ["cole\u0300re", "col\u00e8re", "Joie", "joie", "joie"]
    pixels = np.random.default_rng(0).integers(0, 256, (5, 2, 2), dtype=np.uint8)
    if form == "csv":
        rows = [f"{label},{' '.join(map(str, row.ravel()))}" for label, row in zip(labels, pixels, strict=True)]
        path = write_csv(["label,pixels", *rows])
    elif form == "npz":
        path = tmp_path / "a.npz"
        np.savez(path, images=pixels, labels=labels)
    else:
        path = write_images({f"faces/{n}.png": (4, 4) for n in range(5)})
        (path / "labels.csv").write_text("\n".join(f"{n}.png,{label}" for n, label in enumerate(labels)), "utf-8")
    dataset = open_dataset(str(path), options=ReadOptions(classes="JOIE=joy")).load()
    counts = dict(zip(dataset.class_names, dataset.class_counts().tolist(), strict=True))
    assert counts == {"col\u00e8re": 2, "joy": 3}
    assert any("Joie as joie" in note for note in dataset.notes)
    with pytest.raises(FerBenchError, match="1 class,"):  # the two are one then
        open_dataset(str(path), options=ReadOptions(classes="col\u00e8re=JOIE"))


def test_names_in_other_letters_have_folders_of_their_own(write_csv, csv_lines):
    names = [open_dataset(str(write_csv(csv_lines, f"{name}.csv"))).name for name in ("表情", "人脸", "colère")]
    assert len(set(names)) == 3 and names[2] == "colere" and all(name.isascii() for name in names)
