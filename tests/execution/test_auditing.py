"""The audit beside the runs: written once, before every run, with what taggers said where that is known."""

import json
import subprocess
import sys

import numpy as np
import pytest

from fer_bench.errors import FerBenchError
from fer_bench.execution.auditing import audit_data, write_sheet
from fer_bench.execution.prepare import prepare
from fer_bench.records.audit import Audit
from fer_bench.records.images import ImageFacts, images_path


@pytest.fixture
def with_copies(tmp_path):
    """An .npz of 60 images in official subsets; two test images are copies of training images."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 24, 24)).astype(np.uint8)
    images[50], images[51] = images[0], images[1] // 2 + 9
    path = tmp_path / "copied.npz"

    def write(with_images=images, **more):
        np.savez(
            path, images=with_images, labels=np.arange(60) % 2, class_names=np.array(["a", "b"]),
            subsets=np.repeat(["train", "validation", "test"], [30, 10, 20]), **more,
        )  # fmt: skip
        return str(path)

    return write


def test_everything_is_written_beside_the_runs_once(with_copies, tmp_path):
    prepared = prepare(with_copies(), tmp_path / "results")
    audit = audit_data(prepared, "first")
    folder = prepared.results.path
    assert Audit.load(folder / "audit.json") == audit
    assert audit.fingerprints == prepared.fingerprints
    assert "    first" in (folder / "data_card.md").read_text()
    facts = ImageFacts.load(images_path(folder, prepared.split_fingerprint))
    assert facts.subset.tolist() == ["validation"] * 10 + ["test"] * 20
    assert dict(zip(facts.ids.tolist(), facts.copy_in_train.tolist(), strict=True))[facts.ids[20]] == "exact"
    assert facts.copy_in_train.tolist() == [""] * 20 + ["exact", "near"] + [""] * 8
    assert facts.votes is None
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    audit_data(prepared, "second")
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    (folder / "data_card.md").unlink()
    audit_data(prepared, "third")
    assert "    third" in (folder / "data_card.md").read_text()


def test_votes_are_added_when_they_become_known(with_copies, tmp_path):
    prepared = prepare(with_copies(), tmp_path / "results")
    audit_data(prepared, "without")
    votes = np.arange(120).reshape(60, 2)
    prepared = prepare(with_copies(votes=votes, vote_names=np.array(["joy", "NF"])), tmp_path / "results")
    audit_data(prepared, "with")
    path = images_path(prepared.results.path, prepared.split_fingerprint)
    facts = ImageFacts.load(path)
    assert facts.vote_names == ("joy", "NF")
    assert facts.votes.tolist() == votes[30:].tolist()
    audit_data(prepare(with_copies(), tmp_path / "results"), "without again")
    assert ImageFacts.load(path).vote_names == ("joy", "NF")


def test_other_images_and_votes_under_the_same_ids_are_told_anew(with_copies, tmp_path):
    votes, names = np.arange(120).reshape(60, 2), np.array(["joy", "NF"])
    audit_data(prepare(with_copies(votes=votes, vote_names=names), tmp_path / "results"), "audit")
    others = np.random.default_rng(1).integers(0, 256, (60, 24, 24)).astype(np.uint8)
    prepared = prepare(with_copies(others, votes=2 * votes, vote_names=names), tmp_path / "results")
    audit_data(prepared, "audit")
    facts = ImageFacts.load(images_path(prepared.results.path, prepared.split_fingerprint))
    assert not (facts.copy_in_train != "").any()
    assert facts.votes.tolist() == (2 * votes[30:]).tolist()


def test_a_damaged_audit_is_named(with_copies, tmp_path):
    prepared = prepare(with_copies(), tmp_path / "results")
    audit_data(prepared, "audit")
    path = prepared.results.path / "audit.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "images": "many"}))
    with pytest.raises(FerBenchError, match=r"audit\.json: images: .* run `fer_bench audit` again"):
        Audit.load(path)


def test_the_sheet_of_copies_is_drawn(with_copies, tmp_path):
    prepared = prepare(with_copies(), tmp_path / "results")
    sheet = write_sheet(prepared)
    assert sheet.read_bytes().startswith(b"\x89PNG")
    assert sheet.parent.name == "sheets"  # which git ignores


def test_what_is_stored_is_read_without_scikit_learn(with_copies, tmp_path):
    data = with_copies()
    script = """
import sys
from pathlib import Path
from fer_bench.execution.auditing import audit_data
from fer_bench.execution.prepare import prepare
audit_data(prepare(sys.argv[1], Path(sys.argv[2])), "again")
print(*{name.partition(".")[0] for name in sys.modules})
"""
    told = [
        subprocess.run(
            [sys.executable, "-c", script, data, str(tmp_path / "results")], capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(2)
    ]
    assert "sklearn" in told[0]
    assert not {"sklearn", "scipy", "cv2"} & {*told[1]}


def test_audit_by_command(program, with_copies):
    told = program("audit", "--data", with_copies())
    assert told.returncode == 0, told.stdout + told.stderr
    assert "test images with an exact copy in train" in told.stdout
    assert "Leak gate: passed" in told.stdout


def test_suspect_data_end_with_exit_code_1(program, tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 24, 24)).astype(np.uint8)
    images[40:] = images[:20]
    np.savez(
        tmp_path / "leaky.npz", images=images, labels=np.arange(60) % 2, class_names=np.array(["a", "b"]),
        subsets=np.repeat(["train", "validation", "test"], [30, 10, 20]),
    )  # fmt: skip
    told = program("audit", "--data", "leaky.npz")
    assert told.returncode == 1
    assert "LEAK SUSPECT" in told.stdout
    assert "20 of 20 test images (100.0 %) are exact copies" in told.stdout


def test_a_run_audits_first(program, tiny_npz, tmp_path):
    told = program("run", "--data", str(tiny_npz), "--models", "majority", "--strategies", "none", "--results", "r")
    assert told.returncode == 0, told.stdout + told.stderr
    folder = tmp_path / "r" / "tiny"
    assert Audit.load(folder / "audit.json").images == 120
    assert (folder / "data_card.md").exists()
    assert len(list(folder.glob("images-*.csv.gz"))) == 1
