"""What is trained. Importing this package registers the built-in models, features and strategies: cards only."""

from fer_bench.models import classical, features, imbalance  # noqa: F401
from fer_bench.models.deep import scratch, transfer  # noqa: F401
