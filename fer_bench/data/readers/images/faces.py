"""Where the face is on a photograph: OpenCV's cascade of Haar features (Viola and Jones 2001)."""

import threading
from pathlib import Path

import cv2
import numpy as np

from fer_bench.data.resizing import shrunk

CASCADE = "haarcascade_frontalface_default.xml"
DETECTED_AT = 400
"""Pixels of the longer side at which faces are looked for: larger only takes longer."""
LEAST_SHARE = 0.08
"""Of the longer side: smaller faces are not looked for."""
SURE = 0.5
"""Of the surest face's weight: what has less is seldom a face."""
LEAST_SIDE = 100
"""Pixels. Smaller images are faces already, or too coarse to find one in."""
FILLING = 0.4
"""Share of the shorter side that a face in a cut image has at least."""
LONGISH = 1.15
"""Longer to shorter side, from which an image is no cut face."""
LOOKED_AT = 48
_of_thread = threading.local()


def largest_face(image: np.ndarray) -> tuple[int, int, int, int] | None:
    """Left, top, right and bottom of the largest face of `image`, BGR uint8 (h, w, 3), in pixels; None without one."""
    little = shrunk(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), DETECTED_AT)
    boxes = sure_boxes(_cascade(), little, 5, round(LEAST_SHARE * max(little.shape)), SURE)
    if not boxes:
        return None
    left, top, width, height = max(boxes, key=lambda box: box[2] * box[3])
    scale = max(image.shape[:2]) / max(little.shape)
    return tuple(round(value * scale) for value in (left, top, left + width, top + height))


def sure_boxes(
    cascade: cv2.CascadeClassifier, gray: np.ndarray, neighbours: int, least: int, sure: float
) -> list[list[int]]:
    """Left, top, width and height of what `cascade` finds in `gray`, uint8 (h, w), of `least` pixels and more.

    sure: share of the surest one's weight that each has at least.
    """
    boxes, _, weights = cascade.detectMultiScale3(
        gray, 1.1, neighbours, minSize=(least, least), outputRejectLevels=True
    )
    return np.asarray(boxes)[np.ravel(weights) >= sure * np.max(weights)].tolist() if len(boxes) else []


def is_whole_photograph(image: np.ndarray) -> bool:
    """Whether no face fills the middle of `image`, BGR uint8 (h, w, 3).

    In what is nearly square and has no face to be found, one may be cut too tightly for the cascade.
    """
    face = largest_face(image)
    height, width = image.shape[:2]
    if face is None:
        return max(height, width) > LONGISH * min(height, width)
    left, top, right, bottom = face
    in_the_middle = left <= width / 2 <= right and top <= height / 2 <= bottom
    return not in_the_middle or right - left < FILLING * min(height, width)


def _cascade() -> cv2.CascadeClassifier:
    """One for each thread, as it keeps what it works on."""
    if not hasattr(_of_thread, "cascade"):
        _of_thread.cascade = cv2.CascadeClassifier(str(Path(cv2.__file__).parent / "data" / CASCADE))
    return _of_thread.cascade
