"""Plans, prepares and does runs. What others may use is in `__init__.pyi`, imported when used.

    from fer_bench.execution import run
    done = run("fer2013.csv", models="hog-*", strategies="none,class-weights", seeds=(0, 1, 2))

is all of it in one call: `prepare`, `make_plan`, `run_plan`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
