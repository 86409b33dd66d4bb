"""A cache of its own for every test, and tiny sources in all forms."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

USAGES = ("Training", "PublicTest", "PrivateTest")


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache, empty; nothing of this machine's FER2013 is seen."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("FER_BENCH_CACHE", str(folder))
    monkeypatch.delenv("FER_BENCH_DATA", raising=False)
    return folder


@pytest.fixture
def csv_lines() -> list[str]:
    """A small fer2013.csv: three rows of each Usage, labels 0, 1, 2, four pixels that differ."""
    pixels = [" ".join(str((37 * row + pixel) % 256) for pixel in range(4)) for row in range(9)]
    return ["emotion,pixels,Usage", *(f"{row % 3},{pixels[row]},{USAGES[row // 3]}" for row in range(9))]


@pytest.fixture
def write_csv(tmp_path: Path) -> Callable[..., Path]:
    """write_csv(lines, name="faces.csv") -> path."""

    def write(lines: list[str], name: str = "faces.csv") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


@pytest.fixture
def write_images(tmp_path: Path) -> Callable[..., Path]:
    """write_images({"happy/a.png": (height, width[, 3])}, root="faces") -> root, with noise of these shapes in it."""

    def write(shapes: dict[str, tuple[int, ...]], root: str = "faces") -> Path:
        rng = np.random.default_rng(0)
        for path, shape in shapes.items():
            target = tmp_path / root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(target), rng.integers(0, 256, shape, dtype=np.uint8))
        return tmp_path / root

    return write
