"""Before a plan: the split beside the results is the one that runs are scored on."""

from types import SimpleNamespace

import numpy as np
import pytest

from fer_bench.errors import FerBenchError
from fer_bench.execution.prepare import prepare, store_split
from fer_bench.execution.runner import Options, run_plan
from fer_bench.records.audit import Audit
from fer_bench.records.images import ImageFacts, images_path


@pytest.fixture
def stored(tiny_npz, tmp_path):
    """Store the split of `tiny.npz` as it is now; the file with it."""

    def store():
        prepared = prepare(str(tiny_npz), tmp_path / "results")
        store_split(prepared)
        return prepared.results.path / f"split-{prepared.split_fingerprint}.csv.gz"

    return store


def relabel(path) -> None:
    """Other labels for the same ids and the same subsets."""
    with np.load(path) as arrays:
        labels = arrays["labels"]
        np.savez(path, **{**arrays, "labels": (labels + 1) % 3})


def test_same_split_is_not_written_again(stored):
    before = stored().stat()
    assert stored().stat().st_mtime_ns == before.st_mtime_ns


def test_corrected_labels_are_written_under_the_same_ids(stored, tiny_npz):
    with np.load(tiny_npz) as arrays:
        n = len(arrays["labels"])
        subsets = np.repeat(["train", "validation", "test"], [n - 60, 30, 30])
        np.savez(tiny_npz, **{**arrays, "subsets": subsets})
    path = stored()
    before = path.read_bytes()
    relabel(tiny_npz)
    assert stored() == path and path.read_bytes() != before


def test_damaged_file_is_replaced(stored):
    path = stored()
    before = path.read_bytes()
    path.write_bytes(before[:-10])
    assert stored().read_bytes() == before


def test_damaged_facts_in_the_cache_are_told_with_what_to_delete(tiny_npz, tmp_path):
    folder = prepare(str(tiny_npz), tmp_path / "results").split_folder
    (folder / "about.json").write_text("")
    with pytest.raises(FerBenchError, match=f"{folder}: damaged cache entry .*delete that folder"):
        prepare(str(tiny_npz), tmp_path / "results")


@pytest.fixture
def nothing_due(tiny_npz, tmp_path):
    """Give a command that finds nothing due; returns what it prepared."""

    def command(**options):
        prepared = prepare(str(tiny_npz), tmp_path / "results", **options)
        summary = run_plan([], prepared, Options(), watcher=SimpleNamespace(waiting=lambda what: None))
        assert not summary.failed and not summary.interrupted
        return prepared

    return command


def test_files_that_went_missing_are_written_again_though_nothing_is_due(nothing_due):
    folder = nothing_due().results.path
    files = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert {path.name.split("-")[0] for path in files} == {"split", "audit.json", "data_card.md", "images"}
    nothing_due()
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == files
    for path in files:
        path.unlink()
        nothing_due()
        assert path.exists()


def test_votes_are_joined_though_nothing_is_due(nothing_due, tiny_npz):
    prepared = nothing_due()
    with np.load(tiny_npz) as arrays:
        votes = np.arange(2 * len(arrays["labels"])).reshape(-1, 2)
        np.savez(tiny_npz, **arrays, votes=votes, vote_names=np.array(["top", "NF"]))
    assert nothing_due().fingerprints == prepared.fingerprints
    facts = ImageFacts.load(images_path(prepared.results.path, prepared.split_fingerprint))
    assert facts.vote_names == ("top", "NF")


def test_the_audit_is_that_of_the_split_asked_for_though_nothing_is_due(nothing_due):
    first, other = nothing_due(split_seed=0), nothing_due(split_seed=1)
    assert Audit.load(other.results.path / "audit.json").fingerprints == other.fingerprints != first.fingerprints
    nothing_due(split_seed=0)
    assert Audit.load(first.results.path / "audit.json").fingerprints == first.fingerprints


def test_labels_corrected_and_set_back_are_written_though_nothing_is_due(nothing_due, tiny_npz):
    with np.load(tiny_npz) as arrays:
        n = len(arrays["labels"])
        np.savez(tiny_npz, **arrays, subsets=np.repeat(["train", "validation", "test"], [n - 60, 30, 30]))
    original, (path,) = tiny_npz.read_bytes(), nothing_due().results.path.glob("split-*.csv.gz")
    before = path.read_bytes()
    relabel(tiny_npz)
    nothing_due()
    assert path.read_bytes() != before
    tiny_npz.write_bytes(original)
    nothing_due()
    assert path.read_bytes() == before
