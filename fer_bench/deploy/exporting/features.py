"""What the extractors of the suite make of images, as graphs: each by its kind, several together part by part."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from skimage.feature import local_binary_pattern

from fer_bench.deploy.exporting.graph import Graph, gray, resized
from fer_bench.models import (
    HOG_EPSILON,
    HOG_MOST,
    PATTERNS,
    SIFT_CELLS,
    SIFT_FLOOR,
    SIFT_GRIDS,
    SIFT_MOST,
    BinaryPatterns,
    DenseSift,
    Images,
    OrientedGradients,
    Pixels,
    PrincipalComponents,
    Together,
    VisualWords,
    gradient_tables,
)

NEIGHBOURS = 8


def features(graph: Graph, images: str, extractor: Any) -> str:
    """What a fitted `extractor` makes of float `images` of whole values (n, side, side[, 3]): its rows (n, ...)."""
    if type(extractor) is Images:
        return graph.cast(images, onnx.TensorProto.UINT8)
    if type(extractor) is Together:
        parts = [
            graph.add("Mul", features(graph, images, part), graph.constant(scale))
            for part, scale in zip(extractor.parts, extractor.scales, strict=True)
        ]
        return _on_axes(graph, graph.add("Concat", *parts, axis=1), extractor.axes.mean_, extractor.axes.components_)
    return _BY_KIND[type(extractor)](graph, resized(graph, gray(graph, images), extractor.side), extractor)


def has_graph(extractor: Any) -> bool:
    """Whether `features` knows it. It need not be fitted."""
    if type(extractor) is Together:
        return all(map(has_graph, extractor.parts))
    return type(extractor) is Images or type(extractor) in _BY_KIND


def _pixels(graph: Graph, pixels: str, extractor: Pixels) -> str:
    return graph.add("Div", graph.reshaped(pixels, 0, -1), graph.constant(255))


def _principal_components(graph: Graph, pixels: str, extractor: PrincipalComponents) -> str:
    pca, kept = extractor.pca, extractor.kept
    axes = pca.components_[kept] / np.sqrt(pca.explained_variance_[kept])[:, None]
    return _on_axes(graph, _pixels(graph, pixels, extractor), pca.mean_, axes)


def _on_axes(graph: Graph, values: str, mean: np.ndarray, axes: np.ndarray) -> str:
    """Coordinates of `values` (..., d) less their `mean` on `axes`, float (k, d)."""
    return graph.add("MatMul", graph.add("Sub", values, graph.constant(mean)), graph.constant(axes.T))


def _oriented_gradients(graph: Graph, pixels: str, extractor: OrientedGradients) -> str:
    """scikit-image's `hog`. Gradients of whole pixels are whole numbers: bin and length of each are in a table."""
    at, (bins, lengths) = _gradients(graph, pixels, extractor.side), gradient_tables(extractor.orientations)
    which, length = (graph.add("Gather", one, at) for one in (graph.constant(bins, np.int32), graph.constant(lengths)))
    totals = _in_cells(graph, which, length, extractor.side, extractor.cell, extractor.orientations)
    histograms = graph.add("Div", totals, graph.constant(extractor.cell**2))
    n = extractor.side // extractor.cell - extractor.block + 1
    blocks = _blocks(graph, histograms, n, range(extractor.block))
    clipped = graph.add("Min", _normed(graph, blocks), graph.constant(HOG_MOST))
    return graph.reshaped(_normed(graph, clipped), 0, -1)


def _blocks(graph: Graph, cells: str, n: int, places: range) -> str:
    """At n x n cells those at `places` from there, down and right, side by side: (n_images, n, n, d)."""
    parts = [graph.part(graph.part(cells, 1, i, i + n), 2, j, j + n) for i in places for j in places]
    return graph.add("Concat", *parts, axis=3)


def _normed(graph: Graph, values: str) -> str:
    square = graph.add("ReduceSum", graph.add("Mul", values, values), graph.constant([3], np.int64), keepdims=1)
    return graph.add("Div", values, graph.add("Sqrt", graph.add("Add", square, graph.constant(HOG_EPSILON**2))))


def _in_cells(graph: Graph, which: str, weights: str, side: int, cell: int, n_bins: int) -> str:
    """In each cell the sum of `weights` by bin, int32 `which`, both (n, side, side): float32 (n, cells, cells, n_bins).

    Pixels beyond the last whole cell count nowhere.
    """
    cells = side // cell
    whole, at = cells * cell, np.arange(cells * cell) // cell
    which, weights = (graph.part(graph.part(one, 1, 0, whole), 2, 0, whole) for one in (which, weights))
    which = graph.add("Add", which, graph.constant(n_bins * (at[:, None] * cells + at), np.int32))
    which, weights = (graph.reshaped(one, 0, -1) for one in (which, weights))
    n_images = graph.add("Shape", which, end=1)
    shape = graph.add("Concat", n_images, graph.constant([cells**2 * n_bins], np.int64), axis=0)
    empty = graph.add("ConstantOfShape", shape)
    totals = graph.add("ScatterElements", empty, which, weights, axis=1, reduction="add")
    return graph.reshaped(totals, 0, cells, cells, n_bins)


def _gradients(graph: Graph, pixels: str, side: int) -> str:
    """Where tables of gradients have that of each pixel, int32 (n, side, side), see `gradient_tables`."""
    down, right = _difference(graph, pixels, 1, side), _difference(graph, pixels, 2, side)
    shifted = [graph.cast(graph.add("Add", one, graph.constant(255)), onnx.TensorProto.INT32) for one in (down, right)]
    return graph.add("Add", graph.add("Mul", shifted[0], graph.constant(511, np.int32)), shifted[1])


def _difference(graph: Graph, pixels: str, axis: int, side: int) -> str:
    """The pixel after less the one before along `axis`; 0 at the edges."""
    inner = graph.add("Sub", graph.part(pixels, axis, 2, side), graph.part(pixels, axis, 0, side - 2))
    pads = np.zeros(6, np.int64)
    pads[[axis, axis + 3]] = 1
    return graph.add("Pad", inner, graph.constant(pads, np.int64))


def _binary_patterns(graph: Graph, pixels: str, extractor: BinaryPatterns) -> str:
    """Square roots of the shares of `uniform_patterns` in cells."""
    patterns = uniform_patterns(graph, pixels, extractor.side)
    each = graph.constant(np.ones((1, extractor.side, extractor.side)))
    ones = graph.add("Expand", each, graph.add("Shape", patterns))
    counts = _in_cells(graph, patterns, ones, extractor.side, extractor.cell, PATTERNS)
    shares = graph.add("Div", counts, graph.constant(extractor.cell**2))
    return graph.reshaped(graph.add("Sqrt", shares), 0, -1)


def uniform_patterns(graph: Graph, pixels: str, side: int) -> str:
    """scikit-image's `local_binary_pattern(square, 8, 1, "nri_uniform")` of gray squares: int32 (n, side, side).

    Its own float64 operations one by one: in flat parts the last bit of an interpolated neighbour decides.
    """
    gray = graph.cast(pixels, onnx.TensorProto.DOUBLE)
    bordered = graph.add("Pad", gray, graph.constant([0, 1, 1, 0, 1, 1], np.int64))
    angles = 2 * np.pi * np.arange(NEIGHBOURS) / NEIGHBOURS
    places = zip(np.round(-np.sin(angles), 5), np.round(np.cos(angles), 5), strict=True)
    bits = []
    for number, (down, right) in enumerate(places):
        neighbour = _interpolated(graph, bordered, side, down, right)
        is_set = graph.cast(graph.add("GreaterOrEqual", neighbour, gray))
        bits.append(graph.add("Mul", is_set, graph.constant(1 << number)))
    code = graph.cast(graph.add("Sum", *bits), onnx.TensorProto.INT32)
    return graph.add("Gather", graph.constant(_numbers_of_patterns(), np.int32), code)


def _interpolated(graph: Graph, bordered: str, side: int, down: float, right: float) -> str:
    """What lies `down` and `right` of each pixel, bilinear; bordered: pixels in a frame of one."""
    rows = _shifted(graph, bordered, 1, side, down), _share(side, down)[:, None]
    corners = [_shifted(graph, one, 2, side, right) for one in rows[0]]
    across = [_between(graph, one, _share(side, right)) for one in corners]
    return _between(graph, across, rows[1])


def _shifted(graph: Graph, bordered: str, axis: int, side: int, by: float) -> list[str]:
    """What is at the whole pixels before and after `by` along `axis`; one alone where `by` is whole."""
    firsts = sorted({int(np.floor(by)), int(np.ceil(by))})
    return [graph.part(bordered, axis, 1 + first, 1 + first + side) for first in firsts]


def _share(side: int, by: float) -> np.ndarray:
    """How far each place is beyond its whole pixel, float64 (side,): it is rounded as the place is."""
    at = np.arange(side) + by
    return at - np.floor(at)


def _between(graph: Graph, ends: list[str], share: np.ndarray) -> str:
    if len(ends) == 1:
        return ends[0]
    before, after = (
        graph.add("Mul", graph.constant(one, np.float64), end)
        for one, end in zip((1 - share, share), ends, strict=True)
    )
    return graph.add("Add", before, after)


def _numbers_of_patterns() -> np.ndarray:
    """scikit-image's number of each of 256 patterns, of which noise has all."""
    noise, numbers = np.random.default_rng(0).integers(0, 256, (256, 256), np.uint8), np.empty(1 << NEIGHBOURS, int)
    codes = local_binary_pattern(noise, NEIGHBOURS, 1).astype(int)
    numbers[codes] = local_binary_pattern(noise, NEIGHBOURS, 1, "nri_uniform")
    return numbers


def _visual_words(graph: Graph, pixels: str, extractor: VisualWords) -> str:
    sift, words = extractor.sift, extractor.vocabulary
    table = graph.constant(sift.votes)
    votes = graph.add("Gather", table, _gradients(graph, pixels, sift.side))  # (n, side, side, orientations)
    found = graph.add("Concat", *(_sift_of_grid(graph, votes, sift, *grid) for grid in SIFT_GRIDS), axis=1)
    seen = _on_axes(graph, found, extractor.axes.mean_, extractor.axes.components_)
    products, lengths = graph.add("MatMul", seen, graph.constant(words.T)), (words**2).sum(axis=1)
    nearness = graph.add("Sub", products, graph.constant(lengths / 2))
    nearest = graph.add("ArgMax", nearness, axis=2, keepdims=1)
    is_word = graph.cast(graph.add("Equal", nearest, graph.constant(np.arange(len(words)), np.int64)))
    parts = []
    for part in range(extractor.grid**2):
        here = graph.constant(np.flatnonzero(extractor.part == part), np.int64)
        of_word = graph.add("Transpose", graph.add("Gather", is_word, here, axis=1), perm=[0, 2, 1])
        total = graph.add("MatMul", of_word, graph.add("Gather", seen, here, axis=1))
        count = graph.add("ReduceSum", of_word, graph.constant([2], np.int64), keepdims=1)
        differences = graph.add("Sub", total, graph.add("Mul", count, graph.constant(words)))
        parts.append(graph.reshaped(differences, 0, -1))
    vectors = graph.add("Concat", *parts, axis=1)
    roots = graph.add("Mul", graph.add("Sign", vectors), graph.add("Sqrt", graph.add("Abs", vectors)))
    return graph.add("Div", roots, graph.add("Add", _length(graph, roots, 1), graph.constant(1e-6)))


def _sift_of_grid(graph: Graph, votes: str, sift: DenseSift, cell: int, step: int) -> str:
    """See `DenseSift`: descriptors of one grid, (n, n_descriptors, 128)."""
    pooling, window = sift.pooling(cell, step), sift.window()
    side, every, n = sift.side, cell // step, len(pooling) - sift.reach(cell, step)
    rows = graph.add("MatMul", graph.constant(pooling), graph.reshaped(votes, 0, side, -1))
    rows = graph.reshaped(rows, 0, len(pooling), side, -1)
    cells = graph.add("MatMul", graph.constant(pooling), rows)
    weights = np.repeat(window.ravel(), sift.votes.shape[1])
    blocks = _blocks(graph, cells, n, range(0, SIFT_CELLS * every, every))
    found = graph.add("Mul", blocks, graph.constant(weights))
    found = graph.reshaped(found, 0, n * n, len(weights))
    found = graph.add("Div", found, graph.add("Add", _length(graph, found, 2), graph.constant(SIFT_FLOOR)))
    found = graph.add("Min", found, graph.constant(SIFT_MOST))
    total = graph.add("ReduceSum", found, graph.constant([2], np.int64), keepdims=1)
    return graph.add("Sqrt", graph.add("Div", found, graph.add("Add", total, graph.constant(1e-6))))


def _length(graph: Graph, values: str, axis: int) -> str:
    return graph.add("ReduceL2", values, graph.constant([axis], np.int64), keepdims=1)


_BY_KIND: dict[type, Any] = {
    Pixels: _pixels,
    PrincipalComponents: _principal_components,
    OrientedGradients: _oriented_gradients,
    BinaryPatterns: _binary_patterns,
    VisualWords: _visual_words,
}
