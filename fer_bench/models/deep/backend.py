"""What networks are computed with: Keras' backend, found out without importing it, a GPU or not, and the precision.

The one module that knows backends apart: by each, `Program` makes many gradient steps at once.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_bench.errors import FerBenchError
from fer_bench.models.deep.recipe import AUTO

if TYPE_CHECKING:  # NumPy waits until there is something to train
    from fer_bench.models.deep.batches import Batch

BACKENDS = ("tensorflow", "jax", "torch")  # Keras' others cannot train
PROGRAM_SECONDS = 1.0  # between two looks at training: for progress, checkpoints, and a loss that is not finite
POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


def backend_name() -> str:
    """The name in `KERAS_BACKEND`, else in `configuration()`, else "tensorflow": where Keras looks, in its order."""
    if name := os.environ.get("KERAS_BACKEND"):
        return name
    try:
        return str(json.loads(configuration().read_text())["backend"])
    except (OSError, ValueError, LookupError, TypeError):
        return "tensorflow"


def configuration() -> Path:
    """Keras' configuration file, there or not."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "keras.json"


def check_backend() -> None:
    """Raise FerBenchError where Keras' backend is none that trains, or is not installed."""
    name = backend_name()
    where = "KERAS_BACKEND" if os.environ.get("KERAS_BACKEND") else f"'backend' in {configuration()}"
    if name not in BACKENDS:
        raise FerBenchError(f"{where} is {name!r}: networks are trained with {', '.join(BACKENDS)}")
    if find_spec(name) is None:
        raise FerBenchError(
            f"{where} is {name!r}, which is not installed: `pip install {name}`, or set KERAS_BACKEND=tensorflow"
        )


def need_tensorflow() -> None:
    """Have Keras compute with TensorFlow, whatever is configured: weights are the same under any backend.

    Raises FerBenchError where Keras computes with another one already.
    """
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras

    if keras.backend.backend() != "tensorflow":
        raise FerBenchError("this needs Keras on TensorFlow; start again with KERAS_BACKEND=tensorflow")


def resolve_precision(request: str) -> str:
    """The Keras dtype policy for "float32", "bfloat16" or "auto": bfloat16 where the hardware multiplies it.

    Weights and logits are float32 in either.
    """
    if request != AUTO:
        return POLICIES[request]
    return POLICIES["bfloat16" if has_gpu() or has_fast_bfloat16() else "float32"]


def has_gpu() -> bool:
    """Whether Keras' backend sees a GPU."""
    import keras

    if keras.backend.backend() == "torch":  # for which Keras lists no devices
        import torch

        return bool(torch.cuda.is_available())
    return any("gpu" in device or "cuda" in device for device in keras.distribution.list_devices())


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


@cache
def batch_normalization() -> Any:
    """The class of Keras' BatchNormalization, on maps (n, h, w, c); under TensorFlow it trains by one fused operation.

    Keras makes a dozen of it, in float32, which takes a small network a third of its time on a CPU.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        return keras.layers.BatchNormalization
    import tensorflow as tf

    class BatchNormalization(keras.layers.BatchNormalization):
        def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
            if not (training and self.trainable):
                return super().call(inputs, training=training, mask=mask)
            outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
                x=inputs, scale=self.gamma.value, offset=self.beta.value, mean=[], variance=[], epsilon=self.epsilon
            )
            count = tf.cast(tf.size(inputs) // inputs.shape[-1], "float32")
            for moving, of_batch in (self.moving_mean, mean), (self.moving_variance, variance * (1 - 1 / count)):
                moving.assign(moving * self.momentum + of_batch * (1 - self.momentum))
            return outputs

    return BatchNormalization


class Average:
    """An exponential moving average of the weights of a `model`, batch statistics included; none at momentum 0.

    weights: the model's variables, trainable ones first. values: of those of floating point, variables too, from their
    present values on. The momentum of step t of a phase is at most t / (9 + t), so that it forgets what training began
    with: an average of about the last tenth of the steps until `momentum` is reached (as in TensorFlow's
    ExponentialMovingAverage).
    """

    def __init__(self, momentum: float, model: Any) -> None:
        from keras import Variable, backend

        self.momentum, self.weights = momentum, [*model.trainable_variables, *model.non_trainable_variables]
        self.places = [i for i, each in enumerate(self.weights) if momentum and backend.is_float_dtype(each.dtype)]
        self.averaged = [self.weights[i] for i in self.places]
        self.values = [Variable(array, trainable=False) for array in copies(self.averaged)]

    def after(self, step: Any, values: list[Any], variables: list[Any]) -> list[Any]:
        """What `values` become as the variables have become `variables` by `step`, from 1 on, of a phase."""
        from keras import ops

        step = ops.cast(step, "float32")
        share = 1 - ops.minimum(step / (9 + step), self.momentum)
        return [value + share * (variables[i] - value) for i, value in zip(self.places, values, strict=True)]

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The variables are their averages inside, and what they were before outside."""
        latest = copies(self.averaged)
        assign(self.averaged, copies(self.values))
        try:
            yield
        finally:
            assign(self.averaged, latest)


class Program:
    """Gradient steps of a compiled Keras `model`, several of them dispatched at once, and the average of its weights.

    Under TensorFlow, and under jax on a GPU, a compiled loop, whose number of steps is given with each call, so that
    what a step computes does not depend on how many go together; elsewhere step by step.
    most: steps that one call may take. pixels: images on the device, from which inputs are made as `made` says, or None
    where batches hold the inputs. within_reach: how many steps to ask for next, as they take about `PROGRAM_SECONDS`.
    """

    def __init__(self, model: Any, average: Average, most: int, pixels: Any = None) -> None:
        from keras import backend

        self.model, self.optimizer, self.most, self.pixels = model, model.optimizer, most, pixels
        self.average, self.within_reach, self.is_compiled = average, 1, False
        self.run = {"tensorflow": self._tensorflow, "jax": self._jax, "torch": self._torch}[backend.backend()]()

    def __call__(self, batches: list["Batch"]) -> Any:
        """Make a step with each of `batches`: loss and accuracy of each, float (n, 2)."""
        started = time.monotonic()
        logs = self.run(batches)
        if self.is_compiled:
            seconds = (time.monotonic() - started) / len(batches)
            self.within_reach = max(1, min(self.most, int(PROGRAM_SECONDS / seconds)))
        self.is_compiled = True
        return logs

    def _loss(self, logits: Any, of_layers: Iterable[Any], labels: Any, weights: Any = None) -> tuple[Any, Any]:
        """Loss and accuracy of a batch, as Keras' own training step has them."""
        from keras import ops

        losses = self.model.loss(labels, logits)
        loss = ops.mean(losses if weights is None else losses * weights) + sum(of_layers)
        right = ops.equal(ops.argmax(logits, axis=-1), ops.argmax(labels, axis=-1))
        return loss, ops.mean(ops.cast(right, "float32"))

    def _tensorflow(self) -> Callable[[list["Batch"]], Any]:
        import tensorflow as tf
        from keras import tree

        from fer_bench.models.deep.batches import made, stacked

        average, trainable, compiled = self.average, self.model.trainable_variables, None

        def step(inputs: Any, *targets: Any) -> Any:
            with tf.GradientTape() as tape:
                logits = self.model(made(inputs, self.pixels), training=True)
                loss, accuracy = self._loss(logits, self.model.losses, *targets)
            self.optimizer.apply(tape.gradient(loss, [each.value for each in trainable]), trainable)
            assign(average.values, average.after(self.optimizer.iterations, average.values, average.weights))
            return tf.stack([loss, accuracy])

        def program(batches: Any) -> Any:
            count = tf.shape(batches[1])[0]
            logs = tf.TensorArray(tf.float32, size=count, element_shape=(2,))

            def body(i: Any, logs: Any) -> Any:
                return i + 1, logs.write(i, step(*tree.map_structure(lambda part: part[i], batches)))

            return tf.while_loop(lambda i, logs: i < count, body, (0, logs))[1].stack()

        def run(batches: list["Batch"]) -> Any:
            nonlocal compiled
            parts = stacked(batches)
            if compiled is None:  # one trace for any number of steps
                kinds = tree.map_structure(lambda part: tf.TensorSpec((None, *part.shape[1:]), part.dtype), parts)
                compiled = tf.function(program, input_signature=[kinds], autograph=False)
            return compiled(parts).numpy()

        return run

    def _jax(self) -> Callable[[list["Batch"]], Any]:
        import jax

        from fer_bench.models.deep.batches import made, present, stacked

        model, average = self.model, self.average
        kinds = (model.trainable_variables, model.non_trainable_variables, self.optimizer.variables, average.values)

        def loss(trainable: Any, others: Any, inputs: Any, *targets: Any) -> Any:
            logits, others, added = model.stateless_call(trainable, others, inputs, training=True, return_losses=True)
            value, accuracy = self._loss(logits, added, *targets)
            return value, (others, accuracy)

        def step(values: Any, pixels: Any, inputs: Any, *targets: Any) -> Any:
            trainable, others, state, averages = values
            gradient = jax.value_and_grad(loss, has_aux=True)
            (value, (others, accuracy)), slopes = gradient(trainable, others, made(inputs, pixels), *targets)
            trainable, state = self.optimizer.stateless_apply(state, slopes, trainable)
            averages = average.after(state[0], averages, [*trainable, *others])
            return (trainable, others, state, averages), jax.numpy.stack([value, accuracy])

        def loop(count: Any, values: Any, batches: Any, pixels: Any) -> Any:
            def body(i: Any, carry: Any) -> Any:
                values, logs = step(carry[0], pixels, *jax.tree.map(lambda part: part[i], batches))
                return values, carry[1].at[i].set(logs)

            return jax.lax.fori_loop(0, count, body, (values, jax.numpy.zeros((self.most, 2))))

        one, many = jax.jit(step), jax.jit(loop)

        def run(batches: list["Batch"]) -> Any:
            values, logs = tuple([each.value for each in kind] for kind in kinds), []
            if has_gpu():
                values, logs = many(len(batches), values, stacked(batches, self.most), self.pixels)
            else:  # where XLA's convolutions take ten times as long inside a loop
                for batch in batches:
                    values, of_step = one(values, self.pixels, *present(batch))
                    logs.append(of_step)
            for kind, arrays in zip(kinds, values, strict=True):
                assign(kind, arrays)
            return jax.device_get(logs)[: len(batches)]

        return run

    def _torch(self) -> Callable[[list["Batch"]], Any]:
        average = self.average

        def step(batch: "Batch") -> tuple[float, float]:
            logs = self.model.train_on_batch(*batch, return_dict=True)
            assign(average.values, average.after(self.optimizer.iterations, average.values, average.weights))
            return logs["loss"], logs["accuracy"]

        return lambda batches: [step(batch) for batch in batches]


def assign(variables: Iterable[Any], values: Iterable[Any]) -> None:
    """Give Keras `variables` these values."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def copies(variables: Iterable[Any]) -> list[Any]:
    """Arrays of the values of Keras `variables`.

    torch's arrays share memory with a variable, and what shares a value with one under jax goes when Keras predicts.
    """
    from keras import ops

    return [ops.convert_to_numpy(each).copy() for each in variables]
