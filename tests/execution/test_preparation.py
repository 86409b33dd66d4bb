"""Before a plan: the split and the audit beside the results are those of the data that runs are scored on."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from fer_bench.errors import FerBenchError
from fer_bench.execution.preparation import audit_data, prepare
from fer_bench.execution.runner import run_plan
from fer_bench.records import ImageFacts
from fer_bench.records.audit import Audit

VOTES = {"votes": np.arange(120).reshape(60, 2), "vote_names": np.array(["joy", "NF"])}


@pytest.fixture
def with_copies(tmp_path):
    """An .npz of 60 images in official subsets; two test images are copies of training images."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 24, 24)).astype(np.uint8)
    images[50], images[51] = images[0], images[1] // 2 + 9

    def write(with_images=images, labels=np.arange(60) % 2, **more):  # noqa: B008
        np.savez(
            tmp_path / "copied.npz", images=with_images, labels=labels, class_names=np.array(["a", "b"]),
            subsets=np.repeat(["train", "validation", "test"], [30, 10, 20]), **more,
        )  # fmt: skip
        return str(tmp_path / "copied.npz")

    return write


@pytest.fixture
def nothing_due(tmp_path):
    """Give a command on `data` that finds nothing due; returns what it prepared."""

    def command(data, **options):
        prepared = prepare(data, tmp_path / "results", **options)
        finished = run_plan([], prepared)
        assert not finished.failed and not finished.interrupted
        return prepared

    return command


def image_facts(prepared) -> ImageFacts:
    return ImageFacts.load(prepared.results.images_path(prepared.split_fingerprint))


def test_damaged_facts_in_the_cache_are_told_with_what_to_delete(tiny_npz, tmp_path):
    folder = prepare(tiny_npz, tmp_path / "results").split_folder
    (folder / "about.json").write_text("")
    with pytest.raises(FerBenchError, match=f"{folder}: damaged cache entry .*delete that folder"):
        prepare(tiny_npz, tmp_path / "results")


def test_files_beside_the_runs_are_written_once_and_where_they_are_missing_or_damaged(with_copies, nothing_due):
    prepared = nothing_due(with_copies())
    folder = prepared.results.path
    files = {path: path.read_bytes() for path in folder.glob("[!.]*")}
    times = {path: path.stat().st_mtime_ns for path in files}
    assert {path.name.split("-")[0] for path in files} == {"split", "audit.json", "images"}
    nothing_due(with_copies())
    assert {path: path.stat().st_mtime_ns for path in files} == times
    for path, content in files.items():
        path.unlink()
        nothing_due(with_copies())
        assert path.read_bytes() == content
        if not path.name.startswith("images"):  # which may hold votes that nothing else knows
            path.write_bytes(content[:-10])
            nothing_due(with_copies())
            assert path.read_bytes() == content


def test_what_is_written_speaks_of_copies(with_copies, nothing_due):
    prepared = nothing_due(with_copies())
    assert Audit.load(prepared.results.path / "audit.json").fingerprints == prepared.fingerprints
    facts = image_facts(prepared)
    assert facts.subset.tolist() == ["validation"] * 10 + ["test"] * 20
    assert facts.copy_in_train.tolist() == [""] * 20 + ["exact", "near"] + [""] * 8
    assert facts.votes is None


def test_labels_corrected_are_other_data_with_a_folder_of_their_own(with_copies, nothing_due):
    first = nothing_due(with_copies())
    other = nothing_due(with_copies(labels=(np.arange(60) + 1) % 2))
    assert other.results.path != first.results.path
    assert nothing_due(with_copies()).results.path == first.results.path


def test_votes_are_added_when_they_become_known(with_copies, nothing_due):
    without = nothing_due(with_copies())
    with_votes = nothing_due(with_copies(**VOTES))
    assert without.fingerprints == with_votes.fingerprints
    assert image_facts(with_votes).vote_names == ("joy", "NF")
    assert image_facts(with_votes).votes.tolist() == VOTES["votes"][30:].tolist()
    assert image_facts(nothing_due(with_copies())).vote_names == ("joy", "NF")


def test_of_folds_too_what_is_known_stays_known(with_copies, nothing_due):
    data = with_copies(groups=np.arange(60) % 12)
    prepared = nothing_due(data, folds=3)
    facts = image_facts(prepared)
    assert len(set(facts.groups.tolist())) == 12 and not facts.slices
    told = {"light": np.where(np.arange(len(facts.ids)) % 2, "dim", "")}
    replace(facts, slices=told).write(prepared.results.images_path(prepared.split_fingerprint))
    again = image_facts(nothing_due(data, folds=3))
    assert again.slices["light"].tolist() == told["light"].tolist() and again.groups.tolist() == facts.groups.tolist()


def test_other_images_and_votes_under_the_same_ids_are_told_anew(with_copies, nothing_due):
    nothing_due(with_copies(**VOTES))
    others = np.random.default_rng(1).integers(0, 256, (60, 24, 24)).astype(np.uint8)
    facts = image_facts(nothing_due(with_copies(others, **{**VOTES, "votes": 2 * VOTES["votes"]})))
    assert not (facts.copy_in_train != "").any()
    assert facts.votes.tolist() == (2 * VOTES["votes"][30:]).tolist()


def test_the_audit_is_that_of_the_split_asked_for(tiny_npz, nothing_due):
    first, other = nothing_due(tiny_npz, split_seed=0), nothing_due(tiny_npz, split_seed=1)
    path = first.results.path / "audit.json"
    assert Audit.load(path).fingerprints == other.fingerprints != first.fingerprints
    nothing_due(tiny_npz, split_seed=0)
    assert Audit.load(path).fingerprints == first.fingerprints


@pytest.mark.parametrize("seed", [-1, 0.5, 2**32])
def test_a_split_seed_that_cannot_be_is_refused(tiny_npz, tmp_path, seed):
    with pytest.raises(FerBenchError, match="--split-seed"):
        prepare(tiny_npz, tmp_path / "results", split_seed=seed)


def test_each_split_is_judged_by_its_own_audit(with_copies, tmp_path):
    """As two split seeds have runs, or the data alone are audited again."""
    data, audits = with_copies(), []
    for seed in (0, 1, 0):
        prepared = prepare(data, tmp_path / "results", folds=3, split_seed=seed)
        run_plan([], prepared)
        folder = prepared.results
        current, earlier = Audit.load(folder.audit_path(3)), sorted(folder.path.glob("audit-*[!s].json"))
        audits.append(prepared.split_fingerprint)
        assert current.fingerprints == prepared.fingerprints
        assert {Audit.load(path).fingerprints[1] for path in earlier} == {*audits[:-1]}
        assert all(path == folder.earlier_audit_path(Audit.load(path).fingerprints[1]) for path in earlier)


def test_a_damaged_audit_is_named(with_copies, nothing_due):
    path = nothing_due(with_copies()).results.path / "audit.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "images": "many"}))
    with pytest.raises(FerBenchError, match=r"audit\.json: images: .* run `fer_bench audit` again"):
        Audit.load(path)


def test_what_is_stored_is_read_without_scikit_learn(with_copies, tmp_path):
    data = with_copies()
    audit_data(prepare(data, tmp_path / "results"))
    script = """
import sys
from fer_bench.execution import audit_data, prepare
audit_data(prepare(sys.argv[1], sys.argv[2]))
print(*{name.partition(".")[0] for name in sys.modules})
"""
    again = [sys.executable, "-c", script, data, str(tmp_path / "results")]
    imported = subprocess.run(again, capture_output=True, text=True, check=True).stdout.split()
    assert not {"sklearn", "scipy", "cv2", "pandas"} & {*imported}


def test_audit_by_command(program, with_copies, tmp_path):
    sound = program("audit", "--data", with_copies())
    assert sound.returncode == 0, sound.stdout + sound.stderr
    folder = tmp_path / "results" / "copied"
    assert (folder / "sheets" / "copies.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "data_card.md").exists()
    images = np.random.default_rng(0).integers(0, 256, (60, 24, 24)).astype(np.uint8)
    images[40:] = images[:20]
    leaky = program("audit", "--data", with_copies(images))
    assert leaky.returncode == 1 and "20 of 20 test images" in leaky.stdout


def test_data_never_write_over_the_results_of_other_data(tiny_npz, tmp_path):
    results = tmp_path / "results"
    first = prepare(tiny_npz, results)
    audit_data(first)
    kept = first.results.audit_path().read_bytes()
    assert prepare(tiny_npz, results).results.path == first.results.path
    with np.load(tiny_npz) as arrays:
        np.savez(tiny_npz, **{**arrays, "images": 255 - arrays["images"]})
    other = prepare(tiny_npz, results)
    audit_data(other)
    assert other.name == other.results.path.name == f"{first.name}-{other.data_fingerprint[:6]}"
    assert first.results.audit_path().read_bytes() == kept
    with pytest.raises(FerBenchError, match=other.name):
        prepare(tiny_npz, results, first.name)


def test_folds_are_audited_as_one_and_a_folder_is_kept_for_the_data_that_came_first(with_copies, tmp_path):
    folds = prepare(with_copies(), tmp_path / "results", folds=3)
    run_plan([], folds)
    audit = Audit.load(folds.results.audit_path(3))
    assert (audit.n_folds, audit.fingerprints) == (3, folds.fingerprints)
    assert audit.subsets["test"].images == sum(audit.subsets["test"].class_counts) == 40  # official test rows are out
    assert audit.canary.images == audit.subsets["validation"].images and audit.exact.across == audit.near.across == 0
    late = prepare(with_copies(), tmp_path / "elsewhere")
    with np.load(with_copies()) as arrays:
        others = prepare(with_copies(arrays["images"][::-1]), tmp_path / "elsewhere")
    run_plan([], others)  # both were planned while there was nothing
    with pytest.raises(FerBenchError, match=late.data_fingerprint):
        run_plan([], late)
    assert late.results.data_fingerprint() == others.data_fingerprint
