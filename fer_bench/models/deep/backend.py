"""Which backend Keras will compute with, found out without importing it."""

import json
import os
from importlib.util import find_spec
from pathlib import Path

from fer_bench.errors import FerBenchError

BACKENDS = ("tensorflow", "jax", "torch")  # Keras' others cannot train


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
