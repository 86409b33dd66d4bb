"""What benchmarks share: the quick form, the program in a folder of its own, and figures that page.py can show."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from settings import DATA, QUICK

ROOT = Path(__file__).parents[1]
CLOCK = Path(__file__).with_name("clock.py")


class Took(NamedTuple):
    """What a command cost, and what it printed. cpu: seconds of it and of all its descendants, as clock.py counts."""

    seconds: float
    cpu: float
    output: str


class Program:
    """`python -m fer_bench ...` in a folder and with a cache of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ, "FER_BENCH_CACHE": str(folder / "cache"), "PYTHONPATH": str(ROOT), "COLUMNS": "120",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }  # fmt: skip

    def __call__(self, *arguments: str) -> Took:
        return self.python("-m", "fer_bench", *arguments)

    def python(self, *arguments: str) -> Took:
        """The interpreter itself. It must end well."""
        done = subprocess.run(
            [sys.executable, str(CLOCK), sys.executable, *arguments],
            cwd=self.folder, env=self.environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        *lines, last = done.stdout.splitlines()
        return Took(**json.loads(last), output="\n".join(lines))


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """The quick form leaves the user's cache alone, as tests do."""
    with pytest.MonkeyPatch.context() as patch:
        if QUICK:
            patch.setenv("FER_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def opened():
    """Dataset and split: built-in faces, or the data that are given."""
    from fer_bench.data import Split, make_split, make_synthetic, open_dataset, stored_split

    if QUICK:
        dataset = make_synthetic(400, 0)
        return dataset, make_split(dataset, 0)
    found = open_dataset(DATA)
    return found.load(), Split.load(stored_split(found.folder, 0))


@pytest.fixture
def program(tmp_path) -> Program:
    """The program with an empty cache and no results."""
    return Program(tmp_path)


@pytest.fixture
def faces(program):
    """Writes so many of the built-in faces to an archive; returns its path."""

    def written(n_images: int) -> str:
        from fer_bench.data import make_synthetic

        dataset = make_synthetic(n_images, 0)
        path = program.folder / f"faces-{n_images}.npz"
        np.savez(path, images=dataset.images, labels=dataset.labels, class_names=np.array(dataset.class_names))
        return str(path)

    return written


@pytest.fixture
def data(faces) -> str:
    """What `--data` is given where size matters: the built-in faces, or what FER_BENCH_BENCHMARK_DATA names."""
    given = faces(300) if QUICK else DATA
    return str(Path(given).resolve()) if Path(given).exists() else given


@pytest.fixture
def tell(benchmark):
    """Puts what a benchmark found beside it, as page.py shows it: what is compared, the ratio, the target and so on."""

    def told(what: str, ratio: float | None = None, target: str = "", met: bool | None = None, **figures) -> None:
        benchmark.extra_info |= {"what": what, "ratio": ratio, "target": target, "met": met, "figures": figures}

    return told
