"""Pictures and videos with boxes and bars drawn on them, and the time line of a video as a plot."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image, ImageDraw

from fer_bench.cache import replacing
from fer_bench.errors import FerBenchError

if TYPE_CHECKING:
    from fer_bench.deploy.predicting import Face

FRAME, BAR, BACK = (255, 176, 0), (255, 176, 0, 170), (0, 0, 0, 150)
SHOWN = 3
"""Classes that are named of each face."""
CODEC = "mp4v"


class Annotations:
    """Writes what was predicted onto copies of pictures and videos in `folder`, which is made.

    Raises FerBenchError where it cannot be written, or OpenCV cannot write videos.
    """

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self.folder, self.classes = folder, classes
        self._used: set[str] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FerBenchError(f"--annotate {folder}: cannot be made ({error.strerror or error})") from error
        if not os.access(folder, os.W_OK):
            raise FerBenchError(f"--annotate {folder}: cannot be written to")

    def keep(self, sources: Collection[Path]) -> None:
        """Raise FerBenchError where one of `sources` lies in the folder: a copy might take its place."""
        own = self.folder.resolve()
        if held := next((path for path in sources if path.resolve().parent == own), None):
            raise FerBenchError(
                f"--annotate {self.folder}: {held.name}, which is to be looked at, lies there; give another folder"
            )

    def photograph(self, source: Path, image: np.ndarray, faces: Sequence[Face]) -> None:
        """Write `image`, RGB (h, w, 3), with its faces, as a JPEG."""
        with replacing(self._path(source, ".jpg")) as file:
            Image.fromarray(drawn(image, faces, self.classes)).save(file, "JPEG", quality=90)

    @contextmanager
    def video(self, source: Path, rate: float) -> Iterator[Callable[[np.ndarray, Sequence[Face]], None]]:
        """Appends frames, RGB (h, w, 3), with their faces to the video of `source`, which is there once all are."""
        video: cv2.VideoWriter | None = None

        def append(image: np.ndarray, faces: Sequence[Face]) -> None:
            nonlocal video
            if video is None:
                work = stack.enter_context(replacing(self._path(source, ".mp4")))
                video = cv2.VideoWriter(str(work), cv2.VideoWriter.fourcc(*CODEC), rate, image.shape[1::-1])
                stack.callback(video.release)
                if not video.isOpened():
                    raise FerBenchError(f"{source}: this OpenCV cannot write {CODEC} videos; leave --annotate out")
            video.write(np.ascontiguousarray(drawn(image, faces, self.classes)[..., ::-1]))

        with ExitStack() as stack:
            yield append

    def _path(self, source: Path, suffix: str) -> Path:
        """A name of its own for each source, whatever its folder, and none that pictures and videos usually have."""
        name, n = f"{source.stem}.annotated{suffix}", 1
        while name.lower() in self._used:
            n += 1
            name = f"{source.stem}-{n}.annotated{suffix}"
        self._used.add(name.lower())
        return self.folder / name


def drawn(image: np.ndarray, faces: Sequence[Face], classes: Sequence[str]) -> np.ndarray:
    """`image`, RGB (h, w, 3), with a box around each face, and bars of its most probable classes."""
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas, "RGBA")
    unit = max(9, min(image.shape[:2]) // 36)
    for face in faces:
        left, top, width, height = face.box or (0, 0, image.shape[1], image.shape[0])
        if face.box:
            draw.rectangle((left, top, left + width, top + height), outline=FRAME, width=max(1, unit // 6))
        _bars(draw, unit, (left, top + height), face.probabilities, classes, image.shape)
    return np.asarray(canvas)


def _bars(
    draw: ImageDraw.ImageDraw, unit: int, corner: tuple[int, int], probabilities: np.ndarray, classes: Sequence[str],
    shape: tuple[int, ...],
) -> None:  # fmt: skip
    """Under the box, or inside its lower edge where the image ends."""
    from fer_bench.report.sheets import write_line

    best = most_probable(probabilities)
    wide, high = 11 * unit, int(1.4 * unit)
    left = max(0, min(corner[0], shape[1] - wide))
    top = max(0, min(corner[1], shape[0] - high * len(best)))
    for at, which in enumerate(best):
        above = top + at * high
        draw.rectangle((left, above, left + wide, above + high), fill=BACK)
        draw.rectangle((left, above, left + round(wide * float(probabilities[which])), above + high), fill=BAR)
        write_line(draw, (left + unit // 4, above), f"{probabilities[which]:.0%} {classes[which]}", unit, "white")


def most_probable(probabilities: np.ndarray) -> list[int]:
    """The SHOWN most probable classes of `probabilities`, float (k,), by number."""
    return np.argsort(-probabilities, kind="stable")[:SHOWN].tolist()


def write_timeline(path: Path, faces: Sequence[Face], classes: Sequence[str]) -> None:
    """Plot a video's probabilities over its seconds: an area of shares for each face, at most the four longest seen."""
    from matplotlib.figure import Figure

    from fer_bench.report.figures import drawable, figure_style

    numbers = sorted(number for number, _ in Counter(face.number for face in faces).most_common(4))
    with figure_style(), replacing(path) as file:
        figure = Figure(figsize=(9, 1 + 1.8 * len(numbers)), layout="constrained")
        panels = figure.subplots(len(numbers), 1, sharex=True, squeeze=False)[:, 0]
        for panel, number in zip(panels, numbers, strict=True):
            own = [face for face in faces if face.number == number]
            shares = np.stack([face.probabilities for face in own]).T
            panel.stackplot([face.seconds for face in own], shares, labels=[drawable(name) for name in classes])
            panel.set(ylim=(0, 1), ylabel=f"face {number}")
        panels[-1].set_xlabel("seconds")
        panels[0].legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
        figure.savefig(file, format="png", dpi=110)
