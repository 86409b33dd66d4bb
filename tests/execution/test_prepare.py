"""Before a plan: the split beside the results is the one that runs are scored on."""

from types import SimpleNamespace

import numpy as np
import pytest

from fer_bench.errors import FerBenchError
from fer_bench.execution.prepare import missing_files, prepare, store_split
from fer_bench.execution.runner import Options, run_plan


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


def test_files_that_went_missing_are_written_again_though_nothing_is_due(tiny_npz, tmp_path):
    prepared = prepare(str(tiny_npz), tmp_path / "results")
    assert len(missing_files(prepared)) == 3
    for _ in range(2):
        assert run_plan([], prepared, Options(), watcher=SimpleNamespace(waiting=lambda what: None)).failed == []
        assert missing_files(prepared) == []
        for name in ("split-*", "audit.json", "images-*"):
            (path,) = prepared.results.path.glob(name)
            path.unlink()
