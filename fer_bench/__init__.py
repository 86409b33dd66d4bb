"""fer_bench: which model, with which treatment of class imbalance, and can the answer be believed?"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fer_bench.data import Dataset
    from fer_bench.errors import FerBenchError
    from fer_bench.models.registry import ImageInput, register_features, register_model, register_strategy
    from fer_bench.models.task import Loss, Task, TrainingPlan

__version__ = "0.1.0"

_HOMES = {
    "Dataset": "fer_bench.data",
    "FerBenchError": "fer_bench.errors",
    "ImageInput": "fer_bench.models.registry",
    "Loss": "fer_bench.models.task",
    "Task": "fer_bench.models.task",
    "TrainingPlan": "fer_bench.models.task",
    "register_features": "fer_bench.models.registry",
    "register_model": "fer_bench.models.registry",
    "register_strategy": "fer_bench.models.registry",
}
__all__ = [
    "Dataset",
    "FerBenchError",
    "ImageInput",
    "Loss",
    "Task",
    "TrainingPlan",
    "register_features",
    "register_model",
    "register_strategy",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import fer_bench` stays light."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'fer_bench' has no attribute {name!r}")
