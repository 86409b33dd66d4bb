"""Packed files that unpack to more than anything in earnest are refused before they fill the memory."""

import gzip
import zlib

import numpy as np
import pytest

from fer_bench.archives import UNSUSPICIOUS, gunzip, is_bomb, refuse_bomb


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


def test_an_npz_bomb_is_refused(tmp_path):
    np.savez_compressed(path := tmp_path / "a.npz", zeros=np.zeros(UNSUSPICIOUS, dtype=np.int16))
    with pytest.raises(ValueError, match="that unpack to"):
        refuse_bomb(path)
    np.savez_compressed(path, zeros=np.zeros(1000))
    refuse_bomb(path)
