"""Files that are damaged, absurd or hostile: every reader ends with a result or with one clear message.

The short form is for CI; the long form, some thousand cases, is `pytest tests/reliability -m long`.
"""

import gzip
import io
import lzma
import os
import resource
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hostile import FAMILIES, Family, Runs, image, npy, zipped
from PIL import Image

from fer_bench.analysis import Predictions, verify
from fer_bench.analysis.evidence.external import read_predictions
from fer_bench.data import open_dataset
from fer_bench.errors import FerBenchError
from fer_bench.records.store import ResultsFolder

SECONDS, MEMORY = 120, 2 << 30
"""What one case may take, and what all of a test may add to the address space of this process."""


@contextmanager
def bounded_memory() -> Iterator[None]:
    """No more than MEMORY bytes of address space beyond what this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


class Hang(BaseException):
    """A case that does not end."""


def on_alarm(*_) -> None:
    raise Hang


def outcome(family: Family, folder: Path, case: int) -> str:
    call = family(folder, np.random.default_rng([2013, case]))
    signal.alarm(SECONDS)
    try:
        call()
    except FerBenchError as error:
        assert str(error).strip()
        return "refused"
    except (Exception, Hang) as error:
        raise AssertionError(f"case {case} of {family.__name__}: {type(error).__name__}: {error}") from error
    finally:
        signal.alarm(0)
    return "read"


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """Where the first test leaves the results for the others."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def runs(program, plugin, tmp_path, monkeypatch, kept) -> Path:
    """The working folder, with the results of a small suite in results/tiny, and once more in sound."""
    monkeypatch.chdir(tmp_path)
    if not any(kept.iterdir()):
        done = program(
            "run", "--data", "tiny.npz", "--plugin", plugin, "--models", "majority,counted", "--strategies", "none"
        )
        assert done.returncode == 0, done.stdout + done.stderr
        shutil.copytree(tmp_path / "results" / "tiny", tmp_path / "sound")
        shutil.copytree(tmp_path, kept, dirs_exist_ok=True)
    shutil.copytree(kept, tmp_path, dirs_exist_ok=True)
    assert verify(ResultsFolder(tmp_path / "sound")).is_sound  # and its libraries are imported, which takes its time
    return tmp_path


COUNTS = {
    "csv": 1500,
    "packed csv": 1500,
    "npz": 1500,
    "images": 1000,
    "votes": 1000,
    "predictions": 1500,
    "results": 500,
}
"""Cases of the long form."""


@pytest.mark.parametrize("part", [pytest.param(25, id="short"), pytest.param(1, id="long", marks=pytest.mark.long)])
@pytest.mark.timeout(3600, method="thread")  # the alarm is taken
def test_whatever_is_in_a_file_there_is_a_result_or_a_message(runs, part, capsys):
    before, ends = signal.signal(signal.SIGALRM, on_alarm), {}
    try:
        with bounded_memory():
            for name, family in FAMILIES.items():
                ends[name] = Counter(outcome(family, runs, case) for case in range(COUNTS[name] // part))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not (runs / "unpickled").exists()
    assert all(found["read"] and found["refused"] for found in ends.values()), ends
    with capsys.disabled():
        print("".join(f"\n{name}: {dict(found)}" for name, found in ends.items()))


def table(rows: int) -> bytes:
    return b"emotion,pixels,Usage\n" + b"".join(b"%d,%s,Training\n" % (row % 3, b"0 " * 2304) for row in range(rows))


def archive(**arrays: np.ndarray) -> bytes:
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    return packed.getvalue()


def picture(side: int) -> bytes:
    encoded = io.BytesIO()
    Image.new("L", (side, side)).save(encoded, "png")
    return encoded.getvalue()


def wide_gif() -> bytes:
    content = bytearray(image(".gif", 0))
    content[6:10] = b"\xff" * 4  # its width and height
    return bytes(content)


BOMBS: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "a long row": ("a.csv", lambda: b"emotion,pixels\n0," + b"1 " * 25_000_000, "more than 16,777,216 characters"),
    "a long header": ("a.csv", lambda: b"emotion,pixels," + b"a" * 50_000_000, "no column|characters"),
    "gz": ("a.csv.gz", lambda: gzip.compress(table(5000)), "unpack to more than"),
    "xz": ("a.csv.xz", lambda: lzma.compress(table(5000)), "unpack to more than"),
    "zip": ("a.zip", lambda: zipped(table(5000)), "unpack to more than"),
    "gz in gz": ("a.csv.gz", lambda: gzip.compress(gzip.compress(table(9))), "not a CSV file"),
    "zip in zip": ("a.zip", lambda: zipped(zipped(table(9)), "faces.zip"), "exactly one .csv"),
    "npz": ("a.npz", lambda: archive(images=np.zeros((200_000, 10, 10), np.uint8)), "unpack to"),
    "10^12 rows": ("a.npz", lambda: zipped(npy(np.arange(3), "(1000000000000,)"), "images.npy"), "truncated or dam"),
    "pickle": ("a.npz", lambda: zipped(npy(np.array([Runs()])), "images.npy"), "never loaded"),
    "png": ("faces/a/a.png", lambda: picture(9000), "more than 67,108,864 pixels"),
    "gif": ("faces/a/a.gif", wide_gif, "more than 67,108,864 pixels"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "words"), BOMBS.values(), ids=BOMBS)
def test_what_would_fill_the_memory_or_run_is_refused(name, content, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content())
    if path.parent != tmp_path:
        path.parent.with_name("b").mkdir()
        path.parent.with_name("b").joinpath("b.png").write_bytes(picture(9))
    with bounded_memory(), pytest.raises(FerBenchError, match=words):
        open_dataset(str(path if path.parent == tmp_path else tmp_path / "faces"))
    assert not (tmp_path / "unpickled").exists()


def test_results_that_would_fill_the_memory_are_refused(runs):
    results = ResultsFolder(runs / "results" / "tiny")
    (record,) = (record for record in results.records() if record.spec.model == "counted")
    known = Predictions.newest(results)
    (runs / "long.csv").write_bytes(b"sample_id," * 5_000_000)
    with bounded_memory(), pytest.raises(FerBenchError, match="1,048,576 characters"):
        read_predictions(runs / "long.csv", known)
    predictions = results.runs / record.run_id / "predictions.npz"
    predictions.write_bytes(archive(test_ids=known.ids["test"], test_probabilities=np.zeros((5_000_000, 3))))
    with bounded_memory():
        (verdict,) = (verdict for verdict in verify(results).verdicts if verdict.run_id == record.run_id)
        assert "unpack to" in verdict.remarks[0]
    (split,) = results.path.glob("split-*")
    split.write_bytes(gzip.compress(b"sample_id,subset,label\n" + bytes(100_000_000)))
    with bounded_memory(), pytest.raises(FerBenchError, match="unpack to more than"):
        Predictions.newest(results)
    results.record_path(record.run_id).write_text("[" * 100_000)
    assert results.status(record.run_id) is None and results.record(record.run_id) is None
    with pytest.raises(FerBenchError, match="1 damaged record"):
        results.records()


def test_the_command_line_says_it_in_one_message(runs, program):
    (runs / "bomb.csv.gz").write_bytes(gzip.compress(table(5000)))
    (runs / "pickle.npz").write_bytes(zipped(npy(np.array([Runs()])), "images.npy"))
    os.mkfifo(runs / "pipe.csv")
    (split,) = (runs / "results" / "tiny").glob("split-*")
    split.write_bytes(split.read_bytes()[:50])
    for command in (
        ("data", "describe", "--data", "bomb.csv.gz"), ("plan", "--data", "pickle.npz"), ("plan", "--data", "pipe.csv"),
        ("judge", "pipe.csv", "--name", "tiny"), ("report", "--name", "tiny"),
    ):  # fmt: skip
        done = program(*command)
        assert done.returncode == 2, command
        assert done.stderr.startswith("fer_bench: ") and "Traceback" not in done.stderr
    assert not (runs / "unpickled").exists()
