"""ImageNet backbones of keras.applications, fine-tuned in phases."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fer_bench.errors import FerBenchError
from fer_bench.models.deep.assembly import RECIPE_SEARCH, from_pixels, logits, register_network, sized, with_defaults
from fer_bench.models.deep.pretrained import (
    EFFICIENTNET_B0,
    INCEPTION_V3,
    MOBILENET_V2,
    RESNET50,
    UNAVAILABLE,
    VGG16,
    Backbone,
    FirstWeights,
    freeze_batch_norm,
    hasten_batch_norm,
    load_backbone,
)
from fer_bench.models.registry import Choice, Decorator, Search
from fer_bench.models.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from fer_bench.models.deep.frozen import FrozenPass, Stored
    from fer_bench.models.deep.training import KerasClassifier, Network

HEAD, LAST_BLOCK, ALL = "head", "last-block", "all"  # how far from its end a pre-trained network is tuned
SHARES = {HEAD: (1.0,), LAST_BLOCK: (0.1, 0.9), ALL: (0.1, 0.4, 0.5)}  # of the gradient steps, by phase
HEAD_ALONE = 4  # times as large are its batches, as many fewer its steps
HEAD_RATE, ALL_RATE, RANDOM_RATE = 1e-3, 1e-4, 3e-4  # that of the last block is its backbone's
STEPS_WITHOUT = 10  # which tell what a longer training tells of fine-tuning: nothing
SEARCH: Search = {
    **RECIPE_SEARCH,
    "dropout": Choice((0.5, 0.2, 0.35)),
    "hidden": Choice((256, 128, 512)),
}
MAPS, POOLED = "maps", "pooled"


def _fine_tuned(name: str, title: str, backbone: Backbone, n_parameters: int, quick: int, recipe: int = 1) -> Decorator:
    """Registers a network on `backbone`. n_parameters: with seven classes. quick: steps of the quick budget."""
    return register_network(
        name, image=backbone.image, pretrained=backbone.file_name, n_parameters=n_parameters, recipe=recipe,
        steps={"quick": quick, "standard": 6_000, "full": 18_000}, search=SEARCH,
        summary=f"{title} fine-tuned from ImageNet weights: head first, then the last block",
    )  # fmt: skip


@_fine_tuned("vgg16", "VGG16", VGG16, n_parameters=14_849_863, quick=30, recipe=2)
def vgg16(task: Task) -> Any:
    """Configuration D of Simonyan & Zisserman 2015, without its dense layers."""
    return transfer(task, VGG16)


@_fine_tuned("resnet50", "ResNet50", RESNET50, n_parameters=24_114_055, quick=16)
def resnet50(task: Task) -> Any:
    """The 50-layer network of He et al. 2016, without its dense layer."""
    return transfer(task, RESNET50)


@_fine_tuned("inception-v3", "Inception v3", INCEPTION_V3, n_parameters=22_329_127, quick=8)
def inception_v3(task: Task) -> Any:
    """The third Inception network, Szegedy et al. 2016; fine-tuned from its last reduction on."""
    return transfer(task, INCEPTION_V3)


@_fine_tuned("efficientnet-b0", "EfficientNet-B0", EFFICIENTNET_B0, n_parameters=4_379_306, quick=8)
def efficientnet_b0(task: Task) -> Any:
    """The smallest network of Tan & Le 2019; fine-tuned from its sixth block on."""
    return transfer(with_defaults(task, precision="float32"), EFFICIENTNET_B0)


@_fine_tuned("mobilenet-v2", "MobileNetV2", MOBILENET_V2, n_parameters=2_587_719, quick=30)
def mobilenet_v2(task: Task) -> Any:
    """The inverted residuals of Sandler et al. 2018; fine-tuned from the sixth block on.

    In float32, because CPUs do depthwise convolutions in bfloat16 at half the speed, if at all.
    """
    return transfer(with_defaults(task, precision="float32"), MOBILENET_V2)


def transfer(task: Task, backbone: Backbone) -> Any:
    """Classifier on `backbone`, tuned in as many phases as `task.parameters["fine_tune"]` says.

    "head": a dense layer of `hidden` units and the logits, on the pooled features of the frozen backbone. Alone it sees
    as many images in a quarter of the steps: its steps cost next to nothing but their number.
    "last-block", the default: then the layers behind `backbone.cut` too, at a low rate. "all": then all layers, at a
    lower one. BatchNormalization stays as it is in ImageNet's weights throughout. What is frozen passes over the
    images once, see `FrozenPass`. Without trained weights nothing is frozen: every layer is trained from the start;
    where that was not asked for, on the smallest images and for `STEPS_WITHOUT` at most, as a row that holds the place.
    Raises FerBenchError for an image size below the backbone's minimum.
    """
    from fer_bench.models.deep.training import KerasClassifier, Network, Phase

    how_far(task)  # what it refuses is refused before anything is built
    if task.weights == UNAVAILABLE:
        steps = task.steps and min(task.steps, STEPS_WITHOUT)
        task = replace(with_defaults(task, image_size=backbone.minimum), steps=steps)
    image = sized(backbone.image, task, backbone.minimum, backbone.application)

    def build() -> Network:
        trunk, weights = load_backbone(backbone, image.size, task.weights)
        if weights.origin != "random":
            freeze_batch_norm(trunk)
            return in_phases(classifier, backbone, trunk, weights)
        hasten_batch_norm(trunk)
        whole = from_pixels(task, image, lambda x: Head(task, backbone).of_maps(trunk(x)))
        return Network(whole, (Phase("all layers", 1.0, RANDOM_RATE),), weights)

    classifier = KerasClassifier(task, image, build, backbone.batch_size)
    return classifier


def how_far(task: Task) -> str:
    """`task.parameters["fine_tune"]`, or what it is by default. Raises FerBenchError where it is no such thing."""
    asked = task.parameters.get("fine_tune", LAST_BLOCK)
    if asked not in SHARES:
        raise FerBenchError(f"fine_tune is {asked!r}, not one of {', '.join(SHARES)}")
    return asked


class Head:
    """The layers behind a backbone, the same ones wherever they are applied.

    What comes out of one without BatchNormalization has values up to hundreds, on which a ReLU dies: it is normalized.
    """

    def __init__(self, task: Task, backbone: Backbone) -> None:
        from keras import layers

        self.pool = layers.GlobalAveragePooling2D()
        self.scale = layers.Identity() if backbone.has_batch_norm else layers.BatchNormalization()
        self.hidden = layers.Dense(int(task.parameters.get("hidden", 256)), activation="relu")
        self.dropout = layers.Dropout(float(task.parameters.get("dropout", 0.5)))
        self.logits = logits(task)

    def of_maps(self, maps: Any) -> Any:
        """Logits, float32 (n, n_classes), from feature maps (n, h, w, channels)."""
        return self.of_pooled(self.pool(maps))

    def of_pooled(self, pooled: Any) -> Any:
        """Logits from the means of feature maps, (n, channels)."""
        return self.logits(self.dropout(self.hidden(self.scale(pooled))))


def in_phases(classifier: KerasClassifier, backbone: Backbone, trunk: Any, weights: FirstWeights) -> Network:
    """Network of `classifier` on `trunk`, which has `weights`; each phase has a model of just what it trains.

    The models share their layers. Those of the first two phases take what the frozen part made of the images.
    """
    import keras

    from fer_bench.models.deep.frozen import Stored
    from fer_bench.models.deep.training import Network, Phase

    task, image = classifier.task, classifier.image
    head, how = Head(task, backbone), how_far(task)
    frozen = frozen_pass(classifier, backbone, trunk)
    cut = trunk.get_layer(backbone.cut).output
    augmentation = classifier.recipe.augmentation
    mirror = "mirror" in augmentation
    if how != ALL and "augmentation" in task.parameters and set(augmentation) - {"mirror"}:
        classifier.remarks.append("augmented by mirroring alone: what is stored of the frozen part fits nothing else")

    def head_model() -> Any:
        pooled = keras.Input(trunk.output.shape[-1:])
        return keras.Model(pooled, head.of_pooled(pooled))

    def block_model() -> Any:
        maps = keras.Input(cut.shape[1:])
        return keras.Model(maps, head.of_maps(keras.Model(cut, trunk.output)(maps)))

    def whole_model() -> Any:
        return from_pixels(task, image, lambda x: head.of_maps(trunk(x)))

    def stored(output: str) -> Callable[[np.ndarray], Stored]:
        return lambda images: Stored(frozen.outputs(images)[output], mirror)

    merged = HEAD_ALONE if how == HEAD else 1
    stages = (
        ("head", HEAD_RATE * merged, head_model, stored(POOLED)),
        ("last block", backbone.block_rate, block_model, stored(MAPS)),
        ("all layers", ALL_RATE, whole_model, None),
    )
    shares = SHARES[how]
    chosen = stages[: len(shares)]
    models = [make() for _, _, make, _ in reversed(chosen)][::-1]  # a layer's first call is that in the whole network
    phases = tuple(
        Phase(name, share, rate, model=model, view=view)
        for (name, rate, _, view), share, model in zip(chosen, shares, models, strict=True)
    )
    frozen_parameters = trunk.count_params() + models[0].count_params() - models[-1].count_params()
    join = None if how == ALL else whole_model
    return Network(models[-1], phases, weights, frozen, frozen_parameters, merged, join)


def frozen_pass(classifier: KerasClassifier, backbone: Backbone, trunk: Any) -> FrozenPass:
    """The pass of `trunk` over images: the maps at its cut, and its pooled output.

    It is made by another copy of the trunk: by the time of a pass over test images, this one has been trained.
    """
    import keras

    from fer_bench.models.deep.backend import dtype_policy
    from fer_bench.models.deep.frozen import FrozenPass, weights_digest, without_batch_norm

    task, image = classifier.task, classifier.image
    policy = keras.config.dtype_policy().name

    def make() -> Any:
        with dtype_policy(policy):
            copy, _ = load_backbone(backbone, image.size, task.weights)
            if weights_digest(copy.get_weights()) != about["weights"]:  # the pass would be stored as that of the others
                raise FerBenchError(
                    f"the weights of {backbone.application} changed while the run went on; run it again"
                )
            copy = without_batch_norm(copy)
            pooled = keras.layers.GlobalAveragePooling2D()(copy.output)
            return from_pixels(task, image, keras.Model(copy.input, [copy.get_layer(backbone.cut).output, pooled]))

    about = {
        "application": backbone.application, "weights": weights_digest(trunk.get_weights()), "cut": backbone.cut,
        "size": image.size, "precision": policy,
    }  # fmt: skip
    return FrozenPass(make, (MAPS, POOLED), about, task.progress)
