"""What an image file of any format shows, as pixels."""

import io
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from fer_bench.data.readers.images.picture_types import why_unread

MOST_PIXELS = 1 << 26
"""Of one image. The largest cameras have fewer; what has more is a mistake, or made to fill the memory."""
PILLOW = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""Formats that Pillow is asked for where OpenCV gives up, such as CMYK in TIFF."""


def picture(content: bytes, name: str) -> np.ndarray:
    """RGB uint8 (h, w, 3) of an image file's `content`, turned upright by its EXIF tag.

    name: of the file, which tells raw files of cameras from others. Raises ValueError saying what is wrong.
    """
    return np.ascontiguousarray(_decode(np.frombuffer(content, np.uint8), name)[0][..., ::-1])


def pixels(path: Path) -> tuple[np.ndarray, tuple[int, int] | None]:
    """`_decode` of a file. Raises ValueError saying what is wrong."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError("not a file of data")  # a pipe would have us wait for ever
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise ValueError(f"cannot be opened ({error.strerror or error})") from error
    return _decode(data, path.name)


def _decode(data: np.ndarray, name: str) -> tuple[np.ndarray, tuple[int, int] | None]:
    """BGR uint8, turned upright by its EXIF tag, and a 16-bit image's range. Raises ValueError saying what is wrong."""
    if not data.size:
        raise ValueError("zero bytes")
    if unread := why_unread(data[:16].tobytes(), name):
        raise ValueError(f"{unread}, which is not read; save it as PNG or JPEG")
    _refuse_bomb(data)
    image = _decoded(data)
    if image.dtype == np.uint8:
        return image, None
    if image.dtype == np.uint16:
        return (image >> 8).astype(np.uint8), (int(image.min()), int(image.max()))
    low, high = float(image.min()), float(image.max())
    if not (low >= 0 and high <= 255):  # not finite ones too
        raise ValueError(f"{image.dtype} pixels from {low:g} to {high:g}; 0 to 1 or 0 to 255 are needed")
    return np.round(image * 255 if high <= 1 else image).astype(np.uint8), None


def _decoded(data: np.ndarray) -> np.ndarray:
    """BGR (h, w, 3) in the file's own depth; transparency is dropped. Raises ValueError."""
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
        if image is None and data[:2].tobytes() in (b"II", b"MM"):  # TIFF of one floating channel
            plane = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
            image = np.dstack([plane] * 3) if plane is not None and plane.ndim == 2 else None
    except cv2.error as error:
        raise ValueError(f"cannot be decoded ({error.err})") from error
    return _by_pillow(data) if image is None else image


def _by_pillow(data: np.ndarray) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data.data), formats=PILLOW) as picture:
            return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))[..., ::-1]
    except Exception as error:  # whatever Pillow says of a damaged file
        raise ValueError("cannot be decoded") from error


def _refuse_bomb(data: np.ndarray) -> None:
    """Raise ValueError where a file says that it has more pixels than a photograph: they would fill the memory."""
    try:
        width, height = Image.open(io.BytesIO(data.data)).size
        too_many = width * height > MOST_PIXELS
    except Image.DecompressionBombError:
        too_many = True
    except Exception:  # whatever Pillow says of what it does not know; OpenCV has a limit too, of 16 times as many
        return
    if too_many:
        raise ValueError(f"more than {MOST_PIXELS:,} pixels")


@contextmanager
def quiet() -> Iterator[None]:
    """OpenCV and Pillow report to standard error what is reported here, with the file's name, in one list."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        cv2.utils.logging.setLogLevel(level)
