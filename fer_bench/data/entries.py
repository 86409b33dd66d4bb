"""Reading what a cache entry holds, which a full disk or a crash may have damaged."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fer_bench.errors import FerBenchError


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """For a `with` that reads the entry `folder`. Raises FerBenchError, saying what to delete, where it is damaged."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # whatever NumPy, zipfile and json say of a damaged file
        why = " ".join(str(error).split())
        raise FerBenchError(f"{folder}: damaged cache entry ({why}); delete that folder and start again") from error
