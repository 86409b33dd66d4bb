"""Faces in photographs: found, framed as the model's training images are, and made square."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from fer_bench.data import fitted, resized, sure_boxes
from fer_bench.data.resizing import shrunk
from fer_bench.errors import FerBenchError

CASCADE = Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_alt2.xml"
"""Of 100 FER2013 faces on noise it finds 78, with 3 boxes that are none; the default cascade 72, with 8."""
NEIGHBOURS = 3
DETECTED_AT = 800
"""Pixels of the longer side at which faces are looked for: more find smaller faces, and take longer."""
LEAST_SIDE = 24
"""Pixels of that size: smaller faces are not looked for."""
SURE = 0.3
"""Of the surest face's weight: what has less is seldom a face."""
REACH = 3
"""Pixels beside a square that are looked at where it is cut."""
OVERLAP = 0.4
"""Share of the smaller of two boxes that lies in the other, from which both are one face."""


class Box(NamedTuple):
    """Of a face in an image, in pixels; it may reach beyond the image's edge."""

    left: int
    top: int
    width: int
    height: int


class Detector:
    """Finds faces: OpenCV's cascade of Haar features (Viola and Jones 2001), or the detector in a file.

    path: another cascade (.xml), or a YuNet network (.onnx). Raises FerBenchError where the file is neither.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or CASCADE
        self._of_thread = threading.local()
        if not self.path.is_file():
            raise FerBenchError(f"--detector {self.path}: no such file")
        self._own()

    def find(self, image: np.ndarray) -> list[Box]:
        """The faces in `image`, uint8 (h, w) or RGB (h, w, 3), largest first."""
        little = shrunk(image, DETECTED_AT)
        found = self._by_network(little) if self.path.suffix.lower() == ".onnx" else self._by_cascade(little)
        back = max(image.shape[:2]) / max(little.shape[:2])
        boxes = [Box(*(round(value * back) for value in box)) for box in found]
        return _distinct(sorted(boxes, key=lambda box: -box.width * box.height))

    def _by_cascade(self, image: np.ndarray) -> list[list[int]]:
        gray = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        least = max(LEAST_SIDE, round(0.02 * max(gray.shape)))
        return sure_boxes(self._own(), gray, NEIGHBOURS, least, SURE)

    def _by_network(self, image: np.ndarray) -> list[list[float]]:
        colour = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR if image.ndim == 2 else cv2.COLOR_RGB2BGR)
        network = self._own()
        network.setInputSize(colour.shape[1::-1])
        _, faces = network.detect(colour)
        return [] if faces is None else faces[:, :4].tolist()

    def _own(self) -> Any:
        """One for each thread, as it keeps what it works on."""
        if not hasattr(self._of_thread, "detector"):
            self._of_thread.detector = _load(self.path)
        return self._of_thread.detector


def _load(path: Path) -> Any:
    """A `cv2.CascadeClassifier` or `cv2.FaceDetectorYN`."""
    try:
        if path.suffix.lower() == ".onnx":
            return cv2.FaceDetectorYN.create(str(path), "", (320, 320))
        cascade = cv2.CascadeClassifier(str(path))
        if not cascade.empty():
            return cascade
    except (cv2.error, SystemError):
        pass
    raise FerBenchError(f"--detector {path}: neither a cascade (.xml) nor a YuNet network (.onnx) that OpenCV can load")


def _distinct(boxes: Iterable[Box]) -> list[Box]:
    """`boxes`, largest first, without those that lie in a larger one: a mouth in a face is no face."""
    kept: list[Box] = []
    for box in boxes:
        if not any(_shared(box, other) > OVERLAP * box.width * box.height for other in kept):
            kept.append(box)
    return kept


def _shared(one: Box, other: Box) -> int:
    across = min(one.left + one.width, other.left + other.width) - max(one.left, other.left)
    down = min(one.top + one.height, other.top + other.height) - max(one.top, other.top)
    return max(across, 0) * max(down, 0)


def overlap(one: Box, other: Box) -> float:
    """What two boxes have in common, as a share of both together: 0 to 1."""
    shared = _shared(one, other)
    return shared / (one.width * one.height + other.width * other.height - shared)


def framed(image: np.ndarray, box: Box, framing: Mapping[str, float], side: int) -> np.ndarray:
    """What is shown of the face in `box` of `image`, uint8 (h, w[, 3]), in a square, uint8 (side, side[, 3]).

    framing: scale, the side of that square in box sides; down, by how many its middle is below the box's. It is
    cut between pixels: whole ones would move small faces. Beyond the image its edge pixels are repeated.
    """
    wide = max(1.0, framing["scale"] * max(box.width, box.height))
    corner = np.array((box.left + box.width / 2, box.top + box.height * (0.5 + framing["down"]))) - wide / 2
    first = np.clip(corner.astype(int) - REACH, 0, np.array(image.shape[1::-1]) - 1)  # OpenCV warps no huge images
    last = np.ceil(corner + wide).astype(int) + REACH
    part = np.ascontiguousarray(image[first[1] : max(last[1], first[1] + 1), first[0] : max(last[0], first[0] + 1)])
    fine = max(1, round(wide / side))  # samples of each pixel's row and column, of which it is the mean
    step = wide / (side * fine)
    to_part = np.column_stack((step * np.eye(2), corner - first + (step - 1) / 2))
    how = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    samples = cv2.warpAffine(part, to_part, (side * fine, side * fine), flags=how, borderMode=cv2.BORDER_REPLICATE)
    return resized(samples, (side, side))


def square(image: np.ndarray, side: int, channels: int) -> np.ndarray:
    """`image`, uint8 (h, w) or RGB (h, w, 3), as (side, side) or RGB (side, side, 3), padded by its edge pixels."""
    if image.ndim == 3 and channels == 1:
        image = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    elif image.ndim == 2 and channels == 3:
        image = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_GRAY2RGB)
    return fitted(image, side)


def usual_framing(images: np.ndarray) -> dict[str, float]:
    """How faces are framed in `images`, uint8 (n, side, side[, 3]), that models learn from: see `framed`.

    The median over those of a hundred in which the detector finds one; its own box where it finds fewer than ten. Small
    images are enlarged for it, and bordered, as a face that fills its image has no rim to be found by.
    """
    detector, side, border = Detector(), images.shape[1], images.shape[1] // 2
    zoom = max(1.0, 192 / (2 * side))
    found = []
    for image in images[:: max(1, len(images) // 100)]:
        bordered = cv2.copyMakeBorder(np.asarray(image), border, border, border, border, cv2.BORDER_REPLICATE)
        boxes = detector.find(resized(bordered, (round(len(bordered) * zoom),) * 2))
        if boxes:
            _, top, width, height = (value / zoom for value in boxes[0])
            found.append((side / width, (border + side / 2 - top - height / 2) / height))
    if len(found) < 10:
        return {"scale": 1.0, "down": 0.0}
    scale, down = np.median(found, axis=0)
    return {"scale": round(float(scale), 3), "down": round(float(down), 3)}
