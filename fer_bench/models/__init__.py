"""What is trained. Importing this package registers the built-in models, features and strategies: cards only."""

from fer_bench.models import classical, features, imbalance, networks  # noqa: F401
