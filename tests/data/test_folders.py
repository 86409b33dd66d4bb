"""Folders of classes, folders of subsets, and images of every kind in them."""

import os
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_bench.data import make_split, open_dataset
from fer_bench.data.options import ReadOptions
from fer_bench.data.readers.decoded import official_subset
from fer_bench.data.readers.images.folders import find_images, read_folder
from fer_bench.data.readers.images.picture_types import SUFFIXES
from fer_bench.data.resizing import fitted
from fer_bench.errors import FerBenchError
from fer_bench.records.store import CLAIM_FILE


def listed(root: Path) -> list[str]:
    """Every file and folder below `root`, as `read_folder` wants them."""
    return [path.relative_to(root).as_posix() + "/" * path.is_dir() for path in root.rglob("*")]


def read(root: Path, **options):
    return read_folder(root, listed(root), root.parent / "pixels.raw", ReadOptions(**options))


def error_of(root: Path, **options) -> str:
    with pytest.raises(FerBenchError) as raised:
        read(root, **options)
    assert str(root) in str(raised.value)
    return str(raised.value)


def test_classes_are_sorted_and_ids_are_paths(write_images):
    root = write_images(dict.fromkeys(["sad/z.png", "happy/b.png", "happy/a b.bmp", "in awe/ä.png"], (6, 6)))
    decoded = read(root)
    assert decoded.class_names == ("happy", "in awe", "sad")
    assert decoded.sample_ids.tolist() == ["happy/a b.bmp", "happy/b.png", "in awe/ä.png", "sad/z.png"]
    assert decoded.labels.tolist() == [0, 0, 1, 2]
    assert decoded.subsets is None
    assert decoded.rows is None
    assert decoded.notes == ()
    assert decoded.images.dtype == np.uint8
    for name, image in zip(decoded.sample_ids, decoded.images, strict=True):
        assert np.array_equal(image, cv2.imread(str(root / name), cv2.IMREAD_GRAYSCALE)), name


def test_colour_is_rgb_and_gray_joins_it(write_images):
    root = write_images({"happy/a.png": (4, 4, 3), "sad/b.png": (4, 4)})
    decoded = read(root)
    assert decoded.images.shape == (2, 4, 4, 3)
    assert np.array_equal(decoded.images[0], cv2.imread(str(root / "happy/a.png"))[..., ::-1])
    assert np.array_equal(decoded.images[1][..., 0], decoded.images[1][..., 2])


def test_colour_files_with_gray_values_are_gray(write_images):
    root = write_images({"happy/a.png": (4, 4), "sad/b.png": (4, 4)})
    gray = cv2.imread(str(root / "happy/a.png"), cv2.IMREAD_COLOR)
    cv2.imwrite(str(root / "happy/a.png"), gray)
    assert cv2.imread(str(root / "happy/a.png"), cv2.IMREAD_UNCHANGED).shape == (4, 4, 3)
    assert read(root).images.shape == (2, 4, 4)


def test_what_is_not_square_is_padded_by_its_edge_pixels(write_images):
    root = write_images(dict.fromkeys(["a/1.png", "b/2.png"], (30, 20, 3)))
    decoded = read(root)
    first = cv2.imread(str(root / "a/1.png"))[..., ::-1]
    assert np.array_equal(decoded.images[0][:, 5:25], first)
    assert (decoded.images[0][:, :5] == first[:, :1]).all() and (decoded.images[0][:, 25:] == first[:, -1:]).all()
    assert len(decoded.notes) == 1


@pytest.mark.parametrize(
    ("shapes", "side"),
    [([(40, 40), (60, 60), (60, 60)], 60), ([(300, 300)] * 3, 112), ([(20, 99), (99, 20), (90, 90)], 99)],
)
def test_images_are_stored_at_their_median_side_at_most_at_the_largest(shapes, side, write_images):
    root = write_images({f"{'ab'[number % 2]}/{number}.png": shape for number, shape in enumerate(shapes)})
    decoded = read(root)
    assert decoded.images.shape == (3, side, side)
    assert f"resized to {side} x {side}" in decoded.notes[0]
    first = cv2.imread(str(root / "a/0.png"), cv2.IMREAD_GRAYSCALE)
    assert np.array_equal(decoded.images[0], fitted(first, side))
    assert read(root, side=32).images.shape == (3, 32, 32)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG", ".bmp", ".tiff", ".webp", ".pgm", ".gif", ".jp2", ".ras"])
def test_formats(suffix, write_images):
    assert suffix.lower() in SUFFIXES
    shape = (32, 32) if suffix in (".pgm", ".jp2") else (32, 32, 3)
    root = write_images({f"a/1{suffix}": shape, f"b/2{suffix}": shape})
    assert read(root).images.shape[:3] == (2, 32, 32)


def test_sixteen_bits_and_alpha_become_eight_and_none(tmp_path):
    images = {"a/deep.png": np.full((4, 4), 0x8000, np.uint16), "b/alpha.png": np.full((4, 4, 4), 128, np.uint8)}
    for name, image in images.items():
        (tmp_path / "faces" / name).parent.mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "faces" / name), image)
    decoded = read(tmp_path / "faces")
    assert decoded.images.shape == (2, 4, 4)
    assert np.unique(decoded.images).tolist() == [128]


def test_photographs_stand_upright(write_images):
    root = write_images({"a/1.jpg": (20, 40, 3), "b/2.jpg": (20, 40, 3)})
    turned = b"\xff\xe1\x00\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    for path in root.rglob("*.jpg"):
        content = path.read_bytes()
        path.write_bytes(content[:2] + turned + content[2:])
    upright = read(root).images[0]
    assert (upright[:, :10] == upright[:, :1]).all() and not (upright[:10] == upright[:1]).all()


@pytest.mark.parametrize("second", ["test", "validation"])
def test_of_two_subsets_the_second_is_the_test(second, write_images):
    names = [f"{subset}/{emotion}/1.png" for subset in ("train", second) for emotion in ("happy", "sad")]
    dataset = read(write_images(dict.fromkeys(names, (4, 4)))).dataset("faces")
    assert sorted(dataset.subsets.tolist()) == ["test", "test", "train", "train"]
    assert len(dataset.notes) == (second == "validation")


def test_one_subset_alone_is_none(write_images):
    dataset = read(write_images(dict.fromkeys(["train/happy/1.png", "train/sad/1.png"], (4, 4)))).dataset("faces")
    assert dataset.subsets is None
    assert len(dataset.notes) == 1


def test_subsets_without_training(write_images):
    names = [f"{subset}/{emotion}/1.png" for subset in ("test", "validation") for emotion in ("happy", "sad")]
    with pytest.raises(FerBenchError, match="none for training"):
        read(write_images(dict.fromkeys(names, (4, 4)))).dataset("faces")


KAGGLE = ["train/happy/Training_1.png", "train/sad/Training_2.png", "test/happy/PublicTest_3.png",
          "test/happy/PrivateTest_4.png", "test/sad/PublicTest_5.png", "test/sad/PrivateTest_6.png"]  # fmt: skip


@pytest.mark.parametrize("names", [KAGGLE, [name.partition("/")[2] for name in KAGGLE]], ids=["subsets", "classes"])
def test_official_subsets_from_file_names(names, write_images):
    decoded = read(write_images(dict.fromkeys(names, (4, 4))))
    for name, subset in zip(decoded.sample_ids, decoded.subsets, strict=True):
        assert subset == {"T": "train", "u": "validation", "r": "test"}[Path(name).name.replace("P", "")[0]], name
    assert decoded.notes == ()


def test_folders_win_over_names_that_disagree(write_images):
    names = [*KAGGLE, "test/sad/Training_7.png"]
    decoded = read(write_images(dict.fromkeys(names, (4, 4))))
    assert dict(zip(*np.unique(decoded.subsets, return_counts=True), strict=True)) == {"train": 2, "test": 5}
    assert len(decoded.notes) == 1


def test_names_of_some_files_decide_nothing(write_images):
    decoded = read(write_images(dict.fromkeys([*KAGGLE, "train/sad/me.png"], (4, 4))))
    assert set(decoded.subsets) == {"train", "test"}


def test_other_files_are_passed_over_with_a_note(write_images):
    root = write_images(dict.fromkeys(["happy/a.png", "sad/b.png"], (4, 4)))
    for name in ("happy/notes.txt", "happy/Thumbs.db", "sad/.DS_Store", "sad/._b.png", "README.md", "loose.png"):
        (root / name).write_bytes(b"not an image")
    decoded = read(root)
    assert decoded.sample_ids.tolist() == ["happy/a.png", "sad/b.png"]
    assert " 6 files" in decoded.notes[0] and ".txt" in decoded.notes[0]


@pytest.fixture
def with_bad_files(write_images) -> Path:
    root = write_images(
        dict.fromkeys(["happy/a.png", "happy/b.png", "sad/c.png", "sad/d.jpg", "sad/e.png"], (30, 30, 3))
    )
    (root / "happy/b.png").write_bytes(b"")
    (root / "sad/c.png").write_text("no image at all")
    (root / "sad/d.jpg").write_bytes((root / "sad/d.jpg").read_bytes()[:300])
    (root / "sad/gone.png").symlink_to(root / "nowhere.png")
    return root


def test_unreadable_images_are_reported_together(with_bad_files, capfd):
    message = error_of(with_bad_files)
    assert "4 unreadable images of 6" in message
    for bad in ("happy/b.png: zero", "sad/c.png: ", "sad/d.jpg: ", "sad/gone.png: cannot be opened (No such file"):
        assert bad in message
    assert "WARN" not in capfd.readouterr().err


def test_unreadable_images_can_be_dropped(with_bad_files):
    decoded = read(with_bad_files, skip_bad=True)
    assert decoded.sample_ids.tolist() == ["happy/a.png", "sad/e.png"]
    assert "4 unreadable images of 6: happy/b.png: " in decoded.notes[0]


def test_nothing_is_left_when_every_image_is_bad(write_images):
    root = write_images(dict.fromkeys(["a/1.png", "b/2.png"], (4, 4)))
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    assert "2 unreadable images of 2" in error_of(root, skip_bad=True)


LAYOUTS = {
    "nothing": ([], "no class folders"),
    "images only": (["a.png", "b.png"], "no class folders"),
    "one class": (["happy/a.png"], "one class folder (happy)"),
    "subsets of loose images": ([f"FER2013{one}/a.png" for one in ("Train", "Valid", "Test")], "names of subsets"),
    "folders in a class": (["happy/a.png", "sad/a.png", "sad/old/a.png"], "sad/old"),
    "an empty class": (["happy/a.png", "sad/a.png", "fear/"], "class folders without an image\n  - fear"),
    "only other files": (["happy/a.png", "sad/a.txt"], "class folders without an image\n  - sad"),
    "a subset without classes": (["train/happy/a.png", "train/sad/a.png", "test/a.png"], "test: names of subsets"),
    "classes beside subsets": (["train/happy/a.png", "train/sad/a.png", "fear/a.png"], "other folders (fear)"),
    "a subset twice": (
        [f"{subset}/{emotion}/a.png" for subset in ("train", "val", "validation") for emotion in ("happy", "sad")],
        "val, validation are the same subset",
    ),
}


@pytest.mark.parametrize(("names", "problem"), LAYOUTS.values(), ids=LAYOUTS)
def test_bad_layout(names, problem):
    folders = {f"{parent}/" for name in names for parent in Path(name).parents if str(parent) != "."}
    with pytest.raises(FerBenchError) as raised:
        find_images(Path("faces"), [*names, *folders], ReadOptions())
    assert "faces: " in str(raised.value) and problem in str(raised.value)


SEEN_THROUGH = {
    "nothing": "{subset}/{name}/1.png",
    "a wrapper": "archive/DATA/{subset}/{name}/1.png",
    "doubled folders": "images/images/{subset}/{subset}/{name}/{name}/1.png",
    "a wrapper in each subset": "{subset}/images/{name}/1.png",
    "subsets in classes": "{name}/{subset}/1.png",
}


@pytest.mark.parametrize("layout", SEEN_THROUGH.values(), ids=SEEN_THROUGH)
@pytest.mark.parametrize(
    "words",
    [("Train", "VALID", "test"), ("01_train", "eval", "Test Set"), ("FER2013Train", "FER2013Valid", "FER2013Test"),
     ("train_images", "dev-set", "testing-data"), ("trainimages", "validationFaces", "imagestest"),
     ("FERtrain", "valfolder", "TESTDATA")],
)  # fmt: skip
def test_subset_words_and_wrappers(words, layout, write_images):
    names = [layout.format(subset=word, name=name) for word in words for name in ("happy", "contested")]
    decoded = read(write_images(dict.fromkeys(names, (4, 4))))
    found = dict(zip(decoded.sample_ids.tolist(), decoded.subsets.tolist(), strict=True))
    assert [found[name] for name in names] == ["train"] * 2 + ["validation"] * 2 + ["test"] * 2
    assert decoded.class_names == ("contested", "happy")


@pytest.mark.parametrize(
    "word", ["contested", "devoted", "train_test", "attest", "values", "happy", "trainer", "testfaced", "trainvaltest"]
)
def test_words_that_mean_no_subset(word):
    assert official_subset(word) is None


def test_one_name_in_two_unicode_forms_and_cases_is_one_class(write_images):
    classes = ["train/col\u00e8re/1.png", "train/Happy/1.png", "train/happy/2.png", "train/happy/3.png"]
    root = write_images(dict.fromkeys([*classes, "test/cole\u0300re/1.png", "test/HAPPY/1.png"], (4, 4)))
    decoded = read(root)
    assert decoded.class_names == ("col\u00e8re", "happy")
    assert np.bincount(decoded.labels).tolist() == [2, 4]
    assert len(decoded.notes) == 1


def test_a_class_may_be_missing_from_the_test_and_other_folders_are_named(write_images):
    root = write_images(dict.fromkeys(["train/happy/1.png", "train/sad/1.png", "test/happy/1.png"], (4, 4)))
    (root / "test/sad").mkdir()
    (root / "annotations").mkdir()
    decoded = read(root)
    assert decoded.class_names == ("happy", "sad")
    assert [note for note in decoded.notes if "annotations" in note]


def test_classes_are_looked_at_as_they_are_renamed(write_images):
    names = ["train/hapy/1.png", "train/sad/1.png", "test/happy/1.png", "test/sad/1.png"]
    root = str(write_images(dict.fromkeys(names, (6, 6))))
    as_it_is, renamed = open_dataset(root).load(), open_dataset(root, options=ReadOptions(classes="hapy=happy")).load()
    with pytest.raises(FerBenchError, match=r"class happy .*hapy.*--classes 'happy=.*'happy=hapy'"):
        make_split(as_it_is)
    assert renamed.class_names == ("happy", "sad") and not renamed.untrained(renamed.subsets == "train")


@pytest.mark.parametrize("classes", ["fear=", "fear=sad", "FEAR= Sad", None])
def test_empty_folders_may_be_dropped_or_merged(classes, write_images):
    root = write_images(dict.fromkeys(["happy/1.png", "sad/1.png"], (6, 6)))
    (root / "fear").mkdir()
    options = ReadOptions(classes=classes, skip_bad=not classes)
    dataset = open_dataset(str(root), options=options).load()
    assert [name.lower() for name in dataset.class_names] == ["happy", "sad"]
    assert any("fear" in note for note in dataset.notes) == (classes in ("fear=", None))
    with pytest.raises(FerBenchError, match=r"without an image\n  - fear\n.*--classes 'fear='.*--skip-bad"):
        open_dataset(str(root), options=ReadOptions(classes="fear=awe"))


def test_results_that_lie_in_the_data_folder_are_no_data(write_images):
    root = write_images({f"{name}/{at}.png": (6, 6) for name in ("happy", "sad") for at in range(3)})
    before = open_dataset(str(root)).load()
    for place in ("results/faces", "happy/mine"):
        (root / place / "runs").mkdir(parents=True)
        (root / place / CLAIM_FILE).write_text("{}")
        (root / place / "leaderboard.png").write_bytes((root / "happy" / "0.png").read_bytes())
    after = open_dataset(str(root)).load()
    assert after.fingerprint == before.fingerprint and after.class_names == ("happy", "sad")


def test_a_zip_is_read_as_its_folder(write_images, tmp_path):
    root = write_images(dict.fromkeys(["faces/happy/a.png", "faces/sad/b.png"], (4, 4)), root="all")
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as archive:
        for path in sorted(root.rglob("*.png")):
            archive.write(path, path.relative_to(root))
        archive.writestr("__MACOSX/faces/happy/._a.png", b"x")
    dataset = open_dataset(str(tmp_path / "faces.zip")).load()
    assert dataset.sample_ids.tolist() == ["faces/happy/a.png", "faces/sad/b.png"]
    assert np.array_equal(dataset.images, read(root).images)
    assert dataset.name == "faces"


@pytest.mark.parametrize("name", ["../out.png", "/out.png", "C:/out.png", "happy\\..\\..\\out.png"])
def test_a_zip_that_leads_outside_is_refused(name, tmp_path):
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as archive:
        member = zipfile.ZipInfo("x")
        member.filename = name
        archive.writestr(member, b"x")
        archive.writestr("sad/a.png", b"x")
    with pytest.raises(FerBenchError, match=r"faces.zip: .*outside"):
        open_dataset(str(tmp_path / "faces.zip"))
    assert not list(tmp_path.rglob("out.png"))


def test_a_zip_that_unpacks_to_too_much_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "faces.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("happy/a.png", "sad/b.png"):
            archive.writestr(name, bytes(1 << 25))
    with pytest.raises(FerBenchError, match="unpack"):
        open_dataset(str(tmp_path / "faces.zip"))


def test_file_names_that_are_not_utf8(write_images):
    root = write_images(dict.fromkeys(["happy/a.png", "sad/b.png"], (4, 4)))
    try:
        (root / "sad/b.png").rename(os.fsdecode(os.fsencode(root) + b"/sad/\xff.png"))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    dataset = read(root).dataset("faces")
    assert dataset.sample_ids.tolist() == ["happy/a.png", "sad/\\xff.png"]
    assert len(dataset.fingerprint) == 16
