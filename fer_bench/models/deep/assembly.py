"""What networks share: their cards, raw pixels in, preprocessing inside, logits out, zooms, losses, Muon."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from fer_bench.errors import FerBenchError
from fer_bench.models.registry import Choice, ImageInput, Range, Search, register_model
from fer_bench.models.task import CROSS_ENTROPY, FOCAL, LOGIT_ADJUSTED, Loss, Task

if TYPE_CHECKING:
    import numpy as np

DEEP_LOSSES = (CROSS_ENTROPY, FOCAL, LOGIT_ADJUSTED)
register_network = partial(register_model, features="images", family="deep", losses=DEEP_LOSSES)
IMAGENET_STD = (0.229, 0.224, 0.225)
BATCH_NORM_MOMENTUM = 0.9  # Keras' 0.99 lags behind for 400 steps, longer than a quick run
LOGITS = "logits"
"""The name of the last layer, by which re-training of the classifier finds it."""
ADAM_SHARE = 1 / 3  # of the learning rate, for what AdamW trains where `muon` does the rest
MUON_MOMENTUM = 0.9
ZOOMS = (0.9, 1.1)
CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
RECIPE_SEARCH: Search = {
    "learning_rate": Range(0.3, 3.0, log=True, default=1.0),
    "weight_decay": Range(0.005, 0.2, log=True, default=0.05),
    "label_smoothing": Choice((0.1, 0.0, 0.2)),
}
"""What is worth tuning in every network, pre-trained ones too."""
SEARCH: Search = {
    **RECIPE_SEARCH,
    "augmentation": Choice(("mirror,rotation,zoom,shift", "mirror,shift", "mirror,rotation,zoom,shift,erasing")),
}
"""What is worth tuning in networks that see the pixels of every batch."""


def sized(image: ImageInput, task: Task, minimum: int, name: str) -> ImageInput:
    """`image` with the side that `task.parameters["image_size"]` asks for, in pixels, or its own.

    Raises FerBenchError where that is below the `minimum` of the network `name`.
    """
    size = int(task.parameters.get("image_size", image.size))
    if size < minimum:
        raise FerBenchError(f"image size {size} is below the minimum of {minimum} of {name}")
    return replace(image, size=size)


def with_defaults(task: Task, **parameters: Any) -> Task:
    """`task` with `parameters` where it asks for no other value of theirs: a network's own recipe."""
    return replace(task, parameters={**parameters, **task.parameters})


def from_pixels(task: Task, image: ImageInput, network: Callable[[Any], Any], any_size: bool = False) -> Any:
    """Model from raw pixels, uint8 (n, size, size, 1 or 3) as the dataset has them, to what `network` makes of them.

    `network` takes what `preprocess` gives and returns logits, float32 (n, n_classes). any_size: squares of any side.
    """
    from keras import Input, Model

    channels = 1 if len(task.image_shape) == 2 else task.image_shape[2]
    side = None if any_size else image.size
    pixels = Input((side, side, channels), dtype="uint8", name="pixels")
    return Model(pixels, network(preprocess(pixels, image)))


def logits(task: Task) -> Any:
    """The last layer: float32 (n, n_classes) from features (n, d), whatever the dtype policy."""
    from keras import layers

    return layers.Dense(task.n_classes, dtype="float32", name=LOGITS)


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
        "none": (1.0, 0.0),
    }[image.scaling]
    return layers.Rescaling(scale, offset, dtype="float32")(x)


def loss_function(loss: Loss, label_smoothing: float) -> Any:
    """`loss` as a function of one-hot (or mixed) labels and logits, both (n, k), giving float32 (n,).

    "cross-entropy" smooths labels by `label_smoothing`, evenly over the classes (Szegedy et al. 2016).
    "logit-adjusted": cross-entropy of logits + log_prior (Menon et al. 2021, eq. 10), smoothed towards the prior: an
    even share for a rare class would be a gift to it, as large in logits as the class is rare.
    "focal": -alpha_t (1 - p_t)^gamma log p_t (Lin et al. 2017, eq. 5) of a softmax in place of the paper's sigmoids;
    labels are not smoothed.
    Raises ValueError for a loss that is none of them.
    """
    from keras import losses, ops

    def cross_entropy(labels: Any, logits: Any) -> Any:
        return losses.categorical_crossentropy(labels, logits, from_logits=True, label_smoothing=label_smoothing)

    def focal(labels: Any, logits: Any) -> Any:
        log_p = ops.log_softmax(logits)
        missed = ops.maximum(1 - ops.exp(log_p), 1e-7)  # 0 would make the gradient infinite where gamma < 1
        weighed = labels if loss.alpha is None else labels * ops.convert_to_tensor(loss.alpha, "float32")
        return -ops.sum(weighed * missed**loss.gamma * log_p, axis=-1)

    def adjusted(labels: Any, logits: Any) -> Any:
        log_prior = ops.convert_to_tensor(loss.log_prior, "float32")
        smoothed = (1 - label_smoothing) * labels + label_smoothing * ops.softmax(log_prior)
        return losses.categorical_crossentropy(smoothed, logits + log_prior, from_logits=True)

    functions = {CROSS_ENTROPY: cross_entropy, FOCAL: focal, LOGIT_ADJUSTED: adjusted}
    if loss.name not in functions:
        raise ValueError(f"no loss {loss.name!r} for networks: {', '.join(functions)}")
    return functions[loss.name]


def over_zooms(model: Any, side: int) -> Any:
    """The mean answer of `model`, of images of any size, to those of `side` pixels and to these at each of `ZOOMS`.

    As logits, the logarithms of mean probabilities: Simonyan & Zisserman 2015 (arXiv:1409.1556), section 4.2.
    """
    import keras
    from keras import ops

    from fer_bench.metrics import SMALLEST

    pixels = keras.Input((side, side, model.input.shape[-1]), dtype=model.input.dtype, name="pixels")
    planes, views = ops.transpose(ops.cast(pixels, "float32"), (0, 3, 1, 2)), [pixels]
    for zoom in ZOOMS:
        rows = zooming(side, zoom)
        zoomed = ops.round(ops.matmul(ops.matmul(rows, planes), rows.T))
        views.append(ops.cast(ops.transpose(zoomed, (0, 2, 3, 1)), model.input.dtype))
    found = ops.softmax(model(ops.concatenate(views, axis=0)))
    mean = ops.mean(ops.reshape(found, (len(views), -1, found.shape[-1])), axis=0)
    return keras.Model(pixels, ops.log(ops.maximum(mean, SMALLEST)))


def zooming(side: int, zoom: float) -> np.ndarray:
    """What each pixel of a row takes of each, float32 (side, side), where it is enlarged by `zoom` about its middle.

    By linear interpolation; what comes into view repeats the border.
    """
    import numpy as np

    places, middle = np.arange(side), (side - 1) / 2
    wanted = np.clip(middle + (places - middle) / zoom, 0, side - 1)
    return np.maximum(0, 1 - np.abs(wanted[:, None] - places)).astype(np.float32)


@cache
def muon() -> Any:
    """The class of Keras' Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon), for convolutions as well.

    Keras leaves these to AdamW. Here a kernel (h, w, c, filters) is one matrix (h w c, filters), whose steps are
    orthogonal. Steps of logits, biases and normalisation are AdamW's.
    """
    import keras
    from keras import ops

    class Muon(keras.optimizers.Muon):
        def __init__(self, learning_rate: Any, weight_decay: float) -> None:
            super().__init__(
                learning_rate, weight_decay=weight_decay, adam_weight_decay=weight_decay, adam_lr_ratio=ADAM_SHARE,
                momentum=MUON_MOMENTUM, exclude_layers=[LOGITS],
            )  # fmt: skip

        def _should_use_adamw(self, variable: Any) -> bool:
            return len(variable.shape) != 4 and super()._should_use_adamw(variable)

        def _muon_update_step(self, gradient: Any, variable: Any, lr: Any, m: Any) -> None:
            self.assign_add(m, gradient + m * (self.momentum - 1))
            matrix = ops.reshape(gradient + self.momentum * m, (-1, variable.shape[-1]))
            update = self.lr_adjust(lr * self.zeropower_via_newtonschulz5(matrix, self.ns_steps))
            self.assign_sub(variable, ops.reshape(update, variable.shape))

        def zeropower_via_newtonschulz5(self, x: Any, steps: int) -> Any:
            """Keras' iteration of a matrix `x` (m, n), made on its Gram matrix: half the arithmetic, the same result.

            Each step multiplies x by a polynomial of the Gram matrix of its shorter side, and these commute.
            """
            x = x / (ops.norm(x) + 1e-7)
            is_tall = x.shape[0] > x.shape[1]
            gram = ops.matmul(ops.transpose(x), x) if is_tall else ops.matmul(x, ops.transpose(x))
            identity = product = ops.eye(gram.shape[0])
            for _ in range(steps):
                factor = self.muon_a * identity + self.muon_b * gram + self.muon_c * ops.matmul(gram, gram)
                product = ops.matmul(product, factor)
                gram = ops.matmul(ops.matmul(factor, gram), factor)
            return ops.matmul(x, product) if is_tall else ops.matmul(product, x)

    return Muon
