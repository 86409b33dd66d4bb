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


def shrunk(image: np.ndarray, side: int) -> np.ndarray:
    """`image`, uint8 (h, w) or (h, w, 3), with neither side longer than `side` pixels; its aspect stays."""
    longest = max(image.shape[:2])
    return image if longest <= side else resized(image, _within(image, side))


def fitted(image: np.ndarray, side: int) -> np.ndarray:
    """`image`, uint8 (h, w) or (h, w, 3), in a square of `side` pixels: aspect kept, its edge pixels fill the rest."""
    import cv2

    inner = resized(image, _within(image, side))
    below, right = side - inner.shape[0], side - inner.shape[1]
    if not below and not right:
        return inner
    return cv2.copyMakeBorder(
        inner, below // 2, below - below // 2, right // 2, right - right // 2, cv2.BORDER_REPLICATE
    )


def _within(image: np.ndarray, side: int) -> tuple[int, int]:
    height, width = image.shape[:2]
    scale = side / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


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
