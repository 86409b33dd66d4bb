"""Whether held-out images look like training images: sharp, bright and contrasting alike.

Where they do not, scores are of other images than were learned from, and copies across subsets may go unseen.
"""

from __future__ import annotations

import numpy as np

from fer_bench.data.resizing import gray_square
from fer_bench.data.splits.split import Split

SIDE = 48
LOOKED_AT = 2000
"""Images of a subset, at most."""
MEASURES = ("sharpness", "brightness", "contrast")


def measures(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """float64 (n, 3), of gray 48 x 48 pixels: deviation of the Laplacian over that of the image, mean, deviation."""
    import cv2

    values = np.empty((len(rows), len(MEASURES)))
    for at, row in enumerate(rows):
        square = gray_square(images[row], SIDE).astype(np.float32)
        spread = float(square.std())
        values[at] = cv2.Laplacian(square, cv2.CV_32F).std() / max(spread, 1.0), square.mean(), spread
    return values


def differences(images: np.ndarray, split: Split) -> dict[str, dict[str, float]]:
    """By held-out subset and measure: how often one of its images has more of it than one of train, 0 to 1.

    The area under the ROC curve, or U / nm of Mann and Whitney (1947); 0.5 where they are alike.
    """
    from scipy.stats import mannwhitneyu

    rows = {name: every[:: -(-len(every) // LOOKED_AT)] for name, every in split.subsets().items()}
    found = {name: measures(images, some) for name, some in rows.items()}
    train = found.pop("train")
    return {
        name: {
            measure: float(mannwhitneyu(own[:, at], train[:, at]).statistic / (len(own) * len(train)))
            for at, measure in enumerate(MEASURES)
        }
        for name, own in found.items()
    }
