"""Classifier re-training (cRT): a trained network's last layer, learned anew on class-balanced rows.

Kang et al. 2020, Decoupling Representation and Classifier for Long-Tailed Recognition (arXiv:1910.09217), section 4.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fer_bench.errors import FerBenchError
from fer_bench.models.deep.assembly import LOGITS
from fer_bench.models.deep.pretrained import load_weights
from fer_bench.models.deep.training import KerasClassifier, Phase

SHARE = 0.1  # of the gradient steps that the network was trained for; the paper takes 10 epochs after 90


def retrain_head(
    classifier: KerasClassifier, weights: Path, X: np.ndarray, y: np.ndarray, rows: np.ndarray
) -> KerasClassifier:
    """`classifier` fitted: the network with `weights`, all kept but the last layer, which is learned anew on `rows`.

    weights: a .weights.h5 file of the same network, trained. X: images as `fit` takes them. y: int (n,), labels.
    rows: int64 (m,), a class-balanced sample of the n, with repeats.
    Takes `SHARE` of the task's gradient steps, at the highest learning rate of the network's phases. The other layers
    only pass on what they make of augmented batches, without dropout or statistics of the batch.
    Raises FerBenchError where the network has no such layer, or `weights` are not its own.
    """
    import keras

    classifier.create()
    network = classifier.network
    head = find_head(network.model)
    trunk, units = keras.Model(network.model.input, head.input), keras.Input(head.input.shape[1:])
    untrained = head.get_weights()
    load_weights(network.model, weights, "this network")
    head.set_weights(untrained)
    classifier.remarks.append(f"all but the last layer from {weights.parent.name}")
    classifier.steps_ = max(1, round(SHARE * classifier.steps_))
    classifier.recipe = replace(classifier.recipe, mixup=0.0)
    rate = max(phase.learning_rate for phase in network.phases)
    last_layer = Phase("last layer", 1.0, rate, keras.Model(units, head(units)), network.phases[-1].view, trunk)
    classifier.network = replace(network, phases=(last_layer,))
    return classifier.train(X, y, rows)


def find_head(model: Any) -> Any:
    """The dense layer "logits" of a network. Raises FerBenchError where there is none."""
    from keras import layers

    head = next((layer for layer in model.layers if layer.name == LOGITS and isinstance(layer, layers.Dense)), None)
    if head is None:
        raise FerBenchError(f"has no dense layer named {LOGITS!r} at its end, which could be re-trained alone")
    return head
