"""What the environment asks of benchmarks; README.md explains it."""

import os

# The quick form: sizes are tiny and no ratio is asserted; that benchmarks run is all that is asked.
QUICK = os.environ.get("FER_BENCH_BENCHMARK_QUICK") == "1"
DATA = os.environ.get("FER_BENCH_BENCHMARK_DATA", "synthetic")
SVM_ROWS = int(os.environ.get("FER_BENCH_BENCHMARK_ROWS", "10000"))
GRID_ROWS = int(os.environ.get("FER_BENCH_BENCHMARK_GRID_ROWS", "2400"))
