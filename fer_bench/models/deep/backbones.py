"""The backbones of keras.applications, and how they get their weights.

Keras is imported inside the functions: the cards that name them are read where it must not be.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fer_bench import cache
from fer_bench.errors import FerBenchError, is_no_room
from fer_bench.models.deep import pretrained
from fer_bench.models.deep.assembly import BATCH_NORM_MOMENTUM, IMAGENET_STD
from fer_bench.models.registry import ImageInput


@dataclass(frozen=True)
class Backbone:
    """A network of keras.applications without its top.

    application: its name there. image: what it wants to see. file_name: of its ImageNet weights in Keras' cache.
    cut: the layer whose output, a single tensor, is all that the last block takes. minimum: smallest side of images.
    trained_size: the side of the images that the weights in `file_name` were trained on, where there are several files.
    block_rate: learning rate for the last block; one without BatchNormalization bears less. batch_size: of training.
    """

    application: str
    image: ImageInput
    file_name: str
    cut: str
    minimum: int = 32
    trained_size: int | None = None
    block_rate: float = 5e-4
    batch_size: int = 32


KERNELS = "weights_tf_dim_ordering_tf_kernels"
VGG16 = Backbone(
    "VGG16", ImageInput(48, 3, "caffe"), f"vgg16_{KERNELS}_notop.h5", "block4_pool", block_rate=1e-4
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


def load_backbone(backbone: Backbone, size: int, weights: str) -> tuple[Any, str]:
    """`backbone` for RGB images of `size` pixels, and where its weights come from.

    weights: as in `Task.weights`. The second value is for the record; it starts with "random" where none were loaded.
    Raises FerBenchError where ImageNet weights are demanded and cannot be had, or the file does not fit the backbone,
    and MemoryError or OSError where memory, a right or room on the disk is wanting.
    """
    import keras

    def build(weights: str | None, size: int = size) -> Any:
        application = getattr(keras.applications, backbone.application)
        return application(include_top=False, weights=weights, input_shape=(size, size, 3))

    if weights == pretrained.NONE:
        return build(None), "random"
    if weights == pretrained.UNAVAILABLE:
        return build(None), pretrained.OUT_OF_REACH
    if weights in (pretrained.IMAGENET, pretrained.AUTO):
        try:
            return with_imagenet(backbone, size, build), "imagenet"
        except Exception as error:  # Keras raises bare Exception where a download fails
            if isinstance(error, (MemoryError, PermissionError)) or is_no_room(error):
                raise  # random weights would hide what is wrong with this machine
            if weights == pretrained.AUTO:
                return build(None), _why_random(error)
            where = pretrained.cache_folder() / backbone.file_name
            raise FerBenchError(
                f"{backbone.application}: no ImageNet weights ({error}); they belong at {where}"
            ) from error
    return load_file(build(None), backbone.application, weights), f"file {Path(weights).name}"


def _why_random(error: Exception) -> str:
    """For the record: that there was no network, which Keras tells by a bare Exception, or what kind of error it is."""
    kind = type(error)
    return pretrained.OUT_OF_REACH if kind is Exception else f"random (no ImageNet weights: {kind.__name__})"


def load_file(model: Any, application: str, path: str) -> Any:
    """`model` with the weights of a file. Raises FerBenchError where they do not fit, or the file is cut short."""
    pretrained.load_weights(model, path, f"{application} without its top")
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
