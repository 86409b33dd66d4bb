"""Gzipped files beside the runs, written where their content is new."""

import gzip
import zlib
from pathlib import Path

from fer_bench.archives import gunzip
from fer_bench.cache import write_atomic


def write_packed(path: Path, content: bytes) -> None:
    """Write `content`, gzipped, to `path`, unless that is what is there unpacked: versions of zlib pack differently."""
    try:
        if gunzip(path) == content:
            return
    except (OSError, EOFError, ValueError, zlib.error):  # missing or damaged
        pass
    write_atomic(path, gzip.compress(content, mtime=0))
