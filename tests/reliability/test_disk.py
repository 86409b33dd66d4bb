"""Disks that are full or read-only: one clear message, what is finished stays, and the next call goes on.

The disks are file systems in memory, mounted where only the processes of a test see them, which needs no root.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

RUN = (
    "run",
    "--plugin",
    "plugin.py",
    "--models",
    "majority,pca-logistic,counted",
    "--strategies",
    "none,over-sampling",
)
PLACES = {"results": ("results",), "cache": ("cache",), "both": ("results", "cache")}
LONG = [pytest.mark.long, pytest.mark.timeout(3600)]
FULL = [pytest.param(PLACES["both"], 4.0, id="short")] + [
    pytest.param(places, 1.15, id=f"{name}-long", marks=LONG) for name, places in PLACES.items()
]
"""What is on the disk, and by how much that grows after each call that did not find room."""


class Disk:
    """A small file system at `path`, and processes that see it."""

    def __init__(self, path: Path, holder: subprocess.Popen) -> None:
        self.path = path
        self.inside = (
            "nsenter", f"--target={holder.pid}", "--user", "--mount", "--preserve-credentials",
            "env", f"--chdir={path.parent}",
        )  # fmt: skip
        self.seen = Path(f"/proc/{holder.pid}/root{path}")
        """Where this process sees it."""

    def mount(self, options: str) -> None:
        """Mount it, or again with other options: "size=64k" in bytes, "ro", "rw"."""
        again = "remount," if self.seen.is_mount() else ""
        command = (*self.inside, "mount", "-t", "tmpfs", "-o", f"{again}{options}", "small", str(self.path))
        subprocess.run(command, check=True, capture_output=True)

    def program(self, *arguments: str) -> subprocess.CompletedProcess:
        """`python -m fer_bench` in the folder that holds the disk."""
        command = (*self.inside, sys.executable, "-m", "fer_bench", *arguments)
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "120"}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture
def disk(tmp_path) -> Iterator[Disk]:
    """A disk that is not mounted yet, at `disk` in the test's folder."""
    path = tmp_path / "disk"
    path.mkdir()
    script = f"mount -t tmpfs -o size=64k trial {path} && umount {path} && echo ready && exec cat"
    command = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    try:
        holder = subprocess.Popen(command, **pipes)
    except FileNotFoundError:
        pytest.skip("needs unshare and nsenter, of util-linux")
    with holder:
        said = holder.stdout.readline().strip()
        if said != "ready":
            pytest.skip(f"no file system can be mounted in a namespace here: {said}")
        yield Disk(path, holder)
        holder.stdin.close()


def refused(done: subprocess.CompletedProcess) -> str:
    """What `done` said of a disk without room: one message, no traceback."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert any(words in done.stderr.lower() for words in ("no space left", "read-only")), done.stderr
    return done.stderr


def finished(folder: Path) -> dict[str, int]:
    """Finished runs, and when each was. Every run on record is whole, and none counts as failed for want of room."""
    stored = {path: json.loads(path.read_text()) for path in folder.glob("runs/[!.]*/record.json")}
    assert {record["status"] for record in stored.values()} <= {"success", "not-applicable", "cancelled"}
    return {
        record["run_id"]: path.stat().st_mtime_ns for path, record in stored.items() if record["status"] != "cancelled"
    }


@pytest.fixture
def options(tmp_path, monkeypatch, plugin):
    """options(places) -> where data and results are for the program, and its cache, on the disk or beside it."""

    def place(places: tuple[str, ...]) -> tuple[str, ...]:
        on_disk = {name: tmp_path / ("disk" if name in places else "") / name for name in ("results", "cache")}
        monkeypatch.setenv("FER_BENCH_CACHE", str(on_disk["cache"]))
        return ("--data", "tiny.npz", "--results", str(on_disk["results"]))

    return place


@pytest.mark.parametrize(("places", "growth"), FULL)
def test_disk_that_is_full_at_every_stage(disk, program, options, outcome, tmp_path, tiny_npz, places, growth):
    assert program(*RUN, *options(()), "--results", "undisturbed").returncode == 0
    expected = outcome(tmp_path / "undisturbed" / "tiny")
    command = (*RUN, *options(places))
    folder = (disk.seen if "results" in places else tmp_path) / "results" / "tiny"
    size, before, calls = 16_384, {}, 0
    disk.mount(f"size={size}")
    while (done := disk.program(*command)).returncode:
        refused(done)
        now = finished(folder)
        assert now | before == now, "a finished run was lost or done again"
        size, before, calls = int(growth * size), now, calls + 1
        disk.mount(f"size={size}")
    found = finished(folder)
    assert calls >= 2 and found | before == found
    assert outcome(folder) == expected


@pytest.mark.parametrize("place", ["results", "cache"])
def test_read_only(disk, options, tmp_path, tiny_npz, place):
    data = options((place,))
    disk.mount("size=64m")
    assert disk.program(*RUN, "--models", "majority", *data).returncode == 0
    folder = (disk.seen if place == "results" else tmp_path) / "results" / "tiny"
    before = finished(folder)
    disk.mount("ro")
    assert place in refused(disk.program(*RUN, *data))
    results = data[-1]
    reported = disk.program("report", "--results", results, "--name", "tiny")
    assert place == "cache" or "tiny" in refused(reported)
    assert disk.program("verify", f"{results}/tiny").returncode == 0
    assert finished(folder) == before
    disk.mount("rw")
    assert disk.program(*RUN, *data).returncode == 0
    after = finished(folder)
    assert len(after) > len(before) and after | before == after
