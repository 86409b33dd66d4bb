"""Which seeds there are, in a module that imports nothing heavy."""

from collections.abc import Iterable
from operator import index
from typing import Any

from fer_bench.errors import FerBenchError

MOST_SEED = 2**32 - 2  # NumPy takes one more, and a search counts from its seed


def checked_seeds(seeds: Iterable[Any], option: str = "--seeds") -> tuple[int, ...]:
    """`seeds`, each once. Raises FerBenchError where there are none, or one is no whole number of 0 to `MOST_SEED`.

    option: where they were given.
    """
    given: list[Any] = [seeds] if isinstance(seeds, int | str) else list(seeds)
    try:
        whole = tuple(dict.fromkeys(index(seed) for seed in given))
    except TypeError:
        whole = ()
    if not whole or min(whole) < 0 or max(whole) > MOST_SEED:
        said = ", ".join(map(repr, given)) or "none"
        raise FerBenchError(f"{option} {said}: seeds are whole numbers, not negative, and at most {MOST_SEED}")
    return whole
