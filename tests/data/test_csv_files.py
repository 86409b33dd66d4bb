"""fer2013.csv in all its forms, and everything that can be wrong with a row or the file."""

import gzip
import lzma
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fer_bench.data import fer2013
from fer_bench.data.readers.csv_files import read_csv
from fer_bench.errors import FerBenchError


def error_of(path: Path, **options) -> str:
    with pytest.raises(FerBenchError) as raised:
        read_csv(path, **options)
    assert str(path) in str(raised.value)
    return str(raised.value)


def test_original_form(csv_lines, write_csv):
    decoded = read_csv(write_csv(csv_lines))
    assert decoded.images.shape == (9, 2, 2)
    assert decoded.images.dtype == np.uint8
    assert decoded.images[4].tolist() == [[148, 149], [150, 151]]
    assert decoded.labels.tolist() == [0, 1, 2] * 3
    assert decoded.class_names == fer2013.CLASSES
    assert decoded.sample_ids[8] == "row-00008"
    assert decoded.subsets.tolist() == ["train"] * 3 + ["validation"] * 3 + ["test"] * 3
    assert decoded.notes == ()


def spaced(lines):  # icml_face_data.csv
    fields = [line.split(",") for line in lines[1:]]
    return ["emotion, Usage, pixels", *(f"{label},{usage},{pixels}" for label, pixels, usage in fields)]


def quoted(lines):
    fields = [line.split(",") for line in lines[1:]]
    return ['"Emotion","PIXELS","usage"', *(f'{label},"{pixels}","{usage}"' for label, pixels, usage in fields)]


def windows(lines):
    return ["\ufeff" + "\r\n".join(lines), "", ""]


def with_more_columns(lines):
    return ["id," + lines[0] + ",source", *(f"7,{line},web" for line in lines[1:])]


def plain_words(lines):
    words = {"Training": "train", "PublicTest": "val", "PrivateTest": "Test"}
    fields = [line.rsplit(",", 1) for line in lines[1:]]
    return [lines[0], *(f"{row},{words[usage]}" for row, usage in fields)]


def semicolons(lines):
    return [line.replace(",", ";") for line in lines]


@pytest.mark.parametrize("form", [spaced, quoted, windows, with_more_columns, plain_words, semicolons])
def test_other_forms_hold_the_same(form, csv_lines, write_csv):
    original, other = read_csv(write_csv(csv_lines, "a.csv")), read_csv(write_csv(form(csv_lines), "b.csv"))
    for what in ("images", "labels", "sample_ids", "subsets"):
        assert np.array_equal(getattr(original, what), getattr(other, what)), what


def packed(content: bytes, path: Path) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("data/fer2013.csv", content)
            archive.writestr("__MACOSX/._fer2013.csv", b"\0")
            archive.writestr("README.txt", "faces")
    else:
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else lzma.compress(content))
    return path


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zip"])
def test_packed_forms_hold_the_same(suffix, csv_lines, write_csv, tmp_path):
    plain = write_csv(csv_lines)
    shares = []
    decoded = read_csv(
        packed(plain.read_bytes(), tmp_path / f"faces.csv{suffix}"), progress=lambda share, text: shares.append(share)
    )
    assert np.array_equal(decoded.images, read_csv(plain).images)
    assert shares[-1] == pytest.approx(1)


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zip"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.95])
def test_truncated_archive(suffix, kept, csv_lines, tmp_path):
    rng = np.random.default_rng(0)
    lines = [csv_lines[0], *(f"0,{' '.join(map(str, rng.integers(0, 256, 900)))},Training" for _ in range(40))]
    path = packed("\n".join(lines).encode(), tmp_path / f"faces.csv{suffix}")
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    assert "truncated or damaged archive" in error_of(path)


def test_no_usage_no_subsets(csv_lines, write_csv):
    decoded = read_csv(write_csv([line.rsplit(",", 1)[0] for line in csv_lines]))
    assert decoded.subsets is None
    assert len(decoded.images) == 9


def test_a_set_column_that_is_about_something_else_is_not_used(csv_lines, write_csv):
    lines = [line.rsplit(",", 1)[0] + f",{'ab'[n % 2]}" for n, line in enumerate(csv_lines)]
    decoded = read_csv(write_csv(["emotion,pixels,Set", *lines[1:]]))
    assert decoded.subsets is None and decoded.columns["Set"].tolist() == list("babababab")
    lines[3:] = [line[:-1] + "train" for line in lines[3:]]
    assert "2 bad rows of 9" in error_of(write_csv(["emotion,pixels,Set", *lines[1:]]))


def test_labels_as_names_are_sorted_classes(csv_lines, write_csv):
    names = {"0": "sad", "1": "in awe", "2": "müde"}
    lines = ["label,pixels", *(f"{names[line[0]]},{line.split(',')[1]}" for line in csv_lines[1:])]
    decoded = read_csv(write_csv(lines))
    assert decoded.class_names == ("in awe", "müde", "sad")
    assert decoded.labels.tolist() == [2, 0, 1] * 3


def test_classes_without_an_image_are_left_out_with_a_note(csv_lines, write_csv):
    lines = [line.replace("1,", "6,", 1) if line[0] == "1" else line for line in csv_lines]
    dataset = read_csv(write_csv(lines)).dataset("faces")
    assert dataset.class_names == ("angry", "fear", "neutral")
    assert dataset.labels.tolist() == [0, 2, 1] * 3
    assert "disgust" in dataset.notes[0]


BAD_ROWS = {
    "too few pixels": ("0,1 2 3,Training", "3 pixels, not 4"),
    "too many pixels": ("0,1 2 3 4 5,Training", "5 pixels, not 4"),
    "no pixels": ("0,,Training", "no pixels"),
    "a word for a pixel": ("0,1 2 x 4,Training", "pixel 'x' is not a whole number"),
    "a fraction": ("0,1 2.5 3 4,Training", "pixel '2.5' is not a whole number"),
    "nan": ("0,1 nan 3 4,Training", "pixel 'nan' is not a whole number"),
    "above 255": ("0,1 2 256 4,Training", "pixel 256 is not in 0..255"),
    "far above 255": ("0,1 2 99999999999999999999999 4,Training", "is not in 0..255"),
    "below 0": ("0,1 -2 3 4,Training", "pixel -2 is not in 0..255"),
    "unknown label": ("7,1 2 3 4,Training", "unknown label '7'"),
    "a name among numbers": ("happy,1 2 3 4,Training", "unknown label 'happy'"),
    "no label": (",1 2 3 4,Training", "no label"),
    "unknown Usage": ("0,1 2 3 4,Dunno", "unknown Usage 'Dunno'"),
    "no Usage": ("0,1 2 3 4,", "no Usage"),
    "too few fields": ("0,1 2 3 4", "2 fields, not 3"),
    "too many fields": ("0,1 2 3 4,Training,Training", "4 fields, not 3"),
}


@pytest.mark.parametrize(("row", "problem"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_bad_row_is_named_by_line_and_can_be_dropped(row, problem, csv_lines, write_csv):
    path = write_csv([*csv_lines[:4], row, *csv_lines[4:]])
    message = error_of(path)
    assert "1 bad rows of 10" in message and "line 5: " in message and problem in message
    decoded = read_csv(path, skip_bad=True)
    assert len(decoded.images) == 9
    assert (decoded.n_rows, decoded.rows.tolist()) == (10, [0, 1, 2, 4, 5, 6, 7, 8, 9])
    assert decoded.sample_ids[3] == "row-00004"
    (note,) = decoded.notes
    assert "1 bad rows of 10: line 5: " in note


def test_bad_rows_are_reported_together(csv_lines, write_csv):
    lines = [csv_lines[0], "0,1 2 3,Training", *csv_lines[1:], *[row for row, _ in BAD_ROWS.values()] * 2]
    message = error_of(write_csv(lines))
    assert "33 bad rows of 42" in message and "line 2: 3 pixels, not 4" in message
    assert message.count("line ") == 20 and "13 more" in message


def test_nothing_is_left_when_every_row_is_bad(csv_lines, write_csv):
    path = write_csv([csv_lines[0], "0,1 2 3 x,Training", "9,1 2 3 4,Training"])
    assert "2 bad rows of 2" in error_of(path, skip_bad=True)


def test_labels_of_another_numbering_are_refused_whatever_may_be_dropped(write_csv):
    """1 to 7 would all be taken for the class before their own."""
    for labels, n in ([*range(1, 8)], 1), ([*range(8)] * 11, 11):
        path = write_csv(["label,pixels", *(f"{label},1 2 3 4" for label in labels)])
        assert f"{n} labels are 7" in error_of(path, skip_bad=True)


@pytest.mark.parametrize("label", ["inf", "-1", "1e0"])
def test_numbers_that_are_no_labels_are_bad_rows(write_csv, label):
    named = write_csv(["label,pixels", *["sad,1 2 3 4", "happy,1 2 3 4"] * 3, f"{label},1 2 3 4"])
    assert f"line 8: label {label!r}" in error_of(named)
    numbered = write_csv(["label,pixels", *["0,1 2 3 4", "1,1 2 3 4"] * 3, f"{label},1 2 3 4"])
    assert f"line 8: unknown label {label!r}" in error_of(numbered)


@pytest.mark.parametrize("numbered", [False, True])
@pytest.mark.parametrize("word", ["nan", "NULL", "n/a"])
def test_words_for_nothing_are_no_labels_and_none_may_be_one(write_csv, word, numbered):
    path = write_csv(["label,pixels", *["none,1 2 3 4", "happy,1 2 3 4"] * 3, f"{word},1 2 3 4"])
    assert "line 8: no label" in error_of(path, numbered=numbered)
    assert read_csv(path, skip_bad=True, numbered=numbered).class_names == ("happy", "none")


def test_pixels_written_as_floats(write_csv):
    decoded = read_csv(write_csv(["label,pixels", "sad,1.0 2.0 3.0 4.0", "happy,1 2 3. 255.0"]))
    assert decoded.images[:, 1].tolist() == [[3, 4], [3, 255]]
    assert "'2.5'" in error_of(write_csv(["label,pixels", "sad,1.0 2.5 3.0 4.0", "happy,1 2 3 4"]))


def test_two_columns_of_labels_are_refused(write_csv):
    assert "'emotion' and 'Label'" in error_of(write_csv(["emotion,Label,pixels", "0,1,1 2 3 4"]))


def test_further_columns_of_one_name_are_refused_and_those_without_are_not_read(write_csv):
    header = "emotion,pixels,Person,person"
    assert "'person'" in error_of(write_csv([header, "0,1 2 3 4,S1,S1"]))
    decoded = read_csv(write_csv([f"{header[:-7]},,", "0,1 2 3 4,S1,,", "1,1 2 3 4,S2,,"]))
    assert {name: values.tolist() for name, values in decoded.columns.items()} == {"Person": ["S1", "S2"]}


def test_rows_of_no_square_image(write_csv):
    for first in [], ["0,1 2 3 4"]:
        assert "6 pixels" in error_of(write_csv(["emotion,pixels", *first, *["0,1 2 3 4 5 6"] * 3]))


def test_label_in_another_encoding(tmp_path):
    path = tmp_path / "latin.csv"
    path.write_bytes("label,pixels\nfroh,1 2 3 4\nfroh,1 2 3 4\nmüde,1 2 3 4\n".encode("latin-1"))
    assert "line 4: label b'm\\xfcde'" in error_of(path)
    path.write_bytes("label,pixels\nfroh,1 2 3 4\nfroh,1 2 3 4\nmüde,1 2 3 4\nmüde,5 2 3 4\n".encode("latin-1"))
    message = error_of(path)
    assert "2 bad rows of 4" in message and "1 more" in message and "as UTF-8" in message and "--skip-bad" in message


@pytest.mark.parametrize("n_whole", [0, 3])
def test_pixels_from_0_to_1_are_told_once_with_what_to_do(write_csv, n_whole):
    path = write_csv(["label,pixels", *["sad,0 0.5 1e-2 1.0", "happy,0.1 0.2 0 1"] * 30, *["sad,1 2 3 4"] * n_whole])
    message = error_of(path)
    assert "line 2: pixel '0.5' " in message and "59 more" in message and "multiply by 255" in message
    assert "--skip-bad" in message and len(message.splitlines()) == 3


CONTENTS = {
    "empty": (b"", "empty file"),
    "blank": (b"\n", "empty file"),
    "a header only": (b"emotion,pixels,Usage\n", "a header but no rows"),
    "binary": (bytes(range(256)) * 9, "not a CSV file in UTF-8"),
    "zero bytes": (bytes(5000), "not a CSV file in UTF-8"),
    "UTF-16": ("emotion,pixels\n0,1 2 3 4\n".encode("utf-16"), "not a CSV file in UTF-8"),
    "no header": (b"0,1 2 3 4,Training\n", "'0', '1 2 3 4'"),
    "no labels": (b"pixels\n1 2 3 4\n", "'emotion' or 'label'"),
    "no pixels": (b"emotion,Usage\n1,Training\n", "no column 'pixels'"),
}


@pytest.mark.parametrize(("content", "problem"), CONTENTS.values(), ids=CONTENTS)
def test_bad_file(content, problem, tmp_path):
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    assert problem in error_of(path)


def test_missing_file_and_folder(tmp_path):
    assert "No such file" in error_of(tmp_path / "missing.csv")
    assert "Is a directory" in error_of(tmp_path)


def test_zip_with_a_password(tmp_path):
    path = packed(b"emotion,pixels\n0,1\n", tmp_path / "faces.zip")
    content = bytearray(path.read_bytes())
    content[6] |= 1  # the flag that a member is encrypted, before its data
    content[content.index(b"PK\1\2") + 8] |= 1  # and in the table of contents
    path.write_bytes(content)
    assert "password" in error_of(path)


@pytest.mark.parametrize("names", [[], ["a.csv", "b.csv"], ["faces.png"]])
def test_zip_without_the_one_csv(names, tmp_path):
    path = tmp_path / "faces.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "emotion,pixels\n0,1\n")
    message = error_of(path)
    assert f"has {sum(name.endswith('.csv') for name in names)}" in message
    assert all(name in message for name in names)


def test_quoted_pixels_may_be_long_and_a_quote_that_is_not_closed_is_told(csv_lines, write_csv):
    """In a file of many short lines, too, without reading all that follows again for each of them."""
    long = " ".join(["100"] * 224 * 224)
    decoded = read_csv(write_csv(["label,pixels", *(f'{label},"{long}"' for label in ("sad", "happy"))]))
    assert decoded.images.shape == (2, 224, 224)
    lines = [csv_lines[0], f'"{csv_lines[1]}', *csv_lines[2:] * 10_000]
    assert "a quote that is not closed" in error_of(write_csv(lines))


def test_a_quote_within_a_cell_is_part_of_it_and_takes_no_line_that_follows(csv_lines, write_csv):
    notes = ['5" photo', "", '"a ""b"" c"', '2" x 3"', '"two\nlines"', 'b"', "", "", 'c"']
    rows = [f"{note},{line}" for note, line in zip(notes, csv_lines[1:], strict=True)]
    decoded = read_csv(write_csv([f"note,{csv_lines[0]}", *rows]))
    read = ['5" photo', "", 'a "b" c', '2" x 3"', "two lines", 'b"', "", "", 'c"']
    assert decoded.columns["note"].tolist() == read
