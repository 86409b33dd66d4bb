"""Gzipped files beside the runs, written where their content is new."""

import gzip
import zlib
from pathlib import Path

from fer_bench.archives import gunzip
from fer_bench.cache import write_atomic


def write_packed(path: Path, packed: bytes) -> None:
    """Write gzipped `packed` to `path`, unless what is there unpacks to the same: versions of zlib pack differently."""
    try:
        if gunzip(path) == gzip.decompress(packed):
            return
    except (OSError, EOFError, ValueError, zlib.error):  # missing or damaged
        pass
    write_atomic(path, packed)
