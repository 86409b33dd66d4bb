"""The audit of prepared data, in its results folder: before every run, and by itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fer_bench.cache import write_atomic
from fer_bench.data import read_copies, stored_audit
from fer_bench.execution.prepare import Prepared
from fer_bench.judging.data_card import CARD_FILE, data_card
from fer_bench.progress import Progress, silent
from fer_bench.records import AUDIT_FILE, Audit
from fer_bench.records.images import ImageFacts, images_path, write_images

SHEET = Path("sheets") / "copies.png"


def audit_data(prepared: Prepared, command: str, progress: Progress = silent) -> Audit:
    """The audit of `prepared`, from the cache if it is there.

    audit.json, the data card and the facts about images are written beside the runs where they are missing or speak of
    something else. command: what is shown on the card as having made it.
    """
    folder = stored_audit(prepared.dataset_folder, prepared.split_folder, progress)
    content = (folder / "audit.json").read_bytes()
    audit = Audit.load(folder / "audit.json")
    target = prepared.results.path / AUDIT_FILE
    if not target.exists() or target.read_bytes() != content or not target.with_name(CARD_FILE).exists():
        write_atomic(target.with_name(CARD_FILE), data_card(audit, command))
        write_atomic(target, content)
    _store_images(prepared, folder)
    return audit


def write_sheet(prepared: Prepared) -> Path:
    """Draw examples of copies into the results folder; returns where."""
    from fer_bench.data import Dataset, Split, stored_copies
    from fer_bench.judging.pair_sheet import write_pair_sheet

    dataset = Dataset.load(prepared.dataset_folder)
    path = prepared.results.path / SHEET
    write_pair_sheet(path, dataset, Split.load(prepared.split_folder), stored_copies(dataset))
    return path


def _store_images(prepared: Prepared, audit_folder: Path) -> None:
    """Put the facts about validation and test images beside the results; votes that are known there stay known."""
    import numpy as np

    from fer_bench.data import Dataset, Split

    dataset, split = Dataset.load(prepared.dataset_folder), Split.load(prepared.split_folder)
    copies = read_copies(audit_folder)
    rows = np.concatenate([split.validation, split.test])
    subset = np.repeat(["validation", "test"], [len(split.validation), len(split.test)])
    facts = ImageFacts(dataset.sample_ids[rows], subset, copies[rows])
    path = images_path(prepared.results.path, prepared.split_fingerprint)
    if dataset.votes is not None and dataset.vote_names:
        facts = replace(facts, votes=dataset.votes[rows], vote_names=dataset.vote_names)
    elif path.exists():
        known = ImageFacts.load(path).of(facts.ids)
        facts = replace(facts, votes=known.votes, vote_names=known.vote_names)
    write_images(path, facts)
