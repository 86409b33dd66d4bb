"""The process that a run is done in: environment variables, streams, memory, its end; and what a record says of it."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import resource
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from fer_bench import __version__, cache
from fer_bench.errors import is_no_room

if TYPE_CHECKING:
    from fer_bench.records import Environment

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


def cores() -> int:
    """Processor cores that this process may use: fewer than there are under `taskset` or a container's limit."""
    from joblib import cpu_count  # here, because it takes its time

    return cpu_count()


def die_with_parent() -> None:
    """Ask Linux to kill this process when the one that started it dies; elsewhere do nothing."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


@contextmanager
def errors_in(file: Path) -> Iterator[None]:
    """Inside, what is written to standard error, by libraries written in C too, goes to the end of `file`."""
    kept = os.dup(2)
    with file.open("ab") as end:
        os.dup2(end.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def import_quietly(modules: Iterable[str]) -> None:
    """Import `modules` without a word: TensorFlow's C++ writes notes before anyone can ask it not to.

    One that cannot be imported is left out: whoever needs it will say why.
    """
    with errors_in(Path(os.devnull)):
        for module in modules:
            with suppress(Exception):
                import_module(module)


def redirect_output(log: Path) -> None:
    """Send everything printed from here on, by libraries written in C too, to `log`."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    sys.stdout, sys.stderr = (  # they live as long as the child
        open(target, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        for target in (1, 2)
    )


def is_full(error: BaseException, results: Path) -> bool:
    """Whether `error` says that the disk of the folder `results`, or of the cache, is full or read-only.

    Where it names another file it does not, as a model may write where it likes; where it names none, it may.
    """
    if not isinstance(error, OSError) or not is_no_room(error):
        return False
    if not isinstance(error.filename, str | bytes):
        return True
    file = Path(os.fsdecode(error.filename)).resolve()
    return any(file.is_relative_to(folder.resolve()) for folder in (results, cache.root()))


def peak_memory_mb() -> float:
    """This process's largest resident set so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024**2 if sys.platform == "darwin" else 1024)


def out_of_memory_kills() -> int:
    """How many processes this system has killed for want of memory since it started; 0 where it does not tell."""
    with suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


@functools.cache
def environment(n_jobs: int) -> Environment:
    """What a record says of its surroundings, for a run on `n_jobs` cores."""
    from fer_bench.records import Environment

    return Environment(
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        processor=processor(),
        n_jobs=n_jobs,
        versions=versions(PACKAGES),
        git_revision=_git_revision(),
    )


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Of fer_bench, and of those of `packages` that are installed."""
    found = {"fer_bench": __version__}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def processor() -> str:
    """The name of this machine's processor."""
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
    try:
        revision, changes = (
            subprocess.run(["git", "-C", here, *command], capture_output=True, text=True, check=True).stdout
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "--", "fer_bench"])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return revision.strip() + ("+changes" if changes else "")
