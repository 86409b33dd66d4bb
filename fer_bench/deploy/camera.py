"""A camera's picture in a window, with what the model makes of the faces in it."""

from __future__ import annotations

import time

import cv2
import numpy as np

from fer_bench.deploy.annotating import drawn
from fer_bench.deploy.predicting import Face, Predictor, Tracks, frames
from fer_bench.errors import FerBenchError

TITLE = "fer_bench: q ends"
ENDS = (ord("q"), 27)


def show_camera(predictor: Predictor, number: int) -> None:
    """Show the camera `number` until q or Escape is pressed, or the window is closed.

    Raises FerBenchError where OpenCV has no windows, or there is no such camera.
    """
    _check_windows()
    camera = cv2.VideoCapture(number)
    if not camera.isOpened():
        raise FerBenchError(
            f"--camera {number}: cannot be opened: there is none of that number, or another program has it"
        )
    tracks, began = Tracks(predictor.smooth), time.monotonic()
    try:
        for n, image in enumerate(frames(camera)):
            look = predictor.look(image)
            seconds = time.monotonic() - began
            followed = tracks.follow(seconds, look.boxes, predictor.answers([look])[0])
            faces = [Face("camera", at, box, row, n, seconds) for at, box, row in followed]
            cv2.imshow(TITLE, np.ascontiguousarray(drawn(image, faces, predictor.bundle.classes)[..., ::-1]))
            if cv2.waitKey(1) & 0xFF in ENDS or cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) < 1:
                return
        raise FerBenchError(f"--camera {number}: gives no picture any more")
    finally:
        camera.release()
        cv2.destroyAllWindows()


def _check_windows() -> None:
    try:
        cv2.namedWindow(TITLE)
    except cv2.error:
        raise FerBenchError(
            "--camera: this OpenCV opens no windows: it is the headless package, or there is no display; `pip install "
            "opencv-python` in place of opencv-python-headless, or use `fer_bench serve`, whose page shows the webcam"
        ) from None
