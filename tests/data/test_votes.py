"""Votes belong to rows, and only to the rows they were cast for."""

import gzip
from dataclasses import replace

import numpy as np
import pytest

from fer_bench.data.options import ReadOptions
from fer_bench.data.readers.attributes.classes import with_classes
from fer_bench.data.readers.attributes.votes import join_votes
from fer_bench.data.readers.csv_files import read_csv
from fer_bench.data.readers.images.folders import read_folder
from fer_bench.errors import FerBenchError

HEADER = "Usage,Image name,neutral,happiness,NF"


@pytest.fixture
def votes_lines() -> list[str]:
    """Votes (row, 10 - row, 0) for the nine rows of `csv_lines`; the image names number them wrongly on purpose."""
    usages = ["Training"] * 3 + ["PublicTest"] * 3 + ["PrivateTest"] * 3
    return [HEADER, *(f"{usage},fer{8 - row:07d}.png,{row},{10 - row},0" for row, usage in enumerate(usages))]


def test_votes_join_by_row_not_by_name(csv_lines, votes_lines, write_csv):
    decoded = join_votes(read_csv(write_csv(csv_lines)), write_csv(votes_lines, "votes.csv"))
    assert decoded.vote_names == ("neutral", "happiness", "NF")
    assert decoded.votes.tolist() == [[row, 10 - row, 0] for row in range(9)]
    assert decoded.dataset("faces").votes.dtype == np.int64


def test_votes_of_dropped_rows_are_dropped(csv_lines, votes_lines, write_csv):
    csv_lines[3] = "0,1 2 3,Training"
    decoded = join_votes(read_csv(write_csv(csv_lines), skip_bad=True), write_csv(votes_lines, "votes.csv"))
    assert decoded.votes[:, 0].tolist() == [0, 1, 3, 4, 5, 6, 7, 8]


def test_votes_may_be_packed_and_without_usage(csv_lines, votes_lines, write_csv, tmp_path):
    path = tmp_path / "votes.csv.gz"
    path.write_bytes(gzip.compress("\n".join(line.split(",", 2)[2] for line in votes_lines).encode()))
    assert join_votes(read_csv(write_csv(csv_lines)), path).votes.shape == (9, 3)


def test_votes_follow_the_classes_that_they_are_for(csv_lines, votes_lines, write_csv):
    decoded = join_votes(read_csv(write_csv(csv_lines)), write_csv(votes_lines, "votes.csv"))
    named = replace(decoded, class_names=("neutral", "happy", *decoded.class_names[2:]))
    renamed = with_classes(named, "happy=joie")
    assert renamed.vote_names == ("neutral", "joie", "NF") and renamed.votes.tolist() == decoded.votes.tolist()
    merged = with_classes(named, "happy=calm,neutral=calm")
    assert merged.vote_names == ("calm", "NF") and merged.votes.tolist() == [[10, 0]] * 9
    dropped = with_classes(named, "neutral=")
    assert dropped.vote_names == ("neutral", "happy", "NF") and len(dropped.votes) == len(dropped.labels)


WRONG = {
    "a row missing": (lambda lines: lines[:-1], "8 rows of votes for 9 rows of data"),
    "rows in another order": (lambda lines: [lines[0], *lines[:0:-1]], "6 rows have another Usage"),
    "a word": (lambda lines: [*lines[:2], "Training,b.png,x,0,0", *lines[3:]], "line 3: "),
    "below zero": (lambda lines: [*lines[:2], "Training,b.png,-1,0,0", *lines[3:]], "line 3: "),
    "a field missing": (lambda lines: [*lines[:2], "Training,b.png,1,0", *lines[3:]], "line 3: 4 fields, not 5"),
    "no votes": (lambda lines: [line.rsplit(",", 3)[0] for line in lines], "no columns of votes"),
    "nothing": (lambda lines: [""], "empty file"),
}


@pytest.mark.parametrize(("change", "problem"), WRONG.values(), ids=WRONG)
def test_wrong_votes(change, problem, csv_lines, votes_lines, write_csv):
    path = write_csv(change(votes_lines), "votes.csv")
    with pytest.raises(FerBenchError, match=f"(?s){path}: .*{problem}"):
        join_votes(read_csv(write_csv(csv_lines)), path)


def test_files_in_folders_have_no_rows(votes_lines, write_csv, write_images, tmp_path):
    paths = ["happy/a.png", "sad/b.png"]
    root = write_images(dict.fromkeys(paths, (4, 4)))
    decoded = read_folder(root, [*paths, "happy/", "sad/"], tmp_path / "pixels.raw", ReadOptions())
    with pytest.raises(FerBenchError, match=r"votes\.csv"):
        join_votes(decoded, write_csv(votes_lines, "votes.csv"))


def test_the_index_that_pandas_writes_is_no_vote(csv_lines, votes_lines, write_csv):
    indexed = [f"{'' if at == 0 else at - 1},{line}" for at, line in enumerate(votes_lines)]
    decoded = read_csv(write_csv(csv_lines))
    plain = join_votes(decoded, write_csv(votes_lines, "votes.csv"))
    with_index = join_votes(decoded, write_csv(indexed, "indexed.csv"))
    assert with_index.vote_names == plain.vote_names and np.array_equal(with_index.votes, plain.votes)
