"""What networks are computed with: Keras' backend, found out without importing it, a GPU or not, and the precision."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fer_bench.errors import FerBenchError
from fer_bench.models.deep.recipe import AUTO

BACKENDS = ("tensorflow", "jax", "torch")  # Keras' others cannot train
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


class Average:
    """An exponential moving average of Keras `variables`, BatchNormalization's statistics included; none at momentum 0.

    values: of those of floating point, variables too, from their present values on. The momentum of step t of a phase
    is at most t / (9 + t), so that it forgets what training began with: an average of about the last tenth of the
    steps until `momentum` is reached (as in TensorFlow's ExponentialMovingAverage).
    """

    def __init__(self, momentum: float, variables: list[Any]) -> None:
        from keras import Variable, backend

        self.momentum = momentum
        self.averaged = [each for each in variables if momentum and backend.is_float_dtype(each.dtype)]
        self.values = [Variable(each, trainable=False, dtype=each.dtype) for each in self.averaged]

    def update(self, step: Any) -> None:
        """Take in what the variables are after `step`, from 1 on, of a phase."""
        from keras import ops

        if self.averaged:
            step = ops.cast(step, "float32")
            share = 1 - ops.minimum(step / (9 + step), self.momentum)
            for value, each in zip(self.values, self.averaged, strict=True):
                value.assign_add(share * (each - value))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The variables are their averages inside, and what they were before outside."""
        from keras import ops

        latest = [ops.convert_to_numpy(each).copy() for each in self.averaged]  # torch's share memory with these
        for each, value in zip(self.averaged, self.values, strict=True):
            each.assign(value)
        try:
            yield
        finally:
            for each, array in zip(self.averaged, latest, strict=True):
                each.assign(array)
