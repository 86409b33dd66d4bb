"""The networks: a CNN trained from scratch and ImageNet backbones, as pure Keras 3 functions.

Keras is imported inside the functions: the cards are read where it must not be.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fer_bench import cache
from fer_bench.errors import FerBenchError
from fer_bench.models import pretrained
from fer_bench.models.registry import ImageInput, register_model
from fer_bench.models.task import CROSS_ENTROPY, FOCAL, Task

DEEP_LOSSES = (CROSS_ENTROPY, FOCAL)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH_NORM_MOMENTUM = 0.9  # Keras' 0.99 lags behind for 400 steps, longer than a quick run
CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)

GRAY_48 = ImageInput(48)
CAFFE_48 = ImageInput(48, 3, "caffe")
VGG16_WEIGHTS = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
RESNET50_WEIGHTS = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"


@register_model(
    "cnn", features="images", family="deep", losses=DEEP_LOSSES, image=GRAY_48,
    summary="residual CNN trained from scratch, 1.2 M parameters",
    steps={"quick": 260, "standard": 22_000, "full": 66_000},
)  # fmt: skip
def cnn(task: Task) -> Any:
    """A small residual network (He et al. 2016): four stages of 32 to 256 filters, average pooling, dropout."""
    from fer_bench.models.training import KerasClassifier, Network, Phase

    def build() -> Network:
        return Network(assemble(task, GRAY_48, residual_trunk, dropout=0.2), (Phase("all layers", 1.0, 2e-3),))

    return KerasClassifier(task, GRAY_48, build, batch_size=32)


@register_model(
    "vgg16", features="images", family="deep", losses=DEEP_LOSSES, image=CAFFE_48, pretrained=VGG16_WEIGHTS,
    summary="VGG16 fine-tuned from ImageNet weights: head first, then the last block",
    steps={"quick": 30, "standard": 6_000, "full": 18_000},
)  # fmt: skip
def vgg16(task: Task) -> Any:
    """Configuration D of Simonyan & Zisserman 2015, without its dense layers."""
    return transfer(task, CAFFE_48, "VGG16", VGG16_WEIGHTS, last_block="block5_")


@register_model(
    "resnet50", features="images", family="deep", losses=DEEP_LOSSES, image=CAFFE_48, pretrained=RESNET50_WEIGHTS,
    summary="ResNet50 fine-tuned from ImageNet weights: head first, then the last block",
    steps={"quick": 16, "standard": 6_000, "full": 18_000},
)  # fmt: skip
def resnet50(task: Task) -> Any:
    """The 50-layer network of He et al. 2016, without its dense layer."""
    return transfer(task, CAFFE_48, "ResNet50", RESNET50_WEIGHTS, last_block="conv5_")


def transfer(task: Task, image: ImageInput, application: str, file_name: str, last_block: str) -> Any:
    """Classifier on the backbone `keras.applications.<application>`, whose ImageNet weights are in `file_name`.

    With trained weights: 40 % of the steps train the head on the frozen backbone, the rest the head and the layers
    whose names start with `last_block`, at a low rate. Without any, every layer is trained from the first step.
    """
    from fer_bench.models.training import KerasClassifier, Network, Phase

    def build() -> Network:
        backbone, weights = load_backbone(application, (image.size, image.size, 3), task.weights, file_name)
        model = assemble(task, image, backbone, dropout=0.5, hidden=256)
        if weights.startswith("random"):
            hasten_batch_norm(backbone)
            return Network(model, (Phase("all layers", 1.0, 3e-4),), weights)
        phases = (
            Phase("head", 0.4, 1e-3, prepare=lambda: freeze(backbone)),
            Phase("last block", 0.6, 1e-4, prepare=lambda: freeze(backbone, but=last_block)),
        )
        return Network(model, phases, weights)

    return KerasClassifier(task, image, build, batch_size=32)


def assemble(
    task: Task, image: ImageInput, trunk: Callable[[Any], Any], dropout: float, hidden: int | None = None
) -> Any:
    """Model from raw pixels, uint8 (n, size, size, 1 or 3) as the dataset has them, to logits, float32 (n, n_classes).

    `trunk` takes what `preprocess` gives and returns feature maps; they are averaged over the image and classified
    by a dense layer, behind another one of `hidden` units if given.
    """
    from keras import Input, Model, layers

    channels = 1 if len(task.image_shape) == 2 else task.image_shape[2]
    pixels = Input((image.size, image.size, channels), dtype="uint8", name="pixels")
    x = layers.GlobalAveragePooling2D()(trunk(preprocess(pixels, image)))
    if hidden:
        x = layers.Dense(hidden, activation="relu")(x)
    x = layers.Dropout(dropout)(x)
    return Model(pixels, layers.Dense(task.n_classes, dtype="float32", name="logits")(x))


def preprocess(pixels: Any, image: ImageInput) -> Any:
    """Pixels of 0..255, gray or RGB, to the channels and the scale that `image` asks for, float32.

    Part of the network, so that it cannot be forgotten or differ between training and prediction.
    """
    from keras import layers, ops

    x = ops.cast(pixels, "float32")
    if x.shape[-1] < image.channels:
        x = ops.repeat(x, image.channels, axis=-1)
    elif x.shape[-1] > image.channels:
        x = ops.image.rgb_to_grayscale(x)
    if image.scaling == "caffe":
        x = ops.flip(x, axis=-1)
    scale, offset = {
        "unit": (1 / 255, 0.0),
        "symmetric": (1 / 127.5, -1.0),
        "caffe": (1.0, [-mean for mean in CAFFE_MEAN_BGR]),
        "torch": (
            [1 / 255 / std for std in IMAGENET_STD],
            [-mean / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)],
        ),
        "none": (1.0, 0.0),
    }[image.scaling]
    return layers.Rescaling(scale, offset, dtype="float32")(x)


def residual_trunk(x: Any) -> Any:
    """Feature maps of a small residual network: 48x48x1 becomes 6x6x256, 1.2 M parameters."""
    from keras import layers

    def convolution(x: Any, filters: int, size: int = 3, strides: int = 1) -> Any:
        x = layers.Conv2D(filters, size, strides, "same", use_bias=False, kernel_initializer="he_normal")(x)
        return layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM)(x)

    def block(x: Any, filters: int, strides: int) -> Any:
        branch = layers.ReLU()(convolution(x, filters, strides=strides))
        branch = convolution(branch, filters)
        shortcut = layers.AveragePooling2D(strides)(x) if strides > 1 else x  # every pixel counts: ResNet-D, He 2019
        return layers.ReLU()(layers.add([branch, convolution(shortcut, filters, size=1)]))

    x = layers.MaxPooling2D()(layers.ReLU()(convolution(x, 32)))
    for filters, strides in ((64, 1), (128, 2), (256, 2)):
        x = block(x, filters, strides)
    return x


def load_backbone(application: str, shape: tuple[int, int, int], weights: str, file_name: str) -> tuple[Any, str]:
    """`keras.applications.<application>` without its top, for images of `shape`, and where its weights come from.

    weights: as in `Task.weights`. The second value is for the record; it starts with "random" where none were loaded.
    Raises FerBenchError where ImageNet weights are demanded and cannot be had, or the file does not fit the backbone.
    """
    import keras
    from filelock import FileLock

    build = getattr(keras.applications, application)
    if weights == pretrained.NONE:
        return build(include_top=False, weights=None, input_shape=shape), "random"
    if weights == pretrained.UNAVAILABLE:
        return build(include_top=False, weights=None, input_shape=shape), pretrained.OUT_OF_REACH
    if weights in (pretrained.IMAGENET, pretrained.AUTO):
        lock = cache.root() / f"{application.lower()}.weights.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(lock):  # several children must not download into one file at once
                return build(include_top=False, weights="imagenet", input_shape=shape), "imagenet"
        except Exception as error:  # Keras raises bare Exception where a download fails
            if weights == pretrained.AUTO:
                return build(include_top=False, weights=None, input_shape=shape), pretrained.OUT_OF_REACH
            where = pretrained.cache_folder() / file_name
            raise FerBenchError(f"{application}: no ImageNet weights ({error}); they belong at {where}") from error
    backbone = build(include_top=False, weights=None, input_shape=shape)
    try:
        backbone.load_weights(weights)
    except (ValueError, KeyError, OSError) as error:
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise FerBenchError(f"{weights}: these weights do not fit {application} without its top: {why}") from error
    return backbone, f"file {Path(weights).name}"


def freeze(backbone: Any, but: str | None = None) -> None:
    """Freeze a backbone, save for the layers whose names start with `but`.

    BatchNormalization is always frozen, in an unfrozen block too: Keras then runs it in inference mode, so that
    its moving statistics stay those of ImageNet.
    """
    from keras import layers

    backbone.trainable = True  # the container, which otherwise hides the layers inside
    for layer in backbone.layers:
        unfrozen = but is not None and layer.name.startswith(but)
        layer.trainable = unfrozen and not isinstance(layer, layers.BatchNormalization)


def hasten_batch_norm(backbone: Any) -> None:
    """Let moving statistics that start from nothing follow those of the batches within a short run."""
    from keras import layers

    for layer in backbone.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = BATCH_NORM_MOMENTUM
