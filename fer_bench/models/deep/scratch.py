"""Networks trained from scratch."""

from collections.abc import Callable
from functools import partial
from typing import Any

from fer_bench.models.deep.assembly import (
    BATCH_NORM_MOMENTUM,
    SEARCH,
    from_pixels,
    logits,
    muon,
    over_zooms,
    register_network,
    sized,
    with_defaults,
)
from fer_bench.models.deep.backend import batch_normalization
from fer_bench.models.registry import Choice, ImageInput, Range
from fer_bench.models.task import Task

GRAY_48 = ImageInput(48)
SYMMETRIC_64 = ImageInput(64, scaling="symmetric")
COLOUR_224 = ImageInput(224, 3)
BATCH_SIZE = 32
SQUEEZE_RATIO = 16  # of Hu et al. 2018, section 6.1
COARSE = (0.6, 2 / 3)  # share of the steps that see smaller images first, and the side of these over the whole

register_residual = partial(
    register_network, image=GRAY_48, recipe=4, steps={"quick": 760, "standard": 30_000, "full": 90_000},
    search={**SEARCH, "dropout": Choice((0.2, 0.0, 0.4))},
)  # fmt: skip


@register_residual(
    "cnn", n_parameters=664_583,
    summary="small residual CNN trained from scratch, on smaller images first; the mean answer to three zooms",
)  # fmt: skip
def cnn(task: Task) -> Any:
    """A small residual network (He et al. 2016): stages of 32 to 192 filters, average pooling, dropout."""
    return _residual(task, "cnn", residual_trunk)


@register_residual("cnn-attention", n_parameters=670_649, summary="cnn with squeeze-and-excitation in its blocks")
def cnn_attention(task: Task) -> Any:
    """The network of `cnn` with squeeze-and-excitation (Hu et al. 2018) at the end of each residual branch."""
    return _residual(task, "cnn-attention", lambda x: residual_trunk(x, attention=squeeze_and_excitation))


@register_network(
    "cnn-small", image=GRAY_48, n_parameters=1_274_375, steps={"quick": 300, "standard": 22_000, "full": 66_000},
    summary="plain textbook CNN: three convolutions with pooling, one dense layer",
    search={**SEARCH, "dropout": Choice((0.5, 0.2, 0.35))},
)  # fmt: skip
def cnn_small(task: Task) -> Any:
    """Three 3x3 convolutions of 32, 64 and 128 filters, each with ReLU and max pooling, and 256 dense units."""
    dropout = float(task.parameters.get("dropout", 0.5))

    def network(x: Any) -> Any:
        from keras import layers

        for filters in (32, 64, 128):
            x = layers.Conv2D(filters, 3, padding="same", activation="relu", kernel_initializer="he_normal")(x)
            x = layers.MaxPooling2D()(x)
        return dense_head(task, layers.Flatten()(x), (256,), dropout)

    image = sized(GRAY_48, task, 8, "cnn-small")
    return _from_scratch(task, image, network, learning_rate=1e-3)


@register_network(
    "cnn-deep", image=COLOUR_224, n_parameters=27_932_903, steps={"quick": 4, "standard": 2_000, "full": 6_000},
    summary="seven convolutions of 32 to 2,048 filters at 224x224, 27.9 M parameters",
    search={**SEARCH, "dropout": Choice((0.3, 0.1, 0.5))},
)  # fmt: skip
def cnn_deep(task: Task) -> Any:
    """Seven blocks of 3x3 convolution, batch normalisation, ReLU and max pooling, 32 filters doubling up to 2,048.

    Average pooling and dense layers of 1,024, 512 and 256 units with dropout: 27.9 M parameters with six classes.
    """
    dropout = float(task.parameters.get("dropout", 0.3))

    def network(x: Any) -> Any:
        from keras import layers

        for power in range(5, 12):
            x = layers.MaxPooling2D()(layers.ReLU()(convolution(x, 2**power)))
        return dense_head(task, layers.GlobalAveragePooling2D()(x), (1024, 512, 256), dropout)

    image = sized(COLOUR_224, task, 128, "cnn-deep")  # seven times halved: 1
    return _from_scratch(task, image, network, learning_rate=1e-3, batch_size=16)


@register_network(
    "mini-xception", image=SYMMETRIC_64, n_parameters=58_423, steps={"quick": 120, "standard": 22_000, "full": 66_000},
    summary="small network of depthwise-separable convolutions (Arriaga et al. 2017)",
    search={**SEARCH, "weight_decay": Range(0.001, 0.05, log=True, default=0.01)},
)  # fmt: skip
def mini_xception(task: Task) -> Any:
    """Mini-Xception of Arriaga, Valdenegro-Toro & Ploeger 2017 (arXiv:1710.07557), layer by layer as published.

    Its last layer, a 3x3 convolution to the classes and the mean of that, is written as the mean of 3x3 patches and
    a dense layer: the same function of the same weights. Its recipe is the suite's: AdamW in place of Adam with L2.
    """
    task = with_defaults(task, weight_decay=0.01)
    image = sized(SYMMETRIC_64, task, 20, "mini-xception")  # less 4 of the first convolutions, four times halved: 1

    def network(x: Any) -> Any:
        from keras import layers

        for _ in range(2):
            x = layers.ReLU()(convolution(x, 8, padding="valid"))
        for filters in (16, 32, 64, 128):
            x = separable_block(x, filters)
        x = patch_mean(x)
        return logits(task)(x)

    return _from_scratch(task, image, network, learning_rate=2e-3)


def convolution(x: Any, filters: int, size: int = 3, strides: int = 1, padding: str = "same") -> Any:
    """A convolution without bias and batch normalisation."""
    from keras import layers

    x = layers.Conv2D(filters, size, strides, padding, use_bias=False, kernel_initializer="he_normal")(x)
    return batch_normalization()(momentum=BATCH_NORM_MOMENTUM)(x)


def residual_trunk(x: Any, attention: Callable[[Any], Any] = lambda maps: maps) -> Any:
    """Feature maps of a small residual network: 48x48x1 becomes 6x6x192, 0.66 M parameters.

    Its arithmetic lies where maps are small: halved at once, one convolution at half the side, then residual blocks.
    attention: what each residual branch passes through before it is added.
    """
    from keras import layers

    def block(x: Any, filters: int, strides: int) -> Any:
        branch = layers.ReLU()(convolution(x, filters, strides=strides))
        branch = attention(convolution(branch, filters))
        # every pixel counts: ResNet-D, He 2019
        shortcut = layers.AveragePooling2D(strides, padding="same")(x) if strides > 1 else x
        return layers.ReLU()(layers.add([branch, convolution(shortcut, filters, size=1)]))

    x = layers.ReLU()(convolution(x, 32, size=4, strides=2))
    x = layers.MaxPooling2D()(layers.ReLU()(convolution(x, 48)))
    return block(block(x, 96, strides=1), 192, strides=2)


def squeeze_and_excitation(x: Any) -> Any:
    """Feature maps (n, h, w, c) times a weight of 0..1 per image and channel (Hu et al. 2018, eq. 2 to 4)."""
    from keras import layers

    channels = x.shape[-1]
    weights = layers.GlobalAveragePooling2D(keepdims=True)(x)
    weights = layers.Dense(channels // SQUEEZE_RATIO, activation="relu")(weights)
    return layers.multiply([x, layers.Dense(channels, activation="sigmoid")(weights)])


def separable_block(x: Any, filters: int) -> Any:
    """Two separable convolutions and a pooling that halves the side, plus a 1x1 shortcut of stride 2 (Chollet 2017)."""
    from keras import layers

    def separable(x: Any) -> Any:
        x = layers.SeparableConv2D(filters, 3, padding="same", use_bias=False)(x)
        return batch_normalization()(momentum=BATCH_NORM_MOMENTUM)(x)

    branch = separable(layers.ReLU()(separable(x)))
    branch = layers.MaxPooling2D(3, 2, padding="same")(branch)
    every_other = x[:, ::2, ::2]  # in place of strides: those of a 1x1 kernel crash TensorFlow 2.21, float32 on a CPU
    return layers.add([branch, convolution(every_other, filters, size=1)])


def patch_mean(x: Any) -> Any:
    """The mean 3x3 patch of feature maps (n, h, w, c), zeros around them: (n, 9 c).

    A dense layer on it gives the mean over the image of a 3x3 convolution with the same weights.
    """
    from keras import layers

    height, width = x.shape[1:3]
    padded = layers.ZeroPadding2D()(x)
    shifted = [padded[:, top : top + height, left : left + width] for top in range(3) for left in range(3)]
    return layers.concatenate([layers.GlobalAveragePooling2D()(maps) for maps in shifted])


def dense_head(task: Task, x: Any, hidden: tuple[int, ...], dropout: float) -> Any:
    """Logits (n, n_classes) from features (n, d) by dense layers of `hidden` units, each with ReLU and dropout."""
    from keras import layers

    for units in hidden:
        x = layers.Dropout(dropout)(layers.Dense(units, activation="relu", kernel_initializer="he_normal")(x))
    return logits(task)(x)


def _residual(task: Task, name: str, trunk: Callable[[Any], Any]) -> Any:
    """Classifier on `trunk`: most steps are made on smaller images, as in DAWNBench's winners (Coleman et al. 2017).

    Trained by `muon`, in half the steps on twice the batch, as what it costs a step is the same for any batch.
    """
    from fer_bench.models.deep.training import KerasClassifier, Network, Phase

    image, dropout = sized(GRAY_48, task, 12, name), float(task.parameters.get("dropout", 0.2))
    share, scale = COARSE
    phase = Phase("all layers", 1.0, 18e-3, coarse=(share, round(scale * image.size)))

    def network(x: Any) -> Any:
        from keras import layers

        x = layers.Dropout(dropout)(layers.GlobalAveragePooling2D()(trunk(x)))
        return logits(task)(x)

    def build() -> Network:
        model = from_pixels(task, image, network, any_size=True)
        return Network(model, (phase,), merged=2, optimizer=muon(), answering=over_zooms(model, image.size))

    return KerasClassifier(task, image, build, BATCH_SIZE)


def _from_scratch(
    task: Task, image: ImageInput, network: Callable[[Any], Any], learning_rate: float, batch_size: int = BATCH_SIZE
) -> Any:
    """Classifier on `network`, see `from_pixels`, all its layers trained in one phase."""
    from fer_bench.models.deep.training import KerasClassifier, Network, Phase

    def build() -> Network:
        return Network(from_pixels(task, image, network), (Phase("all layers", 1.0, learning_rate),))

    return KerasClassifier(task, image, build, batch_size)
