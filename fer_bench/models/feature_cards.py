"""The built-in features: light cards, whose builders import what computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fer_bench.models.registry import register_features

if TYPE_CHECKING:
    from fer_bench.models.extractors import Extractor

SIDE = 48


@register_features("images", summary="the images themselves, for networks")
def images() -> Extractor:
    """See `Images`."""
    from fer_bench.models.extractors import Images

    return Images()


@register_features("pixels", summary="gray pixels, 48 x 48", side=SIDE)
def pixels(side: int) -> Extractor:
    """See `Pixels`."""
    from fer_bench.models.extractors import Pixels

    return Pixels(side)


@register_features(
    "pca", summary="150 whitened principal components of the pixels", side=SIDE, n_components=150, mirror=True
)
def pca(side: int, n_components: int) -> Extractor:
    """See `PrincipalComponents`."""
    from fer_bench.models.extractors import PrincipalComponents

    return PrincipalComponents(side, n_components)


@register_features(
    "hog", summary="oriented gradients: 9 bins, 6x6 cells, 2x2 blocks",
    side=SIDE, orientations=9, cell=6, block=2, mirror=True,
)  # fmt: skip
def hog(side: int, orientations: int, cell: int, block: int) -> Extractor:
    """See `OrientedGradients`."""
    from fer_bench.models.extractors import OrientedGradients

    return OrientedGradients(side, orientations, cell, block)


@register_features(
    "hog-lbp", summary="HOG in cells of 6, 8 and 12 pixels and uniform LBP in cells of 8, 300 principal axes",
    side=SIDE, n_components=300, mirror=True,
)  # fmt: skip
def hog_lbp(side: int, n_components: int) -> Extractor:
    """See `OrientedGradients`, `BinaryPatterns` and `Together`."""
    from fer_bench.models.extractors import OrientedGradients
    from fer_bench.models.textures import BinaryPatterns, Together

    gradients = [OrientedGradients(side, orientations=9, cell=cell, block=2) for cell in (6, 8, 12)]
    return Together([*gradients, BinaryPatterns(side, cell=8)], n_components)


@register_features(
    "bovw", summary="dense SIFT in 32 words, in 3x3 parts of the face, 400 principal axes",
    side=SIDE, words=32, grid=3, n_components=400, mirror=True,
)  # fmt: skip
def bovw(side: int, words: int, grid: int, n_components: int) -> Extractor:
    """See `VisualWords` and `Together`."""
    from fer_bench.models.textures import Together, VisualWords

    return Together([VisualWords(side, words, grid)], n_components)
