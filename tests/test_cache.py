"""The cache: an entry is built once, whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from fer_bench import cache


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv(cache.ENVIRONMENT_VARIABLE, str(tmp_path))


def test_an_entry_is_built_once_and_anew_where_a_file_is_missing():
    built = []

    def build(folder):
        built.append(folder)
        (folder / "array.npy").write_bytes(b"x")

    for _ in range(2):
        entry = cache.fetch("things", "key", build, files=["array.npy"])
    assert len(built) == 1 and (entry / "array.npy").exists()
    (entry / "array.npy").unlink()
    assert cache.fetch("things", "key", build, files=["array.npy"]) == entry
    assert len(built) == 2 and (entry / "array.npy").exists()


def test_a_build_that_fails_leaves_nothing():
    def build(folder):
        (folder / "part").write_bytes(b"x")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        cache.fetch("things", "key", build)
    assert [path.name for path in cache.entry_path("things", "key").parent.iterdir()] == ["key.lock"]


def two_files(folder: Path) -> None:
    for name in ("a.npy", "b.npy"):
        (folder / name).write_bytes(b"x")


def test_files_reach_the_disk_before_the_entry_has_its_name(file_calls):
    for _ in range(2):
        entry = cache.fetch("things", "key", two_files, files=["a.npy"])
        (entry / "a.npy").unlink()
    first, again = file_calls[:3], file_calls[3:]
    assert sorted(first[:2]) == sorted(again[:2]) == ["sync a.npy", "sync b.npy"]
    assert first[2:] == ["rename .key.new to key"]
    assert again[2:] == ["rename key to .key.old", "rename .key.new to key"]


def test_a_file_reaches_the_disk_before_it_replaces_another(file_calls, tmp_path):
    (tmp_path / "file").write_text("old")
    cache.write_atomic(tmp_path / "file", "new")
    synced, renamed = file_calls
    work = synced.removeprefix("sync ")
    assert renamed == f"rename {work} to file" and work.startswith(".file.")
    assert [path.name for path in tmp_path.iterdir()] == ["file"] and (tmp_path / "file").read_text() == "new"


@pytest.mark.parametrize("step", ["write_bytes", "replace", "fsync"])
def test_a_file_that_cannot_be_replaced_stays_and_nothing_is_left_behind(tmp_path, monkeypatch, step):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "file").write_text("old")
    monkeypatch.setattr(os if step == "fsync" else Path, step, full)
    with pytest.raises(OSError, match="No space left"):
        cache.write_atomic(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"] and (tmp_path / "file").read_text() == "old"


def test_what_a_killed_build_left_is_removed_and_that_of_others_is_not():
    parent = cache.entry_path("things", "key").parent
    for name in (".key.new", ".key.old", ".other.new"):
        (parent / name).mkdir(parents=True)
    cache.fetch("things", "key", lambda folder: None)
    assert sorted(path.name for path in parent.iterdir()) == [".other.new", "key", "key.lock"]
