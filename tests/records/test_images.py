"""The file of facts about scored images."""

import gzip

import numpy as np
import pytest

from fer_bench.errors import FerBenchError
from fer_bench.records import ImageFacts


def facts(**fields) -> ImageFacts:
    values = {
        "ids": np.array(["b,1", "a", "c"]),
        "subset": np.array(["validation", "test", "test"]),
        "copy_in_train": np.array(["exact", "", "near"]),
        "votes": np.array([[1, 9], [10, 0], [4, 6]]),
        "vote_names": ("happiness", "NF"),
        "groups": np.array([4, 2, 4]),
        "grouped_by": "person",
        "slices": {"age": np.array(["< 25", "", ">= 40"]), "pose": np.array(["left", "left", ""])},
    }
    return ImageFacts(**{**values, **fields})


@pytest.mark.parametrize(
    "kept",
    [facts(), facts(votes=None, vote_names=()), facts(slices={}), facts(groups=None, grouped_by="")],
    ids=["all", "no votes", "plain", "nobody"],
)
def test_what_is_written_is_read(tmp_path, kept):
    path = tmp_path / "images-abc.csv.gz"
    kept.write(path)
    read = ImageFacts.load(path)
    assert (read.ids.tolist(), read.subset.tolist()) == (kept.ids.tolist(), kept.subset.tolist())
    assert read.copy_in_train.tolist() == ["exact", "", "near"]
    assert read.vote_names == kept.vote_names and read.grouped_by == kept.grouped_by
    assert (read.groups is None) == (kept.groups is None)
    assert read.groups is None or read.groups.tolist() == [4, 2, 4]
    assert {name: values.tolist() for name, values in read.slices.items()} == {
        name: values.tolist() for name, values in kept.slices.items()
    }
    assert (read.votes is None) == (kept.votes is None)
    assert read.votes is None or (read.votes == kept.votes).all()


def test_facts_come_in_the_order_asked_for():
    some = facts().of(np.array(["c", "b,1"]))
    assert some.copy_in_train.tolist() == ["near", "exact"]
    assert some.groups.tolist() == [4, 4] and some.grouped_by == "person"
    assert some.votes.tolist() == [[4, 6], [1, 9]]
    assert some.slices["age"].tolist() == [">= 40", "< 25"]
    with pytest.raises(FerBenchError, match="1 sample ids are not in the split"):
        facts().of(np.array(["a", "z"]))


@pytest.mark.parametrize(
    "content",
    [
        b"not gzip",
        gzip.compress(b""),
        gzip.compress(b"sample_id,subset,copy_in_train\n"),
        gzip.compress(b"sample_id,subset,copy_in_train\na,train,\n"),
        gzip.compress(b'sample_id,subset,copy_in_train\n"' + 2_000_000 * b"a" + b'",test,\n'),
        gzip.compress(b"sample_id,subset,copy_in_train\na,test,maybe\n"),
        gzip.compress(b"sample_id,subset,copy_in_train,happy\na,test,,many\n"),
        gzip.compress(b"sample_id,subset,copy_in_train,happy\na,test,," + 30 * b"9" + b"\n"),
        gzip.compress(b"sample_id,subset,copy_in_train,happy\na,test,,1\nb,test,\n"),
        gzip.compress(b"sample_id,subset,copy_in_train\na,test,\n")[:-9],
        gzip.compress(b"sample_id,subset,copy_in_train\na,test,\n")[:12] + b"\xff" * 40,
    ],
    ids=[
        "not gzip",
        "empty",
        "no rows",
        "train",
        "a long field",
        "maybe",
        "votes in words",
        "votes beyond counting",
        "a short row",
        "cut off",
        "spoilt",
    ],
)
def test_a_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "images-x.csv.gz"
    path.write_bytes(content)
    with pytest.raises(FerBenchError, match=r"images-x\.csv\.gz: damaged"):
        ImageFacts.load(path)


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        ImageFacts.load(tmp_path / "images-x.csv.gz")
