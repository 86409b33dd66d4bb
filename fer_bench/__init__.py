"""fer_bench: which model, with which treatment of class imbalance, and can the answer be believed?"""

from importlib import import_module
from typing import Any

from fer_bench.version import __version__

_NAMES = {
    "fer_bench.api": ["Results", "load_results", "run"],
    "fer_bench.data": ["Dataset"],
    "fer_bench.deploy": ["load_model"],
    "fer_bench.errors": ["FerBenchError"],
    "fer_bench.models": [
        "ImageInput", "Loss", "Task", "TrainingPlan", "register_features", "register_model", "register_strategy",
    ],
}  # fmt: skip
_HOMES = {name: module for module, names in _NAMES.items() for name in names}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import fer_bench` stays light."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'fer_bench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
