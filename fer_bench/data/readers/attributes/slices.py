"""Slices: columns that say of each image who or what is on it, by which scores are told apart."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from fer_bench.data.readers.decoded import Decoded, is_missing
from fer_bench.errors import FerBenchError

MOST = 12
"""Values of one slice: of more no table can be read."""
OTHER = "other"


def with_slices(decoded: Decoded, names: Sequence[str]) -> Decoded:
    """`decoded` with its columns `names` (upper or lower case) as slices: text as it is, many numbers as ranges.

    Raises FerBenchError for columns that are not there, and those that are empty or of too many values.
    """
    known = {name.strip().casefold(): name for name in decoded.columns}
    unknown = [name for name in names if name.casefold() not in known]
    if unknown:
        there = ", ".join(decoded.columns) or "none besides images and labels"
        raise FerBenchError(f"--slices {','.join(unknown)}: no such column in the data; there are {there}")
    taken = {known[name.casefold()]: None for name in names}
    slices = {name: levels(name, decoded.columns[name]) for name in taken}
    left = {name: values for name, values in decoded.columns.items() if name not in taken}
    return replace(decoded, slices={**decoded.slices, **slices}, columns=left)


def levels(name: str, values: np.ndarray) -> np.ndarray:
    """The slice of each image, str (n,), at most MOST different ones; "" where unknown.

    Numbers of more values are cut at their quartiles, over all images that have one. Of more texts the rarest are
    "other", unless that is most images. Raises FerBenchError naming the column then, and where nothing is known.
    """
    texts = np.array([_clean(str(value)) for value in values])
    is_known = texts != ""
    if not is_known.any():
        raise FerBenchError(f"--slices {name}: the column is empty")
    found, at, counts = np.unique(texts[is_known], return_inverse=True, return_counts=True)
    try:
        numbers = found.astype(np.float64)
    except ValueError:
        named = _frequent(name, found, counts)
    else:
        named = _ranges(numbers, numbers[at]) if len(found) > MOST else np.array([f"{one:.12g}" for one in numbers])
    cut = np.full(len(texts), "", dtype=named.dtype)
    cut[is_known] = named[at]
    return cut


def _clean(value: str) -> str:
    """On one line, composed, without spaces around it."""
    text = " ".join("".join(c if c.isprintable() else " " for c in unicodedata.normalize("NFC", value)).split())
    return "" if is_missing(text) else text


def _frequent(name: str, found: np.ndarray, counts: np.ndarray) -> np.ndarray:
    if len(found) <= MOST:
        return found
    kept = np.argsort(-counts, kind="stable")[: MOST - 1]
    if 2 * counts[kept].sum() < counts.sum():
        raise FerBenchError(
            f"--slices {name}: {len(found):,} different values, and {MOST} are the most that scores can be told apart "
            "by; give a column of fewer"
        )
    return np.where(np.isin(np.arange(len(found)), kept), found, OTHER)


def _ranges(numbers: np.ndarray, of_images: np.ndarray) -> np.ndarray:
    """The range that each of `numbers` is in, cut at the quartiles of those `of_images`: "< 25", "25-34", ">= 35"."""
    whole = bool((numbers == np.rint(numbers)).all())
    quartiles = np.quantile(of_images, [0.25, 0.5, 0.75])
    edges = np.ceil(quartiles) if whole else np.array([float(f"{edge:.3g}") for edge in quartiles])
    edges = np.unique(edges[(edges > numbers.min()) & (edges <= numbers.max())])
    inner = [_range(low, high, whole) for low, high in pairwise(edges)]
    names = [f"< {edges[0]:.12g}", *inner, f">= {edges[-1]:.12g}"] if len(edges) else ["all"]
    return np.array(names)[np.searchsorted(edges, numbers, side="right")]


def _range(low: float, high: float, whole: bool) -> str:
    if whole and low >= 0:
        return f"{low:.12g}" if high - low == 1 else f"{low:.12g}-{high - 1:.12g}"
    return f"{low:.12g} to {high - 1 if whole else high:.12g}"
