"""The backbones of keras.applications, and where their first weights come from: decided once for all runs.

A request is "auto", "imagenet", "none" or the path of a weight file. What a run gets (`Task.weights`) is "imagenet",
"none", a path, or UNAVAILABLE: random weights, because ImageNet's are out of reach and were not insisted on.
"""

import hashlib
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from fer_bench import cache
from fer_bench.errors import FerBenchError, is_no_room
from fer_bench.models.deep.assembly import BATCH_NORM_MOMENTUM, IMAGENET_STD
from fer_bench.models.deep.backend import configuration
from fer_bench.models.registry import ImageInput

AUTO, IMAGENET, NONE, UNAVAILABLE = "auto", "imagenet", "none", "unavailable"
OUT_OF_REACH = "ImageNet weights could not be had"
DOWNLOAD_URL = (
    "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
    "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
)
"""One of the files that Keras downloads: where it is to be had, the others are."""
PATIENCE_SECONDS = 5.0
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


class FirstWeights(NamedTuple):
    """Where the weights come from that a network's training starts from, and more of it in words, or ""."""

    origin: Literal["random", "imagenet", "file"]
    note: str = ""


RANDOM = FirstWeights("random")


@dataclass(frozen=True)
class Resolution:
    """What a request comes down to for one network.

    weights: for `Task.weights`; "" where ImageNet's are demanded and out of reach. reason: one line that says why, for
    the log and the leaderboard.
    """

    weights: str
    reason: str


def resolve_weights(request: str, file_names: Collection[str]) -> dict[str, Resolution]:
    """What `request` means on this machine for each network, known by the name of its ImageNet weights' file.

    Looks at Keras' cache, and where files are missing asks the download host once, for `PATIENCE_SECONDS` at most.
    Raises FerBenchError where a path is no weight file.
    """
    if request == NONE:
        return dict.fromkeys(file_names, Resolution(NONE, "random weights, as asked for"))
    if request not in (AUTO, IMAGENET):
        return dict.fromkeys(file_names, Resolution(str(_weight_file(request).resolve()), f"weights from {request}"))
    found = dict.fromkeys(file_names, Resolution(IMAGENET, "ImageNet weights from Keras' cache"))
    missing = [name for name in found if not (cache_folder() / name).is_file()]
    if missing and is_there(DOWNLOAD_URL, PATIENCE_SECONDS):
        return found | {
            name: Resolution(IMAGENET, f"ImageNet weights, to be downloaded by Keras: {name}") for name in missing
        }
    weights = UNAVAILABLE if request == AUTO else ""
    advice = (
        "a few steps from RANDOM weights, as ImageNet's could not be had: connect to the network, or put {} into "
        "Keras' cache (~/.keras/models, or models in KERAS_HOME), and give the same command again"
    )
    return found | {name: Resolution(weights, advice.format(name)) for name in missing}


def demand(found: Mapping[str, Resolution]) -> None:
    """Raise FerBenchError where ImageNet weights were demanded and are out of reach, naming all files."""
    if lacking := [name for name, resolution in found.items() if not resolution.weights]:
        raise FerBenchError(
            f"{OUT_OF_REACH}: {', '.join(lacking)} not in Keras' cache, nor {DOWNLOAD_URL} to be "
            f"downloaded; put the files into {cache_folder()}, or use --weights none or a path"
        )


def weights_request_id(request: str) -> str:
    """What identifies `request` in a run's id: the word itself, or "sha256:" and 16 digits of the file's digest.

    Raises FerBenchError where a path is no weight file.
    """
    if request in (AUTO, IMAGENET, NONE):
        return request
    with _weight_file(request).open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()[:16]


def cache_folder() -> Path:
    """The folder where Keras keeps downloaded weights, beside its configuration."""
    return configuration().with_name("models")


def load_weights(model: Any, path: str | Path, network: str) -> None:
    """Load a weight file into a Keras model. Raises FerBenchError where it is cut short or not that of `network`."""
    try:
        model.load_weights(path)
    except (ValueError, KeyError, OSError) as error:
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise FerBenchError(f"{path}: these weights do not fit {network}: {why}") from error


def is_there(url: str, seconds: float) -> bool:
    """Whether the host of `url` says within `seconds` that it has it, through the proxy if one is set.

    A thread keeps the time, because a name look-up without a network can hang for longer than any socket timeout.
    """
    import urllib.request  # slow to import: only where a file is missing

    answers: list[bool] = []

    def ask() -> None:
        with suppress(Exception):  # a proxy that refuses, is none or speaks another protocol, too
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds).close()
            answers.append(True)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(answers)


def _weight_file(request: str) -> Path:
    path = cache.expanded(request)
    if not path.is_file():
        raise FerBenchError(f"--weights {request}: no such file; say auto, imagenet, none or the path of a weight file")
    with path.open("rb") as file:
        signature = file.read(len(_HDF5_SIGNATURE))
    if signature != _HDF5_SIGNATURE or path.suffix.lower() not in (".h5", ".hdf5"):
        raise FerBenchError(
            f"--weights {request}: not an HDF5 weight file (.h5, .weights.h5 or .hdf5) as Keras writes it"
        )
    return path


@dataclass(frozen=True)
class Backbone:
    """A network of keras.applications without its top.

    application: its name there. image: what it wants to see. file_name: of its ImageNet weights in Keras' cache.
    cut: the layer whose output, a single tensor, is all that the last block takes. minimum: smallest side of images.
    trained_size: the side of the images that the weights in `file_name` were trained on, where there are several files.
    has_batch_norm: whether it normalizes what it computes. block_rate: learning rate for the last block; one that does
    not bears less. batch_size: of training.
    """

    application: str
    image: ImageInput
    file_name: str
    cut: str
    minimum: int = 32
    trained_size: int | None = None
    has_batch_norm: bool = True
    block_rate: float = 5e-4
    batch_size: int = 32


KERNELS = "weights_tf_dim_ordering_tf_kernels"
VGG16 = Backbone(
    "VGG16", ImageInput(48, 3, "caffe"), f"vgg16_{KERNELS}_notop.h5", "block4_pool", has_batch_norm=False,
    block_rate=1e-4,
)  # fmt: skip
RESNET50 = Backbone("ResNet50", ImageInput(48, 3, "caffe"), f"resnet50_{KERNELS}_notop.h5", "conv4_block6_out")
INCEPTION_V3 = Backbone(
    "InceptionV3", ImageInput(75, 3, "symmetric"), f"inception_v3_{KERNELS}_notop.h5", "mixed7", minimum=75
)
EFFICIENTNET_B0 = Backbone("EfficientNetB0", ImageInput(96, 3, "none"), "efficientnetb0_notop.h5", "block5c_add")
MOBILENET_V2 = Backbone(
    "MobileNetV2", ImageInput(96, 3, "symmetric"), f"mobilenet_v2_{KERNELS}_1.0_96_no_top.h5", "block_5_add",
    trained_size=96, batch_size=64,
)  # fmt: skip


def load_backbone(backbone: Backbone, size: int, weights: str) -> tuple[Any, FirstWeights]:
    """`backbone` for RGB images of `size` pixels, and where its weights come from; weights: as in `Task.weights`.

    Raises FerBenchError where ImageNet weights cannot be had after all, or the file does not fit the backbone,
    and MemoryError or OSError where memory, a right or room on the disk is wanting.
    """
    import keras

    def build(weights: str | None, size: int = size) -> Any:
        application = getattr(keras.applications, backbone.application)
        return application(include_top=False, weights=weights, input_shape=(size, size, 3))

    if weights == NONE:
        return build(None), RANDOM
    if weights == UNAVAILABLE:
        return build(None), FirstWeights("random", OUT_OF_REACH)
    if weights != IMAGENET:
        return load_file(build(None), backbone.application, weights), FirstWeights("file", Path(weights).name)
    try:
        return with_imagenet(backbone, size, build), FirstWeights("imagenet")
    except Exception as error:  # Keras raises bare Exception where a download fails
        if isinstance(error, (MemoryError, PermissionError)) or is_no_room(error):
            raise  # nothing is wrong with the weights
        where = cache_folder() / backbone.file_name
        raise FerBenchError(f"{backbone.application}: no ImageNet weights ({error}); they belong at {where}") from error


def load_file(model: Any, application: str, path: str) -> Any:
    """`model` with the weights of a file. Raises FerBenchError where they do not fit, or the file is cut short."""
    load_weights(model, path, f"{application} without its top")
    divide_by_deviation(model)
    return model


def with_imagenet(backbone: Backbone, size: int, build: Callable[..., Any]) -> Any:
    """`backbone` with the weights in `backbone.file_name`, whatever the size; downloaded by one process at a time."""
    from filelock import FileLock

    lock = cache.root() / f"{backbone.application.lower()}.weights.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        trained = build("imagenet", backbone.trained_size or size)
    if trained.input_shape[1] == size:
        return trained
    model = build(None)
    model.set_weights(trained.get_weights())
    return model


def divide_by_deviation(model: Any) -> None:
    """Make an EfficientNet divide by ImageNet's standard deviations: its files hold them in the place of variances.

    Keras puts another Rescaling behind the Normalization where it downloads the weights itself, and only there.
    """
    import numpy as np
    from keras import layers

    for layer in model.layers:
        if isinstance(layer, layers.Normalization):
            mean, variance, *count = layer.get_weights()
            if np.allclose(variance, IMAGENET_STD, atol=1e-3):
                layer.set_weights([mean, variance**2, *count])
                layer.finalize_state()


def freeze_batch_norm(backbone: Any) -> None:
    """Keep every BatchNormalization as it is: Keras then runs it in inference mode, with ImageNet's statistics."""
    from keras import layers

    for layer in backbone.layers:
        layer.trainable = not isinstance(layer, layers.BatchNormalization)


def hasten_batch_norm(backbone: Any) -> None:
    """Let moving statistics that start from nothing follow those of the batches within a short run."""
    from keras import layers

    for layer in backbone.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = BATCH_NORM_MOMENTUM
