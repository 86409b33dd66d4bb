"""Where a network's first weights come from: decided once for all runs, without Keras.

A request is "auto", "imagenet", "none" or the path of a weight file. What a run gets (`Task.weights`) is "imagenet",
"none", a path, or one of two answers to "auto": AUTO, ImageNet weights with random ones to fall back on where
the download fails after all, and UNAVAILABLE, random weights because ImageNet's are known to be out of reach.
"""

import hashlib
import os
import threading
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_bench.errors import FerBenchError

AUTO, IMAGENET, NONE, UNAVAILABLE = "auto", "imagenet", "none", "unavailable"
OUT_OF_REACH = "random (no network: ImageNet weights could not be had)"
DOWNLOAD_URL = "https://storage.googleapis.com/tensorflow/keras-applications/"
PATIENCE_SECONDS = 5.0
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class Resolution:
    """weights: for `Task.weights`. reason: one line that says why, for the log and the leaderboard."""

    weights: str
    reason: str


def resolve_weights(request: str, file_names: Collection[str]) -> dict[str, Resolution]:
    """Decide what `request` means on this machine for each backbone, known by the name of its ImageNet weights' file.

    Looks at Keras' cache, and where files are missing asks the download host once, for `PATIENCE_SECONDS` at most.
    Raises FerBenchError where ImageNet weights are demanded and cannot be had, or a path is no weight file.
    """
    if request == NONE:
        return dict.fromkeys(file_names, Resolution(NONE, "random weights, as asked for"))
    if request not in (AUTO, IMAGENET):
        return dict.fromkeys(file_names, Resolution(str(_weight_file(request).resolve()), f"weights from {request}"))
    found = dict.fromkeys(file_names, Resolution(request, "ImageNet weights from Keras' cache"))
    missing = [name for name in found if not (cache_folder() / name).is_file()]
    if missing and host_answers(DOWNLOAD_URL, PATIENCE_SECONDS):
        return found | {
            name: Resolution(request, f"ImageNet weights, to be downloaded by Keras: {name}") for name in missing
        }
    lack = f"not in Keras' cache and {DOWNLOAD_URL} does not answer"
    if missing and request == IMAGENET:
        raise FerBenchError(
            f"--weights imagenet: {', '.join(missing)} {lack}; put the files into {cache_folder()}, "
            "or use --weights auto, none or a path"
        )
    without = "ImageNet weights could not be had, training starts from RANDOM weights"
    return found | {name: Resolution(UNAVAILABLE, f"{without}: {name} {lack}") for name in missing}


def weights_request_id(request: str) -> str:
    """What identifies `request` in a run's id: the word itself, or "sha256:" and 16 digits of the file's digest.

    Raises FerBenchError where a path is no weight file.
    """
    if request in (AUTO, IMAGENET, NONE):
        return request
    with _weight_file(request).open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()[:16]


def cache_folder() -> Path:
    """The folder where Keras keeps downloaded weights: `models` in `KERAS_HOME` or in `~/.keras`."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models"


def load_weights(model: Any, path: str | Path, network: str) -> None:
    """Load a weight file into a Keras model. Raises FerBenchError where it is cut short or not that of `network`."""
    try:
        model.load_weights(path)
    except (ValueError, KeyError, OSError) as error:
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise FerBenchError(f"{path}: these weights do not fit {network}: {why}") from error


def host_answers(url: str, seconds: float) -> bool:
    """Whether `url` gets any answer from its host within `seconds`, through the proxy if one is set.

    A thread keeps the time, because a name look-up without a network can hang for longer than any socket timeout.
    """
    import urllib.error  # slow to import: only where a file is missing
    import urllib.request

    answers: list[bool] = []

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds).close()
        except urllib.error.HTTPError:
            pass  # the host itself says no to this page: it can be reached
        except OSError:
            return
        answers.append(True)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(answers)


def _weight_file(request: str) -> Path:
    path = Path(request).expanduser()
    if not path.is_file():
        raise FerBenchError(f"--weights {request}: no such file; say auto, imagenet, none or the path of a weight file")
    with path.open("rb") as file:
        signature = file.read(len(_HDF5_SIGNATURE))
    if signature != _HDF5_SIGNATURE or path.suffix.lower() not in (".h5", ".hdf5"):
        raise FerBenchError(
            f"--weights {request}: not an HDF5 weight file (.h5, .weights.h5 or .hdf5) as Keras writes it"
        )
    return path
