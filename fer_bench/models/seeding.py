"""Every random generator that a model may draw from, seeded: a library's as soon as somebody imports it, never before.

A classical model pays for no TensorFlow, and a Keras model that imports it in its `fit` is as repeatable as any other.
"""

import random
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

LIBRARIES: dict[str, Callable[[Any, int], Any]] = {
    "tensorflow": lambda tensorflow, seed: tensorflow.random.set_seed(seed),
    "torch": lambda torch, seed: torch.manual_seed(seed),
    "keras": lambda keras, seed: keras.utils.set_random_seed(seed),
}
"""Those with a generator of their own that all of a process shares; jax has none."""


class _SeedOnImport(MetaPathFinder):
    """Leaves finding to the others, and has LIBRARIES seeded at the end of their import."""

    seed = 0

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in LIBRARIES:
            return None
        others = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, others), None)
        if spec and spec.loader:
            execute = spec.loader.exec_module

            def execute_and_seed(module: ModuleType) -> None:
                execute(module)
                _seed(name, module, self.seed)

            spec.loader.exec_module = execute_and_seed  # type: ignore[method-assign]
        return spec


_on_import = _SeedOnImport()


def seed_generators(random_state: int) -> None:
    """Seed the generators of Python, NumPy and LIBRARIES, those that are not imported yet when they are."""
    import numpy as np

    random.seed(random_state)
    np.random.seed(random_state)
    _on_import.seed = random_state
    if _on_import not in sys.meta_path:
        sys.meta_path.insert(0, _on_import)
    for name in LIBRARIES:
        if module := sys.modules.get(name):
            _seed(name, module, random_state)


def _seed(name: str, module: ModuleType, random_state: int) -> None:
    with suppress(Exception):  # it may be damaged, or another thing of that name: whoever uses it will see
        LIBRARIES[name](module, random_state)
