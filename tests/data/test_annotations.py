"""Images with labels in files beside them: lists of any form, and those of RAF-DB, ExpW, AffectNet, FER+ and YOLO."""

import cv2
import numpy as np
import pytest

from fer_bench.data import ReadOptions, open_dataset
from fer_bench.errors import FerBenchError

SUBSETS = ["train"] * 12 + ["val"] * 4 + ["Test"] * 4


def write(path, seed, size=48):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 256, (size, size), dtype=np.uint8))


def write_text(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines))
    return path


def opened(path, **options):
    return open_dataset(str(path), options=ReadOptions(**options)).load()


def of_each(data) -> dict[str, tuple[str, str]]:
    """Class and subset by sample id."""
    subsets = [""] * len(data) if data.subsets is None else data.subsets
    rows = zip(data.sample_ids, data.labels, subsets, strict=True)
    return {str(one): (data.class_names[label], str(subset)) for one, label, subset in rows}


@pytest.fixture
def own(tmp_path):
    """A folder of twenty images, and of each its label, subset and person."""
    for i in range(20):
        write(tmp_path / "own" / "my pictures" / f"p{i}.png", i)
    return tmp_path / "own"


def rows(path="my pictures/p{}.png", mark=","):
    return [
        mark.join([path.format(i), "happy" if i % 2 else "sad", subset, f"S{i // 4}"])
        for i, subset in enumerate(SUBSETS)
    ]


FORMS = {
    "named": ("list.csv", ["image,emotion,split,subject", *rows()]),
    "not named": ("list.csv", rows()),
    "an index": ("list.csv", [",path,label,set,person", *(f"{n},{row}" for n, row in enumerate(rows()))]),
    "an index without a name": ("list.csv", [f"{n},{row}" for n, row in enumerate(rows())]),
    "tabs": ("list.tsv", ["file\tlabel\tusage\tgroup", *rows(mark="\t")]),
    "spaces": ("list.txt", rows(mark=" ")),
    "semicolons": ("list.csv", ["file;label;subset;identity", *rows(mark=";")]),
    "quoted": ("list.csv", [f'"{row.replace(",", chr(34) + "," + chr(34))}"' for row in rows()]),
    "without suffix or folder": ("list.lst", rows("p{}", " ")),
    "another suffix": ("list.csv", rows("p{}.jpg")),
    "as on another machine": ("list.csv", rows("C:\\Users\\me\\faces\\my pictures\\p{}.png")),
    "the label first": ("list.csv", ["emotion,file,split,subject", *(
        ",".join([label, path, *rest]) for path, label, *rest in (row.split(",") for row in rows()))]),
    "landmarks first": ("list.csv", ["points,image,emotion,split,subject", *(
        f"{'1.5;2;' * 68},{row}" for row in rows())]),
    "numbers too": ("list.csv", ["label,image,emotion,split,subject", *(
        f"{i % 2},{row}" for i, row in enumerate(rows()))]),
}  # fmt: skip


def test_a_list_in_another_encoding_is_told_once(own):
    write(own / "my pictures" / "müde.png", 1)
    lines = ["image,emotion,split,subject", *rows(), "my pictures/müde.png,happy,train,S5"]
    (own / "list.csv").write_bytes("\n".join(lines).replace("sad", "müde").encode("latin-1"))
    with pytest.raises(FerBenchError) as raised:
        opened(own)
    count, problem, advice = str(raised.value).splitlines()
    assert "11 bad lines of 21" in count and "line 2: " in problem and "10 more" in problem and "as UTF-8" in problem
    assert "--skip-bad" in advice


@pytest.mark.parametrize("direct", [True, False], ids=["itself", "its folder"])
@pytest.mark.parametrize("form", FORMS)
def test_a_list_of_images(form, direct, own):
    path = write_text(own / FORMS[form][0], *FORMS[form][1])
    data = opened(path if direct else own)
    assert data.class_names == ("happy", "sad") and data.class_counts().tolist() == [10, 10]
    assert [int((data.subsets == name).sum()) for name in ("train", "validation", "test")] == [12, 4, 4]
    assert of_each(data)["my pictures/p13.png"] == ("happy", "validation")
    assert len(np.unique(data.groups)) == 5 and data.grouped_by == "person"


def test_a_list_of_absolute_paths_elsewhere(own, tmp_path):
    data = opened(write_text(tmp_path / "lists" / "mine.txt", *rows(f"{own}/my pictures/p{{}}.png")))
    assert of_each(data)["p1.png"] == ("happy", "train")


def test_other_files_beside_a_list_do_not_change_what_it_says(own):
    path = write_text(own / "list.csv", *rows())
    before = open_dataset(str(path))
    write(own / "results" / "figure.png", 1)
    assert open_dataset(str(path)) == before
    write(own / "my pictures" / "p3.png", 99)
    assert open_dataset(str(path)).fingerprint != before.fingerprint


def test_bad_lines_are_named_together_or_dropped(own):
    bad = [
        "my pictures/p99.png,sad,train,S0",
        "my pictures/p1.png,sad,train,S0",
        "my pictures/p2.png,N/A,train,S0",
        "x,y",
    ]
    path = write_text(own / "list.csv", *rows()[3:], *bad, rows()[0])
    for source in (path, own):
        with pytest.raises(FerBenchError) as raised:
            opened(source)
        message = str(raised.value)
        assert "3 bad lines of 22" in message and "line 18: my pictures/p99.png" in message
        assert "line 21: 2 fields" in message
        assert len(opened(source, skip_bad=True)) == 19


@pytest.mark.parametrize("titles", ["image,emotion,split,split", "image,emotion,person,Person"])
def test_columns_of_one_name_are_refused(own, titles):
    path = write_text(own / "list.csv", titles, *rows())
    with pytest.raises(FerBenchError, match=rf"{path}: several columns are called '{titles[-6:].strip(',').lower()}'"):
        opened(own)


def test_a_list_that_names_no_images_says_what_would(own):
    for cell in ("nobody", "0 255 " * 1000):
        path = write_text(own / "list.csv", "who,what", f"{cell},nothing", "no one,never")
        with pytest.raises(FerBenchError, match=rf"{cell[:30]} \| nothing[^$]*images/1.png,happy") as raised:
            opened(path)
        assert len(str(raised.value)) < 500


def test_a_list_for_each_subset(tmp_path):
    """Each in its subset's folder, with names that both have."""
    for n, subset in enumerate(("train", "test")):
        for i in range(6):
            write(tmp_path / "own" / subset / f"{i}.png", 10 * n + i)
        names = [f"{i}.png,{'happy' if (i + n) % 2 else 'sad'}" for i in range(6)]
        write_text(tmp_path / "own" / subset / "metadata.csv", "file_name,label", *names)
    found = of_each(opened(tmp_path / "own"))
    assert found["train/1.png"] == ("happy", "train") and found["test/1.png"] == ("sad", "test")
    assert len(found) == 12


def test_subsets_of_some_images_alone_are_refused(tmp_path):
    for n, name in enumerate(("train", "test", "extra")):
        for i in range(6):
            write(tmp_path / "own" / "img" / f"{name}{i}.png", 10 * n + i)
        lines = [f"img/{name}{i}.png,{'happy' if i % 2 else 'sad'}" for i in range(6)]
        write_text(tmp_path / "own" / f"{name}.csv", "path,label", *lines)
    with pytest.raises(FerBenchError, match=r"6 of 18 images have no subset(.|\n)*img/extra0\.png"):
        opened(tmp_path / "own")


def test_a_list_beside_folders_of_classes(tmp_path):
    """AffectNet as on Kaggle: labels.csv says otherwise than the folders; numbers are named by them; or ages alone."""
    paths = [f"{name}/{i}.png" for name in ("anger", "fear") for i in range(6)]
    for seed, path in enumerate(paths):
        write(tmp_path / "own" / path, seed)
    lines = [f"{n},{path},{'fear' if n == 2 else path.split('/')[0]},0.8" for n, path in enumerate(paths)]
    write_text(tmp_path / "own" / "labels.csv", ",pth,label,relFCs", *lines)
    data = opened(tmp_path / "own")
    assert of_each(data)["anger/2.png"][0] == "fear" and data.class_counts().tolist() == [5, 7]
    assert any("1 of 12 images" in note for note in data.notes)
    write_text(tmp_path / "own" / "labels.csv", "pth,label", *(f"{path},{n // 6}" for n, path in enumerate(paths)))
    assert opened(tmp_path / "own").class_counts().tolist() == [6, 6]
    assert opened(tmp_path / "own").class_names == ("anger", "fear")
    write_text(tmp_path / "own" / "labels.csv", "pth,age", *(f"{path},{n % 2}" for n, path in enumerate(paths)))
    data = opened(tmp_path / "own", slices=("age",))
    assert data.class_counts().tolist() == [6, 6] and data.slices["age"].tolist() == ["0", "1"] * 6
    write_text(tmp_path / "own" / "labels.csv", "such as anger/1.png")
    assert opened(tmp_path / "own").class_counts().tolist() == [6, 6]


def test_a_column_for_each_class(tmp_path):
    """As Roboflow writes it into each subset's folder."""
    for subset in ("train", "valid", "test"):
        for i in range(6):
            write(tmp_path / "own" / subset / f"{i}.png", i)
        lines = [f"{i}.png, {int(i % 2)}, {int(i % 2 == 0)}" for i in range(6)]
        write_text(tmp_path / "own" / subset / "_classes.csv", "filename, Anger, Fear", *lines)
    assert of_each(opened(tmp_path / "own"))["valid/2.png"] == ("Fear", "validation")


def test_rafdb(tmp_path):
    root, lines = tmp_path / "raf", []
    for i in range(14):
        name = f"{'train' if i < 7 else 'test'}_{i:05}"
        write(root / "Image" / "aligned" / f"{name}_aligned.png", i)
        lines.append(f"{name}.png {i % 7 + 1}")
    path = write_text(root / "EmoLabel" / "list_patition_label.txt", *lines)
    data = opened(root)
    assert of_each(data)["Image/aligned/train_00000_aligned.png"] == ("surprise", "train")
    assert (data.subsets == "test").sum() == 7
    write_text(path, *lines, "test_00099.png 1")
    with pytest.raises(FerBenchError, match="line 15"):
        opened(root)
    assert len(opened(root, skip_bad=True)) == 14


def test_rafdb_of_kaggle(tmp_path):
    root = tmp_path / "raf"
    for subset in ("train", "test"):
        names = [f"{subset}_{i:05}_aligned.png" for i in range(7)]
        for i, name in enumerate(names):
            write(root / "DATASET" / subset / str(i + 1) / name, i)
        write_text(root / f"{subset}_labels.csv", "image,label", *(f"{name},{i + 1}" for i, name in enumerate(names)))
    assert of_each(opened(root))["DATASET/test/2/test_00001_aligned.png"] == ("fear", "test")


def test_expw_has_several_faces_an_image(tmp_path):
    root = tmp_path / "expw"
    write(root / "image" / "a.png", 0, 200)
    write(root / "image" / "b.png", 1, 200)
    lines = [f"{n}.png {f} 10 {5 + 100 * f} {85 + 100 * f} 90 50.0 {3 + f}" for n in "ab" for f in (0, 1)]
    write_text(root / "label.lst", *lines)
    data = opened(root)
    assert len(data.images) == 4 and sorted(data.class_names) == ["happy", "sad"]
    write_text(root / "label.lst", *lines, "c.png 0 1 1 9 9 5 3")
    with pytest.raises(FerBenchError, match="line 5"):
        opened(root)


def pixels(path, left, top, right, bottom):
    return cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)[top:bottom, left:right]


def test_affectnet_by_its_lists(tmp_path):
    """Boxes in columns, numbers for classes, those from 8 on no expressions, and the second list without a header."""
    root = tmp_path / "AffectNet"
    named = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
    faces = [f"{i}/{i}a.png,10,20,40,40,{'1.5;2;' * 68},{i % 10},0.1,-.2" for i in range(20)]
    for i in range(20):
        write(root / "Manually_Annotated_Images" / str(i) / f"{i}a.png", i, 100)
    write_text(root / "Manually_Annotated_file_lists" / "training.csv", named, *faces[:10])
    write_text(root / "Manually_Annotated_file_lists" / "validation.csv", *faces[10:])
    data = opened(root)
    found = of_each(data)
    assert len(found) == 16 and found["Manually_Annotated_Images/6/6a.png"] == ("angry", "train")
    assert found["Manually_Annotated_Images/11/11a.png"] == ("happy", "test")
    path = root / "Manually_Annotated_Images" / "6" / "6a.png"
    assert np.array_equal(
        data.images[list(found).index(path.relative_to(root).as_posix())], pixels(path, 6, 16, 54, 64)
    )
    assert len(opened(root, classes="uncertain=unsure")) == 18


def test_affectnet_by_its_arrays(tmp_path):
    for i in range(20):
        folder = tmp_path / "AffectNet" / ("train_set" if i < 15 else "val_set")
        write(folder / "images" / f"{i}.png", i)
        (folder / "annotations").mkdir(exist_ok=True)
        np.save(folder / "annotations" / f"{i}_exp.npy", str(i % 9))
        np.save(folder / "annotations" / f"{i}_val.npy", "0.5")
    found = of_each(opened(tmp_path / "AffectNet"))
    assert len(found) == 18 and found["train_set/images/7.png"] == ("contempt", "train")
    assert found["val_set/images/16.png"] == ("contempt", "test")
    (folder / "annotations" / "._19_exp.npy").write_bytes(b"left by macOS")
    assert len(opened(tmp_path / "AffectNet")) == 18
    np.savez(tmp_path / "a.npz", label=3)
    for content in (np.array({"a": 1}), np.array(1j), None):
        np.save(path := folder / "annotations" / "19_exp.npy", content, allow_pickle=True)
        if content is None:
            path.write_bytes((tmp_path / "a.npz").read_bytes())
        with pytest.raises(FerBenchError, match=r"19_exp\.npy"):
            opened(tmp_path / "AffectNet")


def test_where_no_image_shows_an_expression_that_is_told(tmp_path):
    write(tmp_path / "AffectNet" / "images" / "0.png", 0)
    (tmp_path / "AffectNet" / "annotations").mkdir()
    np.save(tmp_path / "AffectNet" / "annotations" / "0_exp.npy", "8")
    with pytest.raises(FerBenchError, match=r"no images with a label; .*left out 1 images of no expression"):
        opened(tmp_path / "AffectNet")


@pytest.mark.parametrize("layout", ["{subset}/{kind}/{name}", "{kind}/{subset}/{name}"])
@pytest.mark.parametrize(
    ("file", "names"),
    [
        ("data.yaml", "names: [anger, happy]"),
        ("x.yml", "names:\n  0: anger\n  1: happy"),
        ("classes.txt", "anger\nhappy"),
    ],
)
def test_yolo(layout, file, names, tmp_path):
    root = tmp_path / "yolo"
    for subset in ("train", "valid", "test"):
        for i in range(4):
            write(root / layout.format(subset=subset, kind="images", name=f"{i}.png"), i, 100)
            second = "0 0.2 0.2 0.2 0.2" if i == 3 else ""
            place = root / layout.format(subset=subset, kind="labels", name=f"{i}.txt")
            write_text(place, f"{i % 2} 0.5 0.5 0.4 0.4", second)
    write_text(root / file, names)
    data = opened(root)
    path = layout.format(subset="valid", kind="images", name="")
    found = of_each(data)
    assert len(found) == 15 and found[f"{path}1.png"] == ("happy", "validation")
    assert found[f"{path}3.png#1"] == ("anger", "validation") and data.grouped_by == "image"
    cut = pixels(root / f"{path}1.png", 26, 26, 74, 74)
    assert np.array_equal(data.images[list(found).index(f"{path}1.png")], cv2.resize(cut, data.images.shape[1:]))
    write_text(place, "7 0.5 0.5 0.4 0.4")
    with pytest.raises(FerBenchError, match=r"7 0\.5"):
        opened(root)


@pytest.mark.parametrize("box", [',"(0, 0, 48, 48)"', ""], ids=["boxes", "no boxes"])
def test_ferplus(box, tmp_path):
    """Majorities of votes, single ones not counted; without one, not known or no face: left out."""
    votes = ["6,0,0,2,2,0,0,0,0,0", "1,8,0,0,0,0,0,0,1,0", "4,4,0,0,0,0,0,0,0,2", "0,0,0,0,0,0,0,0,2,8"]
    for subset in ("Train", "Valid", "Test"):
        folder = tmp_path / "data" / f"FER2013{subset}"
        for i in range(4):
            write(folder / f"fer{i:07}.png", i)
        write_text(folder / "label.csv", *(f"fer{i:07}.png{box},{vote}" for i, vote in enumerate(votes)))
    data = opened(tmp_path / "data")
    found = of_each(data)
    assert len(found) == 6 and found["FER2013Valid/fer0000001.png"] == ("happy", "validation")
    assert data.votes[0].tolist() == [6, 0, 0, 2, 2, 0, 0, 0, 0, 0] and data.vote_names[3] == "sad"
    write_text(folder / "label.csv", f"fer0000009.png{box},{votes[0]}", f"fer0000001.png{box},{votes[0]}")
    with pytest.raises(FerBenchError, match=r"label\.csv, line 1"):
        opened(tmp_path / "data")


def test_a_file_of_labels_that_cannot_be_read_is_named(own):
    (own / "classes.txt").symlink_to(own / "nowhere")
    with pytest.raises(FerBenchError, match=r"own/classes\.txt: cannot be read"):
        opened(own)
