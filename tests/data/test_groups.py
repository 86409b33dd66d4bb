"""Who is on which image: given by column, pattern or file; columns and file names that are understood; hints."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fer_bench.data import ReadOptions, open_dataset
from fer_bench.data.readers.attributes.groups import looks_like_people, with_groups
from fer_bench.data.readers.attributes.names import recognised
from fer_bench.data.readers.decoded import Decoded
from fer_bench.errors import FerBenchError


def decoded(ids, **columns) -> Decoded:
    n = len(ids)
    return Decoded(
        np.zeros((n, 8, 8), np.uint8), np.arange(n) % 2, ("a", "b"), np.array(ids),
        columns={name: np.array(values, dtype=np.str_) for name, values in columns.items()},
    )  # fmt: skip


def parts_of(read: Decoded) -> list[list[int]]:
    """Rows of each group, in order of their first."""
    return [np.flatnonzero(read.groups == group).tolist() for group in dict.fromkeys(read.groups.tolist())]


IDS = [f"{'ab'[at % 2]}/S{at // 2}_{at}.png" for at in range(8)]
PAIRS = [[0, 1], [2, 3], [4, 5], [6, 7]]


@pytest.mark.parametrize("pattern", [r"S(\d+)_", r"^S\d+", r"[ab]/(S\d+)"])
def test_a_pattern_of_file_names(pattern):
    read = with_groups(decoded(IDS), pattern)
    assert parts_of(read) == PAIRS and read.grouped_by == "person"
    assert any("4 people" in note for note in read.notes)


def test_images_that_a_pattern_says_nothing_of_are_all_named():
    with pytest.raises(FerBenchError, match=r"(?s)2 of 10 images.*a/x\.png.*b/S_\.png"):
        with_groups(decoded([*IDS, "a/x.png", "b/S_.png"]), r"S(\d+)_")
    for wrong in ("nobody", "S(", r"\w+"):
        with pytest.raises(FerBenchError, match="--groups"):
            with_groups(decoded([f"x{at}" if wrong != r"\w+" else "x" for at in range(4)]), wrong)


@pytest.mark.parametrize("header", ["file,subject\n", "group;image\n", "subject,picture\n", "", "path\tperson id\n"])
@pytest.mark.parametrize("shown", [lambda one: one, lambda one: one[2:], lambda one: one[2:-4]])
def test_a_file_of_groups_is_joined_by_path_name_or_stem(tmp_path, header, shown):
    separator = next((mark for mark in ";\t" if mark in header), ",")
    cells = [[shown(one), f"person {at // 2}"] for at, one in enumerate(IDS)]
    rows = [row[::-1] if header.startswith(("group", "subject")) else row for row in cells]
    (tmp_path / "who.csv").write_text(header + "\n".join(separator.join(row) for row in rows[::-1]))
    read = with_groups(decoded(IDS), str(tmp_path / "who.csv"))
    assert parts_of(read) == PAIRS and read.groups_from == "who.csv"


def test_a_file_of_groups_that_contradicts_itself_or_lacks_images_is_refused(tmp_path):
    who = tmp_path / "who.csv"
    who.write_text("id,group\na/S0_0.png,1\na/S0_0.png,2\n")
    with pytest.raises(FerBenchError, match="line 3"):
        with_groups(decoded(IDS), str(who))
    who.write_text("id,group\na/S0_0.png,1\n")
    with pytest.raises(FerBenchError, match="7 of 8 images"):
        with_groups(decoded(IDS), str(who))


@pytest.mark.parametrize("name", ["Subject", "subject_id", "PERSON", "Identity", "user id", "group", "participant"])
def test_columns_that_name_people_are_understood(name):
    read = with_groups(decoded(IDS, **{name: [*"11223344"], "age": [*"12345678"]}), None, ["age"])
    assert (parts_of(read), read.grouped_by, read.groups_from) == (PAIRS, "person", f"column {name}")
    assert list(read.columns) == ["age"]


def test_an_empty_cell_is_nobody_else_and_two_values_are_no_people():
    read = with_groups(decoded(IDS, subject=["1", "1", "2", "3", "", "", "nan", "3"]), None)
    assert parts_of(read) == [[0, 1], [2], [3, 7], [4], [5], [6]]
    read = with_groups(decoded(IDS, group=[*"ABABABAB"]), None)
    assert read.groups is None and any("--groups group" in note for note in read.notes)
    assert parts_of(with_groups(decoded(IDS, group=[*"AAAABBBB"]), "group")) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_faces_of_one_photograph_are_no_people():
    assert with_groups(decoded(IDS, image=[*"11223344"]), None).grouped_by == "image"
    assert with_groups(decoded(IDS, image=[*"12345678"]), None).groups is None


@pytest.mark.parametrize(
    ("data_set", "names", "people"),
    [
        ("CK+", ["S010_004_00000017.png", "S010_006_00000015.png", "S132_008_00000010.png"], ["S010", "S010", "S132"]),
        ("JAFFE", ["KA.AN1.39.tiff", "KA.NE2.27.tiff", "yM.sa3.66.tiff"], ["KA", "KA", "YM"]),
        ("KDEF", ["AF01/AF01ANS.JPG", "BF01HAHL.JPG", "AM35SUFR.JPG"], ["F01", "F01", "M35"]),
        (
            "RaFD",
            [
                "Rafd090_01_Caucasian_female_angry_frontal.jpg",
                "Rafd045_01_Caucasian_female_sad_left.jpg",
                "Rafd090_71_Moroccan_male_happy_right.jpg",
            ],
            ["01", "01", "71"],
        ),
        ("Yale", ["subject01.happy", "subject01.gif", "subject15.sad.png"], ["SUBJECT01", "SUBJECT01", "SUBJECT15"]),
    ],
)  # fmt: skip
def test_file_names_of_known_data_sets_are_recognised(data_set, names, people):
    found, parts = recognised(names)
    assert (found, [part["person"] for part in parts]) == (data_set, people)
    assert with_groups(decoded(names), None).groups_from == f"file names as in {data_set}"


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("P{person:02d}_{image:03d}.png", r"'^(P\d+)_'"),
        ("s{person}-{image}.png", r"'^(s\d+)-'"),
        ("subj_{person}_{image}.png", r"'^(subj_\d+)_'"),
        ("{person:03d} {image}.jpg", r"'^(\d+) '"),
        ("face_{person}_{image}.jpg", r"'^(face_\d+)_'"),
        ("img{image}.png", None),
        ("Training_{image}{person}.jpg", None),
        ("train_{image:05d}_aligned.jpg", None),
    ],
)
def test_names_that_look_like_people_are_hinted_at_with_an_option_that_works(name, option):
    ids = np.array([f"{at % 3}/{name.format(person=at // 6, image=at)}" for at in range(60)])
    hint = looks_like_people(ids.tolist(), np.arange(60) % 3)
    assert (option in hint) if option else not hint
    read = with_groups(replace(decoded(ids), labels=np.arange(60) % 3), None)
    assert read.groups is None and any("--groups" in note for note in read.notes) == bool(option)
    if option:
        assert np.bincount(with_groups(decoded(ids), option.strip("'")).groups).tolist() == [6] * 10


def test_people_in_class_folders_and_in_a_csv_reach_the_dataset(tmp_path):
    rng = np.random.default_rng(0)
    for at in range(24):
        path = tmp_path / "lab" / "ab"[at % 2] / f"S{at // 4:03d}_001_{at:08d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (12, 12), dtype=np.uint8)).save(path)
    data = open_dataset(str(tmp_path / "lab")).load()
    assert (len(set(data.groups.tolist())), data.grouped_by) == (6, "person")
    pixels = [" ".join(map(str, rng.integers(0, 256, 16))) for _ in range(8)]
    rows = [f"{at % 2},{row},{at // 2}" for at, row in enumerate(pixels)]
    (tmp_path / "x.csv").write_text("emotion,pixels,subject\n" + "\n".join(rows))
    data = open_dataset(str(tmp_path / "x.csv"), options=ReadOptions()).load()
    assert data.groups.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    with pytest.raises(FerBenchError, match="--groups"):
        open_dataset("synthetic", options=ReadOptions(groups="x"))
