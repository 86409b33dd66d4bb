"""KerasClassifier: a Keras network in scikit-learn's coat, trained for a fixed number of gradient steps."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np

from fer_bench.models.deep.assembly import loss_function
from fer_bench.models.deep.backend import Average, Program, dtype_policy, has_gpu, resolve_precision
from fer_bench.models.deep.batches import Batches, DevicePixels, Inputs, Pixels, padded, prefetch
from fer_bench.models.deep.checkpoint import Checkpoint
from fer_bench.models.deep.frozen import FrozenPass, Stored
from fer_bench.models.deep.pretrained import RANDOM, FirstWeights
from fer_bench.models.deep.recipe import PLATEAU, Recipe
from fer_bench.models.deep.watch import Watch
from fer_bench.models.registry import ImageInput
from fer_bench.models.task import Task
from fer_bench.version import __version__

WARM_UP = 0.05  # of a phase's steps
MOST_STEPS, MOST_BYTES = 500, 2**24  # of gradient steps that go together, and of their inputs


@dataclass(frozen=True)
class Phase:
    """A stretch of training with a schedule of its own: warm-up to `learning_rate`, then cosine down to 0.

    share: of the run's steps; shares add up to 1.
    model: what is trained, from the inputs of this phase to logits; by default the network.
    view: images as the inputs of this phase; by default their pixels.
    trunk: a model that is not trained, which the inputs pass through first, or None.
    coarse: the share of its steps that are made first on smaller images, and their side in pixels, for models of images
    of any size; a step's arithmetic is as their area.
    """

    name: str
    share: float
    learning_rate: float
    model: Any = None
    view: Callable[[np.ndarray], Inputs] | None = None
    trunk: Any = None
    coarse: tuple[float, int] | None = None


@dataclass(frozen=True)
class Network:
    """A built model from inputs to logits, its phases, and where its first weights come from.

    The view of the last phase is that of prediction too.
    merged: batches that one step takes together, unless a batch size is asked for; as many fewer are the steps.
    frozen: the pass that makes the inputs of `model` from images, or None; frozen_parameters: of what makes it.
    join: what makes one model of both, from pixels to logits.
    optimizer: the class of Keras optimizers that trains it, or None for AdamW.
    answering: the model that predicts once `model` is trained, of the same inputs and layers; by default `model`.
    """

    model: Any
    phases: tuple[Phase, ...]
    weights: FirstWeights = RANDOM
    frozen: FrozenPass | None = None
    frozen_parameters: int = 0
    merged: int = 1
    join: Callable[[], Any] | None = None
    optimizer: Any = None
    answering: Any = None

    def whole(self) -> Any:
        """The model from pixels, uint8 (n, size, size, 1 or 3), to logits, float32 (n, n_classes)."""
        return self.join() if self.join else self.answering or self.model


class KerasClassifier:
    """Trains the network that `build()` returns on uint8 images (n, h, w) or (n, h, w, 3) of any size.

    AdamW (Loshchilov & Hutter 2019), or the network's own optimizer, with a warm-up and cosine schedule for exactly
    `task.steps` batches, whatever the number of rows; seeded augmentation of training images. The weights kept are
    those with the best unweighted macro-F1 on `task.validation`, looked at up to 20 times, the end included. Where
    `task.checkpoint` names a file, training that was cut off goes on from there. `task.parameters` may ask for another
    `Recipe`.

    Fitted: history_ (a dict per evaluation), n_parameters_, steps_ (gradient steps made: fewer where patience was
    lost), epochs_ (passes over the rows), device_ ("cpu" or "gpu"), precision_ ("float32" or "bfloat16"),
    initial_weights_ ("random", "imagenet" or "file"), weights_note_ (more of these, in words), notes_ (for people),
    earlier_seconds_ (of the training that was cut off), frozen_ (the pass that runs share, or None).
    """

    def __init__(self, task: Task, image: ImageInput, build: Callable[[], Network], batch_size: int) -> None:
        if not task.steps or task.steps < 1:
            raise ValueError(f"a network needs a positive number of gradient steps, not {task.steps}")
        self.recipe = Recipe.of(task.parameters)
        self.task, self.image, self.build = task, image, build
        self.own_steps, self.own_batch_size = task.steps, batch_size

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
        self.create()
        return self.train(X, y, np.arange(len(X)) if rows is None else rows, sample_weight)

    def create(self) -> None:
        """Build the network, not trained yet, with an empty history; steps_ are those to make."""
        import keras

        keras.utils.set_random_seed(self.task.random_state)
        self.policy = resolve_precision(self.recipe.precision)
        self.device_ = "gpu" if has_gpu() else "cpu"
        self.remarks: list[str] = []
        self.history_: list[dict[str, Any]] = []
        self.earlier_seconds_ = 0.0
        with dtype_policy(self.policy):
            self.network = self.build()
            self._predictors = {id(self.network.model): with_softmax(self.network.model)}
        self.steps_ = math.ceil(self.own_steps / self.network.merged)
        self.batch_size = self.recipe.batch_size or self.own_batch_size * self.network.merged
        self.frozen_ = self.network.frozen
        self.n_parameters_ = self.network.model.count_params() + self.network.frozen_parameters
        self.initial_weights_, self.weights_note_ = self.network.weights

    @property
    def precision_(self) -> str:
        """What it computes in: "float32" or "bfloat16"."""
        return self.policy.removeprefix("mixed_")

    @property
    def notes_(self) -> list[str]:
        """For people: another backend than TensorFlow, and what else is worth knowing of this run."""
        import keras

        backend = keras.backend.backend()
        notes = [] if backend == "tensorflow" else [f"computed by {backend}"]
        if self.frozen_ and self.frozen_.costs:
            notes.append(f"pass of the frozen part {self.frozen_}")
        return notes + self.remarks

    def train(
        self, X: np.ndarray, y: np.ndarray, rows: np.ndarray, sample_weight: np.ndarray | None = None
    ) -> "KerasClassifier":
        """Train the network as it was created, phase by phase, and put its best weights back; as `fit`."""
        task, recipe, network = self.task, self.recipe, self.network
        batches = Batches(
            rows, y[rows], sample_weight, task.n_classes, self.steps_, self.batch_size, task.random_state, recipe.mixup
        )
        models = [network.model, *(phase.model for phase in network.phases if phase.model)]
        variables = list({id(variable): variable for model in models for variable in model.variables}.values())
        checkpoint = Checkpoint(task.checkpoint, variables, self._about(len(rows)))
        with checkpoint.needed():
            state = checkpoint.load()
            self.history_, self.earlier_seconds_ = state.history, state.seconds
            if checkpoint.note:
                self.remarks.append(checkpoint.note)
            watch = Watch(
                state, recipe, network.model, task.validation[1], self.steps_, self.batch_size, len(rows),
                task.progress, self._clock,
            )  # fmt: skip
            done = state.step
            for phase, steps in zip(network.phases, phase_steps(network.phases, self.steps_), strict=True):
                if done < steps.stop:
                    self._train_phase(phase, steps, done, X, batches, watch, checkpoint)
        network.model.set_weights(state.best_weights)
        self.steps_, self.epochs_ = state.made, state.made * self.batch_size / len(rows)
        return self

    def _train_phase(
        self, phase: Phase, steps: range, done: int,
        X: np.ndarray, batches: Batches, watch: Watch, checkpoint: Checkpoint,
    ) -> None:  # fmt: skip
        """Make the gradient steps of `phase`, numbered `steps`, but for the first `done` of the run."""
        model, validation = phase.model or self.network.model, self.view(phase, self.task.validation[0])
        if phase.trunk:  # its weights stay, so that what it makes of these does too
            validation = Stored(in_batches(phase.trunk, validation, self.batch_size)[np.newaxis], mirror=False)
        self.compile(model, phase.learning_rate, len(steps))
        average, resumed = Average(self.recipe.ema, model), done > steps.start
        if resumed:
            checkpoint.restore([*model.optimizer.variables, *average.values])
        watch.begin(
            phase.name, model.optimizer, lambda: self.forward(model, validation), max(done, steps.start), resumed,
            average.in_place,
        )  # fmt: skip
        share, side = phase.coarse or (0.0, 0)
        fine = steps.start + round(share * len(steps))
        if watch.state.step < fine:
            small = Pixels(X, side, self.recipe.augmentation)
            self._make_steps(fine, small, model, None, average, batches, watch, checkpoint)
        self._make_steps(steps.stop, self.view(phase, X), model, phase.trunk, average, batches, watch, checkpoint)

    def _make_steps(
        self, stop: int, inputs: Inputs, model: Any, trunk: Any, average: Average,
        batches: Batches, watch: Watch, checkpoint: Checkpoint,
    ) -> None:  # fmt: skip
        """Make gradient steps on `inputs` up to step `stop` of the run, or until patience is lost."""
        on_device = DevicePixels.of(inputs, self.recipe.mixup) if self.device_ == "gpu" and not trunk else None
        nbytes = 0 if on_device else inputs.plain(slice(1), mirrored=False).nbytes * self.batch_size
        most = max(1, min(MOST_STEPS, MOST_BYTES // max(1, nbytes)))
        program = Program(model, average, most, on_device and on_device.tensor)
        n_jobs = self.task.n_jobs
        indices = range(watch.state.step, stop)
        ahead = prefetch(batches, on_device or inputs, indices, n_jobs, max(most, 2 * n_jobs))
        while (left := stop - watch.state.step) and not watch.has_lost_patience:
            chunk = list(islice(ahead, min(left, watch.until_evaluation, program.within_reach)))
            if trunk:
                chunk = [(np.asarray(trunk.predict_on_batch(x), np.float32), y, weights) for x, y, weights in chunk]
            watch(program(chunk))
            checkpoint.save_now_and_then(watch.state, [*model.optimizer.variables, *average.values])

    def _about(self, n_rows: int) -> dict[str, Any]:
        """All that the gradient steps depend on but the inputs and the first weights."""
        import keras

        task = self.task
        return {
            "versions": [__version__, keras.__version__], "code": task.code, "backend": keras.backend.backend(),
            "policy": self.policy, "steps": task.steps, "batch_size": self.batch_size, "seed": task.random_state,
            "rows": n_rows, "loss": asdict(task.loss), "parameters": dict(task.parameters),
            "weights": self.network.weights,
            "phases": [(one.name, one.share, one.learning_rate, one.coarse) for one in self.network.phases],
        }  # fmt: skip

    def _clock(self) -> float:
        """Seconds without the passes of a frozen part, which are booked as features."""
        return time.monotonic() - (self.frozen_.seconds if self.frozen_ else 0.0)

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Class probabilities, float32 (n, n_classes), of images as `fit` got them: the mean of each and its mirror."""
        model, inputs = self.network.answering or self.network.model, self.view(self.network.phases[-1], X)
        return (self.forward(model, inputs) + self.forward(model, inputs, mirrored=True)) / 2

    def view(self, phase: Phase, X: np.ndarray) -> Inputs:
        """Images as the inputs of a phase."""
        return phase.view(X) if phase.view else Pixels(X, self.image.size, self.recipe.augmentation)

    def forward(self, model: Any, inputs: Inputs, mirrored: bool = False) -> np.ndarray:
        """Class probabilities, float32 (n, n_classes), that `model` gives `inputs` or their mirror images."""
        if id(model) not in self._predictors:
            self._predictors[id(model)] = with_softmax(model)
        return in_batches(self._predictors[id(model)], inputs, self.batch_size, mirrored)

    def compile(self, model: Any, learning_rate: float, steps: int) -> None:
        """Compile `model` for `steps` gradient steps: loss, schedule, optimizer, without decay of biases."""
        import keras

        recipe, rate = self.recipe, learning_rate * self.recipe.learning_rate
        schedule = rate if recipe.schedule == PLATEAU else cosine(rate, steps)
        optimizer = (self.network.optimizer or keras.optimizers.AdamW)(schedule, weight_decay=recipe.weight_decay)
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        optimizer.build(model.trainable_variables)  # inside the first step it would cost TensorFlow a second trace
        loss = loss_function(self.task.loss, recipe.label_smoothing)
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


def phase_steps(phases: tuple[Phase, ...], steps: int) -> list[range]:
    """The gradient steps of each phase by its share: one range after another, `steps` in all."""
    ends = np.rint(np.cumsum([phase.share for phase in phases]) * steps).astype(int).tolist()
    return [range(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def forget_networks() -> None:
    """Let Keras drop what it keeps of networks that are not used any more."""
    import keras

    keras.utils.clear_session()
