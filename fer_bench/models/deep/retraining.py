"""Classifier re-training (cRT): a trained network's last layer, learned anew on class-balanced rows.

Kang et al. 2020, Decoupling Representation and Classifier for Long-Tailed Recognition (arXiv:1910.09217), section 4.
"""

from pathlib import Path
from typing import Any

import numpy as np

from fer_bench.errors import FerBenchError
from fer_bench.models.deep.assembly import LOGITS
from fer_bench.models.deep.batches import Batches, Inputs, prefetch
from fer_bench.models.deep.checkpoint import Checkpoint, needed_by
from fer_bench.models.deep.frozen import Stored
from fer_bench.models.deep.pretrained import load_weights
from fer_bench.models.deep.training import KerasClassifier, Phase, in_batches
from fer_bench.models.deep.watch import Watch, evaluation_steps

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
    task, network = classifier.task, classifier.network
    head = find_head(network.model)
    trunk, units = keras.Model(network.model.input, head.input), keras.Input(head.input.shape[1:])
    untrained = head.get_weights()
    load_weights(network.model, weights, "this network")
    head.set_weights(untrained)
    classifier.steps_ = max(1, round(SHARE * classifier.steps_))
    classifier.notes_.append(f"all but the last layer from {weights.parent.name}")
    batches = Batches(rows, y[rows], None, task.n_classes, classifier.steps_, classifier.batch_size, task.random_state)
    train, validation = (classifier.view(network.phases[-1], images) for images in (X, task.validation[0]))
    with needed_by(task):
        _train(classifier, trunk, keras.Model(units, head(units)), batches, train, validation)
    return classifier


def find_head(model: Any) -> Any:
    """The dense layer "logits" of a network. Raises FerBenchError where there is none."""
    from keras import layers

    head = next((layer for layer in model.layers if layer.name == LOGITS and isinstance(layer, layers.Dense)), None)
    if head is None:
        raise FerBenchError(f"has no dense layer named {LOGITS!r} at its end, which could be re-trained alone")
    return head


def _train(
    classifier: KerasClassifier, trunk: Any, model: Any, batches: Batches, train: Inputs, validation: Inputs
) -> None:
    """Train `model`, the last layer, on what `trunk` makes of the batches; keep its best weights."""
    steps, batch_size = classifier.steps_, classifier.batch_size
    phase = Phase("last layer", 1.0, max(phase.learning_rate for phase in classifier.network.phases))
    watch = Watch(classifier, evaluation_steps(steps, batch_size, len(validation)), n_rows=len(batches.rows))
    checkpoint = Checkpoint(classifier, watch)
    first = checkpoint.load()
    classifier.compile(model, phase.learning_rate, steps)
    if first:
        checkpoint.restore_optimizer(model)
    unmirrored = in_batches(trunk, validation, batch_size)[np.newaxis]
    watch.begin(phase, model, Stored(unmirrored, mirror=False), first, resumed=first > 0)
    for inputs, labels, _ in prefetch(batches, train, range(first, steps), classifier.task.n_jobs):
        watch(model.train_on_batch(np.asarray(trunk.predict_on_batch(inputs), np.float32), labels, return_dict=True))
        if watch.has_lost_patience:
            break
        checkpoint.save_now_and_then(model)
    watch.restore_best()
    classifier.steps_ = watch.made
