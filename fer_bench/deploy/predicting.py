"""Photographs, folders and videos in, a line per face out. What cannot be read is named, and the rest goes on."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from fer_bench.data import is_picture, is_video, picture, quiet
from fer_bench.deploy.annotating import Annotations
from fer_bench.deploy.bundle import Bundle
from fer_bench.deploy.faces import Box, overlap
from fer_bench.errors import FerBenchError, listing, readable
from fer_bench.progress import Progress, silent

CHUNK = 16
"""Images or frames that are looked at together: large ones are a hundred megabytes each."""
SAME_FACE = 0.3
"""Overlap of two boxes, as a share of both together, from which a face in the next frame is the same one."""
FORGOTTEN = 1.0
"""Seconds after which a face that is not seen any more is another when it comes back."""
CUT_SHORT = 0.98
"""Of the frames that a video says it has: with fewer, its end is missing."""


@dataclass(frozen=True)
class Face:
    """One face. source: the file. box: where in it, None for all of it. probabilities: float32 (k,).

    number: from 1; in photographs the largest first, in a video the same one in all frames. frame: from 0, and seconds,
    in a video, otherwise None.
    """

    source: str
    number: int
    box: Box | None
    probabilities: np.ndarray
    frame: int | None = None
    seconds: float | None = None


@dataclass
class Found:
    """What came of all files. problems: file and why. n_files: those that could be read."""

    faces: list[Face] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    n_files: int = 0


@dataclass(frozen=True)
class Look:
    """An image, RGB, with the faces in it: boxes, and squares uint8 (n, side, side[, 3]); or the problem with it."""

    image: np.ndarray | None = None
    boxes: tuple[Box | None, ...] = ()
    squares: np.ndarray | None = None
    problem: str = ""


@dataclass(frozen=True)
class Predictor:
    """How files are looked at.

    find: look for faces; otherwise an image is a face. smooth: seconds over which a face's probabilities in a video are
    averaged, 0 for none.
    """

    bundle: Bundle
    find: bool = False
    smooth: float = 0.0
    annotations: Annotations | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.smooth < math.inf:
            raise FerBenchError(f"--smooth {self.smooth}: no number of seconds")

    def predict(self, paths: Sequence[Path], progress: Progress = silent) -> Found:
        """All faces in files and in the files of folders.

        Raises FerBenchError where none of them can be read, or annotations would take the place of one.
        """
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # what it would print is in `problems`
        found = Found()
        files = [(path, is_video(path)) for given in paths for path in _files(given, found)]
        if self.annotations:
            self.annotations.keep([path for path, _ in files])
        with quiet(), ThreadPoolExecutor(os.cpu_count()) as pool:
            photos = iter([path for path, moves in files if not moves])
            while chunk := list(islice(photos, CHUNK)):
                self._photographs(chunk, found, pool)
                progress(found.n_files / len(files), f"{found.n_files:,} of {len(files):,} files")
            for path in (path for path, moves in files if moves):
                self._video(path, found, pool, progress)
        if not found.n_files:
            raise FerBenchError(
                f"nothing could be read:\n{listing([f'{name}: {why}' for name, why in found.problems])}"
            )
        return found

    def _photographs(self, paths: Sequence[Path], found: Found, pool: ThreadPoolExecutor) -> None:
        looks = list(pool.map(self._read, paths))
        answers = self.answers(looks)
        for path, look, rows in zip(paths, looks, answers, strict=True):
            name = readable(str(path))
            found.n_files += look.image is not None
            if look.problem:
                found.problems.append((name, look.problem))
            numbered = enumerate(zip(look.boxes, rows, strict=True), start=1)
            faces = [Face(name, number, box, row) for number, (box, row) in numbered]
            found.faces += faces
            if self.annotations and look.image is not None:
                self.annotations.photograph(path, look.image, faces)

    def _read(self, path: Path) -> Look:
        try:
            image = picture(path.read_bytes(), path.name)
        except OSError as error:
            return Look(problem=f"cannot be opened ({error.strerror or error})")
        except ValueError as error:
            return Look(problem=str(error))
        return self.look(image)

    def look(self, image: np.ndarray) -> Look:
        """The faces in an image, uint8 (h, w) or RGB (h, w, 3): those that are found, or all of it as one."""
        if not self.find:
            return Look(image, (None,), self.bundle.squares([image]))
        boxes = self.bundle.find_faces(image)
        return Look(image, tuple(boxes), self.bundle.cut(image, boxes), "" if boxes else "no face found")

    def answers(self, looks: Sequence[Look]) -> list[np.ndarray]:
        """Probabilities of the faces of each look, float32 (n, k), all predicted together."""
        squares = [self.bundle.squares([]) if look.squares is None else look.squares for look in looks]
        together = self.bundle.predict_squares(np.concatenate(squares))
        return np.split(together, np.cumsum([len(own) for own in squares])[:-1])

    def _video(self, path: Path, found: Found, pool: ThreadPoolExecutor, progress: Progress) -> None:
        name, video = readable(str(path)), cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        expected, rate = int(video.get(cv2.CAP_PROP_FRAME_COUNT)), video.get(cv2.CAP_PROP_FPS)
        rate = rate if math.isfinite(rate) and rate > 0 else 25.0
        tracks, images, n = Tracks(self.smooth), frames(video), 0
        with self.annotations.video(path, rate) if self.annotations else nullcontext() as annotate:
            while chunk := list(islice(images, CHUNK)):
                looks = list(pool.map(self.look, chunk))
                for look, rows in zip(looks, self.answers(looks), strict=True):
                    followed = tracks.follow(n / rate, look.boxes, rows)
                    faces = [Face(name, number, box, row, n, n / rate) for number, box, row in followed]
                    found.faces += faces
                    if annotate and look.image is not None:
                        annotate(look.image, faces)
                    n += 1
                progress(min(1.0, n / expected) if expected > 0 else 0.5, f"{path.name}: frame {n:,}")
        video.release()
        if not n:
            found.problems.append((name, "no frame can be read: it is damaged, or OpenCV lacks its codec"))
            return
        found.n_files += 1
        if n < CUT_SHORT * expected - 1:
            found.problems.append((name, f"ends after {n:,} of {expected:,} frames"))
        if not tracks.last_number:
            found.problems.append((name, "no face found in any frame"))


class Tracks:
    """Faces followed from frame to frame by where they are. smooth: seconds, see `Predictor`."""

    def __init__(self, smooth: float) -> None:
        self.smooth, self.last_number = smooth, 0
        self._known: dict[int, tuple[float, Box | None, np.ndarray]] = {}

    def follow(
        self, seconds: float, boxes: Sequence[Box | None], rows: np.ndarray
    ) -> list[tuple[int, Box | None, np.ndarray]]:
        """Number, box and smoothed probabilities of each face of the frame at `seconds`, the largest face first."""
        self._known = {number: one for number, one in self._known.items() if seconds - one[0] <= FORGOTTEN}
        recent, followed = dict(self._known), []
        for box, row in zip(boxes, rows, strict=True):
            shares = {
                number: 1.0 if box is None or last is None else overlap(box, last)
                for number, (_, last, _) in recent.items()
            }
            best = max(shares, key=lambda number: shares[number], default=0)
            if not best or shares[best] < SAME_FACE:
                self.last_number += 1
                number, smoothed = self.last_number, row
            else:
                number, (seen, _, before) = best, recent.pop(best)
                share = 1.0 if self.smooth <= 0 else 1 - math.exp((seen - seconds) / self.smooth)
                smoothed = before + np.float32(share) * (row - before)
            self._known[number] = seconds, box, smoothed
            followed.append((number, box, smoothed))
        return followed


def frames(video: cv2.VideoCapture) -> Iterator[np.ndarray]:
    """RGB frames, uint8 (h, w, 3), until the video ends, or nothing more can be read of it."""
    while True:
        is_there, frame = video.read()
        if not is_there:
            return
        yield np.ascontiguousarray(frame[..., ::-1])


def _files(path: Path, found: Found) -> Iterator[Path]:
    """A file, or the pictures and videos in a folder and below it, by name; hidden ones are left out."""
    if path.is_file():
        yield path
        return
    if not path.is_dir():
        why = "not a file of data" if path.exists() else "no such file or folder"
        found.problems.append((readable(str(path)), why))
        return
    n = 0
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            file = Path(folder) / name
            if not name.startswith(".") and file.is_file() and is_picture(file):
                n += 1
                yield file
    if not n:
        found.problems.append((readable(str(path)), "no pictures or videos in this folder"))
