"""The cache: an entry is built once, whole or not at all."""

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


def test_what_a_killed_build_left_is_removed_and_that_of_others_is_not():
    parent = cache.entry_path("things", "key").parent
    for name in (".key.new", ".key.old", ".other.new"):
        (parent / name).mkdir(parents=True)
    cache.fetch("things", "key", lambda folder: None)
    assert sorted(path.name for path in parent.iterdir()) == [".other.new", "key", "key.lock"]
