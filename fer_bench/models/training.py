"""KerasClassifier: a Keras network in scikit-learn's coat, trained for a fixed number of gradient steps."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fer_bench.models.batches import Batches, prefetch, view
from fer_bench.models.registry import ImageInput
from fer_bench.models.task import CROSS_ENTROPY, FOCAL, Task

LABEL_SMOOTHING = 0.1
WEIGHT_DECAY = 0.05
WARM_UP = 0.05  # of a phase's steps
EVALUATIONS = 20  # at most, and no more images than EVALUATION_SHARE of those trained on: about 7 % of the time
EVALUATION_SHARE = 0.2


@dataclass(frozen=True)
class Phase:
    """A stretch of training with a schedule of its own: warm-up to `learning_rate`, then cosine down to 0.

    share: of the run's steps; shares add up to 1. prepare: called first, to set what is trainable.
    """

    name: str
    share: float
    learning_rate: float
    prepare: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Network:
    """A built model from uint8 pixels to logits, its phases, and where its first weights come from."""

    model: Any
    phases: tuple[Phase, ...]
    weights: str = "random"


class KerasClassifier:
    """Trains the network that `build()` returns on uint8 images (n, h, w) or (n, h, w, 3) of any size.

    AdamW (Loshchilov & Hutter 2019) with a warm-up and cosine schedule for exactly `task.steps` batches, whatever the
    number of rows; seeded augmentation of training images. The weights kept are those with the best unweighted
    macro-F1 on `task.validation`, looked at up to 20 times, the end included.

    Fitted: history_ (a dict per evaluation), n_parameters_, steps_, weights_, notes_.
    """

    def __init__(self, task: Task, image: ImageInput, build: Callable[[], Network], batch_size: int) -> None:
        if not task.steps or task.steps < 1:
            raise ValueError(f"a network needs a positive number of gradient steps, not {task.steps}")
        self.task, self.image, self.build, self.batch_size = task, image, build, batch_size
        self.steps_ = task.steps

    def fit(self, X: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None = None) -> "KerasClassifier":
        """Train on images X and labels y, int (n,). Raises FloatingPointError as soon as the loss is not finite."""
        import keras

        keras.utils.set_random_seed(self.task.random_state)
        policy = "mixed_bfloat16" if has_fast_bfloat16() else "float32"
        with dtype_policy(policy):
            network = self.build()
            probabilities = keras.layers.Softmax(dtype="float32")(network.model.output)
            self._predictor = keras.Model(network.model.input, probabilities)  # never compiled anew: traced once
        self.n_parameters_ = network.model.count_params()
        self.weights_ = network.weights
        self.notes_ = ["bfloat16" if policy == "mixed_bfloat16" else policy]
        self.history_: list[dict[str, Any]] = []
        batches = Batches(X, y, sample_weight, self.task, self.steps_, self.batch_size, self.image.size)
        self._train(network, batches)
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Class probabilities, float32 (n, n_classes), of images as `fit` got them."""
        probabilities = np.empty((len(X), self.task.n_classes), dtype=np.float32)
        for start in range(0, len(X), self.batch_size):
            images = view(X[start : start + self.batch_size], self.image.size)
            gap = self.batch_size - len(images)  # one batch shape only: another one would be traced anew
            padded = np.concatenate([images, np.zeros((gap, *images.shape[1:]), np.uint8)]) if gap else images
            probabilities[start : start + len(images)] = self._predictor.predict_on_batch(padded)[: len(images)]
        return probabilities

    def _train(self, network: Network, batches: Batches) -> None:
        watch = Watch(self, network.model, evaluation_steps(self.steps_, self.batch_size, len(self.task.validation[1])))
        step = 0
        for phase, steps in zip(network.phases, phase_steps(network.phases, self.steps_), strict=True):
            if steps == 0:
                continue
            phase.prepare()
            compile_model(network.model, phase.learning_rate, steps, self.task)
            for batch in prefetch(batches, range(step, step + steps), self.task.n_jobs):
                logs = network.model.train_on_batch(*batch, return_dict=True)
                step += 1
                watch(step, phase.name, logs)
        watch.restore_best()


class Watch:
    """Looks at a model while it is trained: history, progress, and the best weights so far."""

    def __init__(self, classifier: KerasClassifier, model: Any, at: frozenset[int]) -> None:
        self.classifier, self.model, self.at = classifier, model, at
        self.started = self.told = time.monotonic()
        self.since: list[tuple[float, float]] = []
        self.best_score, self.best_weights = -1.0, None

    def __call__(self, step: int, phase: str, logs: dict[str, float]) -> None:
        """Take note of the `logs` of gradient step number `step`, the first one being 1."""
        steps, task = self.classifier.steps_, self.classifier.task
        if not math.isfinite(logs["loss"]):
            raise FloatingPointError(f"the training loss became {logs['loss']} at step {step} of {steps} ({phase})")
        self.since.append((logs["loss"], logs["accuracy"]))
        if step in self.at:
            self._evaluate(step, phase)
        if step in self.at or time.monotonic() - self.told > 1:
            self.told = time.monotonic()
            score = f", val macro-F1 {self.best_score:.3f}" if self.best_weights else ""
            task.progress(step / steps, f"step {step}/{steps}{score}")

    def _evaluate(self, step: int, phase: str) -> None:
        X, y = self.classifier.task.validation
        probabilities = self.classifier.predict_proba(X)
        if not np.isfinite(probabilities).all():
            raise FloatingPointError(f"the validation probabilities are not finite at step {step} ({phase})")
        predicted = probabilities.argmax(axis=1)
        loss, accuracy = np.mean(self.since, axis=0)
        score = macro_f1(y, predicted, probabilities.shape[1])
        self.classifier.history_.append(
            {
                "step": step,
                "phase": phase,
                "seconds": round(time.monotonic() - self.started, 3),
                "learning_rate": float(self.model.optimizer.learning_rate),
                "loss": float(loss),
                "accuracy": float(accuracy),
                "val_loss": float(-np.log(np.maximum(probabilities[np.arange(len(y)), y], 1e-7)).mean()),
                "val_accuracy": float((predicted == y).mean()),
                "val_macro_f1": score,
            }
        )
        self.since.clear()
        if score > self.best_score:
            self.best_score, self.best_weights = score, self.model.get_weights()

    def restore_best(self) -> None:
        """Put the weights with the best validation macro-F1 back into the model."""
        self.model.set_weights(self.best_weights)


def compile_model(model: Any, learning_rate: float, steps: int, task: Task) -> None:
    """Compile `model` for `steps` gradient steps: AdamW without decay of biases and normalisation, cosine, loss."""
    from keras import optimizers

    warm_up = max(1, round(WARM_UP * steps))
    schedule = optimizers.schedules.CosineDecay(
        learning_rate / warm_up, max(1, steps - warm_up), warmup_target=learning_rate, warmup_steps=warm_up
    )
    optimizer = optimizers.AdamW(schedule, weight_decay=WEIGHT_DECAY)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    optimizer.build(model.trainable_variables)  # inside the first step it would cost TensorFlow a second trace
    model.compile(optimizer, loss=loss_function(task), metrics=["accuracy"], jit_compile=False)


def loss_function(task: Task) -> Any:
    """Loss of `task` on one-hot labels and logits, per image, so that sample weights multiply it.

    "cross-entropy" with labels smoothed by 0.1; "focal": -(1 - p_t)^gamma log p_t, equation 4 of Lin et al. 2017,
    without its alpha: one number for all classes only rescales the loss. Raises ValueError for a loss that is neither.
    """
    from keras import losses, ops

    def focal(labels: Any, logits: Any) -> Any:
        log_p = ops.log_softmax(logits)
        missed = ops.maximum(1 - ops.exp(log_p), 1e-7)  # 0 would make the gradient infinite where gamma < 1
        return -ops.sum(labels * missed**task.gamma * log_p, axis=-1)

    if task.loss == FOCAL:
        return focal
    if task.loss == CROSS_ENTROPY:
        return losses.CategoricalCrossentropy(from_logits=True, label_smoothing=LABEL_SMOOTHING)
    raise ValueError(f"no loss {task.loss!r} for networks: {CROSS_ENTROPY} or {FOCAL}")


def macro_f1(y_true: np.ndarray, y_pred: np.ndarray, n_classes: int) -> float:
    """Unweighted mean of the F1 scores of all classes; 0 for one that is neither present nor predicted."""
    confusion = np.bincount(y_true * n_classes + y_pred, minlength=n_classes**2).reshape(n_classes, n_classes)
    return float(np.mean(2 * confusion.diagonal() / np.maximum(confusion.sum(axis=0) + confusion.sum(axis=1), 1)))


def phase_steps(phases: tuple[Phase, ...], steps: int) -> list[int]:
    """Gradient steps of each phase by its share, adding up to `steps` exactly."""
    ends = np.rint(np.cumsum([phase.share for phase in phases]) * steps).astype(int)
    return np.diff(ends, prepend=0).tolist()


def evaluation_steps(steps: int, batch_size: int, n_validation: int) -> frozenset[int]:
    """The steps after which to evaluate: evenly spread, the last one always."""
    affordable = int(EVALUATION_SHARE * steps * batch_size / max(1, n_validation))
    times = min(EVALUATIONS, max(1, affordable), steps)
    return frozenset(round(steps * turn / times) for turn in range(1, times + 1))


def has_fast_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware (AVX512-BF16 or AMX); False where that is not known."""
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text().split() if cpuinfo.exists() else []
    return "avx512_bf16" in flags or "amx_bf16" in flags


@contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Keras builds layers under the policy `name` inside, and under what it was before outside."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
