"""Packed files that unpack to more than anything in earnest are refused before they fill the memory."""

import errno
import gzip
import zipfile
import zlib

import numpy as np
import pytest

from fer_bench.archives import UNSUSPICIOUS, gunzip, is_bomb, refuse_bomb, unzipped
from fer_bench.errors import FerBenchError


def test_bounds():
    assert not is_bomb(UNSUSPICIOUS, 1)
    assert is_bomb(UNSUSPICIOUS + 1, 1)
    assert not is_bomb(10 * UNSUSPICIOUS, UNSUSPICIOUS)


def test_a_gzip_bomb_is_refused_and_small_files_are_not(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"x" * 1000))
    assert gunzip(path) == b"x" * 1000
    path.write_bytes(gzip.compress(bytes(UNSUSPICIOUS + 1)))
    with pytest.raises(ValueError, match="unpack to more than"):
        gunzip(path)


PACKED = gzip.compress(b"abc", mtime=0)


@pytest.mark.parametrize("content", [b"", b"x", PACKED[:-5], PACKED[:11] + b"\xff" * 9])
def test_damage_is_an_error_that_readers_expect(tmp_path, content):
    path = tmp_path / "a.gz"
    path.write_bytes(content)
    if content:
        with pytest.raises((OSError, EOFError, ValueError, zlib.error)):
            gunzip(path)
    else:
        assert gunzip(path) == b""


@pytest.mark.parametrize("damage", ["bytes", "long name"])
@pytest.mark.parametrize("packing", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_a_zip_that_cannot_be_unpacked_is_named(tmp_path, packing, damage):
    path, content = tmp_path / "a.zip", np.random.default_rng(0).bytes(2000).hex()
    with zipfile.ZipFile(path, "w", packing) as archive:
        archive.writestr("a" * (300 if damage == "long name" else 1), content)
    if damage == "bytes":
        packed = path.read_bytes()
        path.write_bytes(packed[:50] + b"\xff" * 300 + packed[350:])
    with pytest.raises(FerBenchError, match=f"{path}: cannot be unpacked"), unzipped(path, tmp_path):
        pass


def test_a_full_disk_is_no_fault_of_the_zip(tmp_path, monkeypatch):
    def full(*given):
        raise OSError(errno.ENOSPC, "No space left on device")

    with zipfile.ZipFile(path := tmp_path / "a.zip", "w") as archive:
        archive.writestr("a", "b")
    monkeypatch.setattr(zipfile.ZipFile, "extract", full)
    with pytest.raises(OSError, match="No space"), unzipped(path, tmp_path):
        pass


def test_an_npz_bomb_is_refused(tmp_path):
    np.savez_compressed(path := tmp_path / "a.npz", zeros=np.zeros(UNSUSPICIOUS, dtype=np.int16))
    with pytest.raises(ValueError, match="that unpack to"):
        refuse_bomb(path)
    np.savez_compressed(path, zeros=np.zeros(1000))
    refuse_bomb(path)
