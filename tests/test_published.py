"""The results of this repository: what they say follows from the evidence beside them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fer_bench.analysis import Standing, unpack, verify
from fer_bench.records import PublishedFolder, ResultsFolder, open_results

PUBLISHED = Path(__file__).parents[1] / "results" / "published"


@pytest.mark.parametrize("data", ["synthetic", "fer2013", "yalefaces"])
def test_published_pages_are_those_that_the_evidence_gives(data):
    environment = {**os.environ, "PYTHONPATH": str(PUBLISHED.parents[1])}
    command = [sys.executable, "-m", "fer_bench", "verify", str(PUBLISHED / data)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert isinstance(open_results(PUBLISHED / data), PublishedFolder) and done.returncode == 0, done.stdout
    (page,), (report,) = ([*(PUBLISHED / data).glob(name)] for name in ("leaderboard*.md", "report*.html"))
    assert len(page.read_text().splitlines()) <= 150 and page.stat().st_size <= 25_000
    assert report.stat().st_size <= 3_000_000


def test_published_figures_follow_from_the_probabilities_unpacked_ones_too(tmp_path):
    published, unpacked = open_results(PUBLISHED / "synthetic"), ResultsFolder(tmp_path / "synthetic")
    assert unpack(published, unpacked) > 0
    for folder in (published, open_results(unpacked.path)):
        found = verify(folder)
        assert found.is_sound
        assert {verdict.standing for verdict in found.verdicts} == {Standing.rescored}


def test_a_checkout_is_small():
    root = PUBLISHED.parents[1]
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    assert sum((root / name.decode()).stat().st_size for name in listed.stdout.split(b"\0") if name) < 30_000_000
