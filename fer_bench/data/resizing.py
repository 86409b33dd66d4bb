"""Images at another size: one rule for whatever looks at them."""

import cv2
import numpy as np


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`image`, uint8 (h, w) or (h, w, 3), at `size` (height, width): by area where both sides shrink, else linearly.

    Enlarging by area would repeat pixels.
    """
    if image.shape[:2] == size:
        return image
    shrinks = image.shape[0] > size[0] and image.shape[1] > size[1]
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def gray_square(image: np.ndarray, side: int) -> np.ndarray:
    """`image`, uint8 (h, w) or RGB (h, w, 3), as gray uint8 (side, side)."""
    return resized(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image, (side, side))


def gray_squares(images: np.ndarray, side: int) -> np.ndarray:
    """`images`, uint8 (n, h, w) or RGB (n, h, w, 3), as gray uint8 (n, side, side)."""
    if images.shape[1:] == (side, side):
        return images
    squares = np.empty((len(images), side, side), np.uint8)
    for row, image in enumerate(images):
        squares[row] = gray_square(image, side)
    return squares
