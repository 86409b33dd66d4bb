"""A bundle: a trained model as a folder of its own. What is in it, how it is checked, and how it answers.

model.onnx      uint8 images in, calibrated probabilities out
features.onnx   where the classifier is in model.skops, as no graph is known for it: images in, its features out
model.json      the card: classes, input, origin, scores, parity, latency, digests
MODEL_CARD.md   the same for people
example.py      ten lines that do without fer_bench
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from fer_bench.deploy.faces import Box, Detector, framed, square
from fer_bench.deploy.session import FEATURES, IMAGES, MODEL, SKOPS, Session, open_session
from fer_bench.errors import FerBenchError

FORMAT = 1
"""Goes up when older code cannot read a bundle any more."""
CARD, PAGE, EXAMPLE, LITERT = "model.json", "MODEL_CARD.md", "example.py", "model.tflite"
PHOTOGRAPH = "image is {}, not uint8 (h, w) gray or (h, w, 3) RGB"


class Bundle:
    """A model that is loaded and ready to answer. Safe to use from several threads.

    path: its folder. card: its model.json. classes: their names, in the order of the probabilities. side: of the square
    images that it takes, in pixels. channels: 1 for gray, 3 for RGB.
    """

    def __init__(self, path: Path, card: dict[str, Any], session: Session) -> None:
        self.path, self.card, self._session = path, card, session
        self.classes: tuple[str, ...] = tuple(card["classes"])
        self.side, self.channels = int(card["input"]["side"]), int(card["input"]["channels"])

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Calibrated probabilities, float32 (n, k), of face images, uint8 (n, h, w) gray or RGB (n, h, w, 3).

        Images of another size than the model's are made smaller or larger, padded by their edge pixels where they are
        not square. Raises FerBenchError for arrays of another kind.
        """
        images = _pixels(images, 3, "images are {}, not uint8 (n, h, w) gray or (n, h, w, 3) RGB")
        if images.ndim == 3 and images.shape[2] == 3:
            raise FerBenchError(f"images are {images.shape}: of one RGB image, give image[None]")
        return self.predict_squares(self.squares(images))

    def predict_squares(self, squares: np.ndarray) -> np.ndarray:
        """As `predict`, of what `squares` or `cut` made."""
        if not len(squares):
            return np.empty((0, len(self.classes)), np.float32)
        if squares.dtype != np.uint8 or squares.shape[1:] != self.squares([]).shape[1:]:
            raise FerBenchError(f"squares are {squares.dtype} {squares.shape}, not what `squares` or `cut` make")
        return self._session.answers(squares)

    def squares(self, images: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """Images, uint8 (h, w) or RGB (h, w, 3), as the model takes them: uint8 (n, side, side[, 3])."""
        made = [square(_pixels(image, 2, PHOTOGRAPH), self.side, self.channels) for image in images]
        return np.array(made, np.uint8).reshape(-1, self.side, self.side, *(() if self.channels == 1 else (3,)))

    def find_faces(self, image: np.ndarray) -> list[Box]:
        """The faces in a photograph, uint8 (h, w) or RGB (h, w, 3), largest first; none where none is found."""
        return self.detector.find(_pixels(image, 2, PHOTOGRAPH))

    def cut(self, image: np.ndarray, boxes: Sequence[Box]) -> np.ndarray:
        """The faces in `boxes` of a photograph, framed as the images are that the model learned from; as `squares`."""
        image, framing = _pixels(image, 2, PHOTOGRAPH), self.card["input"]["framing"]
        return self.squares([framed(image, Box(*box), framing, self.side) for box in boxes])

    @cached_property
    def detector(self) -> Detector:
        """What finds faces; OpenCV's cascade, unless another is put in its place."""
        return Detector()


def _pixels(value: Any, n_axes: int, message: str) -> np.ndarray:
    """`value`, uint8 and not without pixels, of so many axes if gray and one more if RGB. Raises FerBenchError."""
    try:
        array = np.asarray(value)
    except ValueError:
        raise FerBenchError(message.format("arrays of several shapes")) from None
    is_image = array.ndim == n_axes or (array.ndim == n_axes + 1 and array.shape[-1] == 3)
    if array.dtype != np.uint8 or not is_image or 0 in array.shape[n_axes - 2 : n_axes]:
        raise FerBenchError(message.format(f"{array.dtype} {array.shape}"))
    return array


def load_model(path: Path | str, trust: Collection[str] = ()) -> Bundle:
    """The bundle in the folder `path`, checked and ready to answer.

    trust: types that its model.skops, if there is one, may hold beside those that skops trusts by itself.
    Raises FerBenchError where it is none, is of a newer version, or damaged, where it holds types that are not trusted,
    and where onnxruntime or skops is not installed.
    """
    folder = Path(path)
    card = read_card(folder)
    files = _checked(folder, card)
    if SKOPS in files:
        _check_version(folder, card)
    session = open_session(files, folder, trust)
    bundle = Bundle(folder, card, session)
    given, told = session.graph.get_inputs()[0], session.graph.get_outputs()[0]
    if told.shape[-1] != len(bundle.classes):
        raise FerBenchError(f"{folder / CARD}: {len(bundle.classes)} classes, but the model knows {told.shape[-1]}")
    if given.name != IMAGES or list(given.shape[1:]) != list(bundle.squares([]).shape[1:]):
        raise FerBenchError(f"{folder / CARD}: its input is not that of the model, {given.name} {given.shape}")
    return bundle


def read_card(folder: Path) -> dict[str, Any]:
    """The model.json of a bundle. Raises FerBenchError where there is none, or it is not one that is known."""
    path = folder / CARD
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FerBenchError(f"{folder}: no bundle: there is no {CARD}; `fer_bench export` makes one") from None
    except NotADirectoryError:
        raise FerBenchError(f"{folder}: no bundle: a bundle is a folder with a {CARD}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise FerBenchError(f"{path}: cannot be read ({error})") from error
    written = card.get("format") if isinstance(card, dict) else None
    if isinstance(written, int) and written > FORMAT:
        raise FerBenchError(
            f"{path}: a bundle of format {written}, made by fer_bench {card.get('fer_bench', '?')}; this version reads "
            f"up to format {FORMAT}: install a newer fer_bench"
        )
    problem = _problem(card)
    if problem:
        raise FerBenchError(f"{path}: not the card of a bundle: {problem}")
    return card


def _problem(card: Any) -> str | None:
    """What of what is needed to predict is missing or of another kind."""
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        return f"format is not {FORMAT}"
    names, given, files = card.get("classes"), card.get("input"), card.get("files")
    if not isinstance(card.get("run"), str):
        return "run is not the id of one"
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len({*names}) != len(names):
        return "classes are not a list of different names"
    if not isinstance(given, dict) or given.get("channels") not in (1, 3) or not _within(given.get("side"), 1, 2048):
        return "input has no side and channels"
    framing, limits = given.get("framing"), {"scale": (0.1, 10.0), "down": (-5.0, 5.0)}
    if not isinstance(framing, dict) or not all(_within(framing.get(name), *ends) for name, ends in limits.items()):
        return "input has no framing"
    if not isinstance(files, dict) or MODEL not in files:
        return f"files do not name {MODEL}"
    return None if (FEATURES in files) == (SKOPS in files) else f"files name one of {FEATURES} and {SKOPS} alone"


def _within(value: Any, low: float, high: float) -> bool:
    """Whether `value` is a number from `low` to `high`."""
    return isinstance(value, (int, float)) and low <= value <= high


def _checked(folder: Path, card: dict[str, Any]) -> dict[str, bytes]:
    """The files of the model, by name. Raises FerBenchError where one is not what was exported."""
    files = {}
    for name in (MODEL, FEATURES, SKOPS, LITERT):
        if name not in card["files"]:
            continue
        try:
            files[name] = (folder / name).read_bytes()
        except OSError as error:
            raise FerBenchError(f"{folder / name}: cannot be read ({error.strerror or error})") from error
        if hashlib.sha256(files[name]).hexdigest() != card["files"][name]:
            raise FerBenchError(f"{folder / name}: changed since it was exported, see files in {CARD}; export it again")
    return files


def _check_version(folder: Path, card: dict[str, Any]) -> None:
    """Raise FerBenchError where scikit-learn is of another minor version than the one that stored the classifier."""
    made, here = (card.get("versions") or {}).get("scikit-learn", "?"), version("scikit-learn")
    if made.split(".")[:2] != here.split(".")[:2]:
        raise FerBenchError(f"{folder / SKOPS}: made by scikit-learn {made}, which alone reads it well; here is {here}")
