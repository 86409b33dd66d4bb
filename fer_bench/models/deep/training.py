"""KerasClassifier: a Keras network in scikit-learn's coat, trained for a fixed number of gradient steps."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fer_bench.models.deep.augmentation import DEFAULT, check_names
from fer_bench.models.deep.batches import Batches, Inputs, Pixels, padded, prefetch
from fer_bench.models.deep.checkpoint import Checkpoint, needed_by
from fer_bench.models.deep.frozen import FrozenPass
from fer_bench.models.deep.losses import LABEL_SMOOTHING, loss_function
from fer_bench.models.deep.parameters import check_parameters
from fer_bench.models.deep.precision import dtype_policy, has_gpu, resolve_precision
from fer_bench.models.deep.watch import PLATEAU, Watch, evaluation_steps
from fer_bench.models.registry import ImageInput
from fer_bench.models.task import FOCAL, Task

WEIGHT_DECAY = 0.05
WARM_UP = 0.05  # of a phase's steps


@dataclass(frozen=True)
class Phase:
    """A stretch of training with a schedule of its own: warm-up to `learning_rate`, then cosine down to 0.

    share: of the run's steps; shares add up to 1.
    model: what is trained, from the inputs of this phase to logits; by default the network.
    view: images as the inputs of `model`; by default their pixels.
    """

    name: str
    share: float
    learning_rate: float
    model: Any = None
    view: Callable[[np.ndarray], Inputs] | None = None


@dataclass(frozen=True)
class Network:
    """A built model from inputs to logits, its phases, and where its first weights come from.

    The last phase trains `model` itself: its view is that of prediction too.
    merged: batches that one step takes together, unless a batch size is asked for; as many fewer are the steps.
    frozen: the pass that makes the inputs of `model` from images, or None; frozen_parameters: of what makes it.
    """

    model: Any
    phases: tuple[Phase, ...]
    weights: str = "random"
    frozen: FrozenPass | None = None
    frozen_parameters: int = 0
    merged: int = 1


class KerasClassifier:
    """Trains the network that `build()` returns on uint8 images (n, h, w) or (n, h, w, 3) of any size.

    AdamW (Loshchilov & Hutter 2019) with a warm-up and cosine schedule for exactly `task.steps` batches, whatever the
    number of rows; seeded augmentation of training images. The weights kept are those with the best unweighted
    macro-F1 on `task.validation`, looked at up to 20 times, the end included. Where `task.checkpoint` names a file,
    training that was cut off goes on from there.

    `task.parameters` may hold: batch_size; learning_rate, a factor on that of every phase; weight_decay;
    label_smoothing; augmentation, names with commas between them; mixup, its alpha; precision, "auto", "float32" or
    "bfloat16"; schedule, "cosine" or "plateau"; patience, evaluations without a better one after which to stop.

    Fitted: history_ (a dict per evaluation), n_parameters_, steps_ (gradient steps made: fewer where patience was
    lost), weights_, device_ ("cpu" or "gpu"), notes_, earlier_seconds_ (of the training that was cut off), frozen_
    (the pass that runs share, or None).
    """

    def __init__(self, task: Task, image: ImageInput, build: Callable[[], Network], batch_size: int) -> None:
        if not task.steps or task.steps < 1:
            raise ValueError(f"a network needs a positive number of gradient steps, not {task.steps}")
        check_parameters(task.parameters)
        self.task, self.image, self.build = task, image, build
        self.own_steps, self.own_batch_size = task.steps, batch_size
        self.augmentation = augmentation_names(task)

    def fit(
        self,
        X: np.ndarray,
        y: np.ndarray,
        sample_weight: np.ndarray | None = None,
        rows: np.ndarray | None = None,
    ) -> "KerasClassifier":
        """Train on images X (n, h, w[, 3]) and labels y, int (n,).

        rows: int64 (m,), which of them to train on, repeats allowed; all by default. sample_weight: (m,).
        Raises FloatingPointError as soon as the loss is not finite.
        """
        if sample_weight is not None and self.task.loss.name == FOCAL:
            raise ValueError("focal loss is not stacked on sample weights: it has a weight per class of its own, alpha")
        rows = np.arange(len(X)) if rows is None else rows
        self.create()
        alpha = float(self.task.parameters.get("mixup", 0.0))
        seed, n_classes = self.task.random_state, self.task.n_classes
        batches = Batches(rows, y[rows], sample_weight, n_classes, self.steps_, self.batch_size, seed, alpha)
        with needed_by(self.task):
            self._train(X, batches)
        return self

    def create(self) -> None:
        """Build the network, not trained yet, with an empty history; steps_ are those to make."""
        import keras

        keras.utils.set_random_seed(self.task.random_state)
        self.policy = resolve_precision(self.task.parameters.get("precision", "auto"))
        backend = keras.backend.backend()
        self.notes_ = ["bfloat16" if self.policy == "mixed_bfloat16" else self.policy]
        self.notes_ += [f"computed by {backend}"] * (backend != "tensorflow")
        self.device_ = "gpu" if has_gpu() else "cpu"
        self.history_: list[dict[str, Any]] = []
        self.earlier_seconds_ = 0.0
        with dtype_policy(self.policy):
            self.network = self.build()
            self._predictors = {id(self.network.model): with_softmax(self.network.model)}
        self.steps_ = math.ceil(self.own_steps / self.network.merged)
        self.batch_size = int(self.task.parameters.get("batch_size", self.own_batch_size * self.network.merged))
        self.frozen_ = self.network.frozen
        self.n_parameters_ = self.network.model.count_params() + self.network.frozen_parameters
        self.weights_ = self.network.weights

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Class probabilities, float32 (n, n_classes), of images as `fit` got them: the mean of each and its mirror."""
        inputs = self.view(self.network.phases[-1], X)
        return (self.forward(self.network.model, inputs) + self.forward(self.network.model, inputs, mirrored=True)) / 2

    def view(self, phase: Phase, X: np.ndarray) -> Inputs:
        """Images as the inputs of a phase."""
        return phase.view(X) if phase.view else Pixels(X, self.image.size, self.augmentation)

    def forward(self, model: Any, inputs: Inputs, mirrored: bool = False) -> np.ndarray:
        """Class probabilities, float32 (n, n_classes), that `model` gives `inputs` or their mirror images."""
        if id(model) not in self._predictors:
            self._predictors[id(model)] = with_softmax(model)
        return in_batches(self._predictors[id(model)], inputs, self.batch_size, mirrored)

    def _train(self, X: np.ndarray, batches: Batches) -> None:
        validation = self.task.validation[0]
        at = evaluation_steps(self.steps_, self.batch_size, len(validation))
        watch = Watch(self, at, n_rows=len(batches.rows))
        checkpoint = Checkpoint(self, watch)
        end, first = 0, checkpoint.load()
        for phase, steps in zip(self.network.phases, phase_steps(self.network.phases, self.steps_), strict=True):
            start, end = end, end + steps
            if first >= end:
                continue
            model = phase.model or self.network.model
            self.compile(model, phase.learning_rate, steps)
            if resumed := first > start:
                checkpoint.restore_optimizer(model)
            indices = range(max(start, first), end)
            watch.begin(phase, model, self.view(phase, validation), indices.start, resumed)
            for batch in prefetch(batches, self.view(phase, X), indices, self.task.n_jobs):
                watch(model.train_on_batch(*batch, return_dict=True))
                if watch.has_lost_patience:
                    break
                checkpoint.save_now_and_then(model)
        watch.restore_best()
        self.steps_ = watch.made

    def compile(self, model: Any, learning_rate: float, steps: int) -> None:
        """Compile `model` for `steps` gradient steps: AdamW, biases and normalisation not decayed, loss, schedule."""
        import keras

        wanted = self.task.parameters
        learning_rate *= float(wanted.get("learning_rate", 1.0))
        schedule = learning_rate if wanted.get("schedule") == PLATEAU else cosine(learning_rate, steps)
        optimizer = keras.optimizers.AdamW(schedule, weight_decay=float(wanted.get("weight_decay", WEIGHT_DECAY)))
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        optimizer.build(model.trainable_variables)  # inside the first step it would cost TensorFlow a second trace
        loss = loss_function(self.task.loss, float(wanted.get("label_smoothing", LABEL_SMOOTHING)))
        # XLA takes a minute to compile on a CPU under TensorFlow; jax has nothing else
        model.compile(optimizer, loss=loss, metrics=["accuracy"], jit_compile=keras.backend.backend() == "jax")


def with_softmax(model: Any) -> Any:
    """`model` with probabilities, float32, in place of its logits."""
    import keras

    return keras.Model(model.input, keras.layers.Softmax(dtype="float32")(model.output))


def in_batches(model: Any, inputs: Inputs, batch_size: int, mirrored: bool = False) -> np.ndarray:
    """What `model`, never compiled, gives `inputs` or their mirror images, float32 (n, ...)."""
    outputs = np.empty((len(inputs), *model.output.shape[1:]), dtype=np.float32)
    for start in range(0, len(inputs), batch_size):
        batch = inputs.plain(slice(start, start + batch_size), mirrored)
        outputs[start : start + len(batch)] = model.predict_on_batch(padded(batch, batch_size))[: len(batch)]
    return outputs


def cosine(learning_rate: float, steps: int) -> Any:
    """A linear warm-up over 5 % of `steps` to `learning_rate`, then half a cosine down to 0."""
    from keras.optimizers import schedules

    warm_up = max(1, round(WARM_UP * steps))
    return schedules.CosineDecay(
        learning_rate / warm_up, max(1, steps - warm_up), warmup_target=learning_rate, warmup_steps=warm_up
    )


def augmentation_names(task: Task) -> tuple[str, ...]:
    """The augmentations asked for, or the default ones."""
    asked = task.parameters.get("augmentation")
    return DEFAULT if asked is None else check_names(asked)


def phase_steps(phases: tuple[Phase, ...], steps: int) -> list[int]:
    """Gradient steps of each phase by its share, adding up to `steps` exactly."""
    ends = np.rint(np.cumsum([phase.share for phase in phases]) * steps).astype(int)
    return np.diff(ends, prepend=0).tolist()


def forget_networks() -> None:
    """Let Keras drop what it keeps of networks that are not used any more."""
    import keras

    keras.utils.clear_session()
