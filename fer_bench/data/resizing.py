"""Images at another size: one rule for whatever looks at them."""

import numpy as np


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`image`, uint8 (h, w) or (h, w, 3), at `size` (height, width): by area where both sides shrink, else linearly.

    Enlarging by area would repeat pixels.
    """
    if image.shape[:2] == size:
        return image
    import cv2  # here and below, because what is stored already is read without it

    shrinks = image.shape[0] > size[0] and image.shape[1] > size[1]
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def gray_square(image: np.ndarray, side: int) -> np.ndarray:
    """`image`, uint8 (h, w) or RGB (h, w, 3), as gray uint8 (side, side)."""
    import cv2

    return resized(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image, (side, side))


def gray_squares(images: np.ndarray, side: int, rows: np.ndarray | None = None) -> np.ndarray:
    """`images`, uint8 (n, h, w) or RGB (n, h, w, 3), as gray uint8 (n, side, side); given `rows`, those alone.

    Images are read one by one: memory-mapped ones are never copied together.
    """
    if images.shape[1:] == (side, side):
        return images if rows is None else images[rows]
    rows = np.arange(len(images)) if rows is None else rows
    squares = np.empty((len(rows), side, side), np.uint8)
    for at, row in enumerate(rows):
        squares[at] = gray_square(images[row], side)
    return squares
