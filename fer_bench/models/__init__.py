"""What is trained. Importing this package registers the built-in models, features and strategies: cards only.

What others may use is in `__init__.pyi`, imported when used.
"""

import lazy_loader

from fer_bench.models import classical, feature_cards, imbalance  # noqa: F401
from fer_bench.models.deep import scratch, transfer  # noqa: F401

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
