"""Where a run runs: environment variables, versions, processor, revision, memory."""

import functools
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fer_bench import __version__
from fer_bench.records.schema import Environment

PACKAGES = (
    "numpy",
    "scipy",
    "scikit-learn",
    "scikit-learn-intelex",
    "imbalanced-learn",
    "scikit-image",
    "opencv-python-headless",
    "keras",
    "tensorflow",
    "torch",
    "jax",
)
# Quiet, deterministic, oneDNN's kernels on older processors too (TensorFlow takes them from AVX512-VNNI up: a fifth of
# a step's time), and of a GPU no more memory than is used: other runs may be on it.
KERAS = {
    "TF_CPP_MIN_LOG_LEVEL": "2", "TF_DETERMINISTIC_OPS": "1", "TF_ENABLE_ONEDNN_OPTS": "1",
    "TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}  # fmt: skip


def set_defaults(variables: Mapping[str, str]) -> None:
    """Set environment variables, but for those that the user has set."""
    for name, value in variables.items():
        os.environ.setdefault(name, value)


@functools.cache
def environment(n_jobs: int) -> Environment:
    """What a record says of its surroundings, for a run on `n_jobs` cores."""
    return Environment(
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        processor=_processor(),
        n_jobs=n_jobs,
        versions=_versions(),
        git_revision=_git_revision(),
    )


def cores() -> int:
    """Processor cores that this process may use: fewer than there are under `taskset` or a container's limit."""
    from joblib import cpu_count  # here, because it takes its time

    return cpu_count()


def peak_memory_mb() -> float:
    """This process's largest resident set so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024**2 if sys.platform == "darwin" else 1024)


def out_of_memory_kills() -> int:
    """How many processes this system has killed for want of memory since it started; 0 where it does not tell."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def _versions() -> dict[str, str]:
    versions = {"fer_bench": __version__}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _git_revision() -> str | None:
    """The revision of the checkout this package runs from, "+changes" where it was edited; None outside one."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    git = ["git", "-C", str(here)]
    try:
        revision = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changes = subprocess.run(
            [*git, "status", "--porcelain", "--", "fer_bench"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return revision + ("+changes" if changes else "")
