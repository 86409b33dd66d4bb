"""Taggers' votes per image (FER+, Barsoum et al. 2016), joined to the images by row."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from fer_bench.data.readers.decoded import Decoded, official_subset
from fer_bench.data.readers.tables import Table, open_table
from fer_bench.errors import FerBenchError, listing

NO_VOTES = {"usage", "image name", "image", "id", "index", "row", "file", "filename"}
INDEX = re.compile(r"(unnamed.*)?$")
"""Names of columns that count no votes: of an index, which pandas writes without one, among them."""


def join_votes(decoded: Decoded, path: Path) -> Decoded:
    """`decoded` with the votes of a CSV like fer2013new.csv: Usage, Image name, then one column per vote.

    Row k of the file belongs to row k of the data; the image names in it number nothing and are not used.
    Raises FerBenchError where the rows cannot be those of the data: another count, another Usage.
    """
    if decoded.rows is None:
        raise FerBenchError(
            f"{path}: votes join by row, and this data has no rows, only files; use the .csv or an .npz"
        )
    with open_table(path) as table:
        usage_at = table.find("usage")
        votes_at = [at for at, name in enumerate(table.columns) if name not in NO_VOTES and not INDEX.match(name)]
        lines, usages, counts = _read(table, usage_at, votes_at)
        vote_names = tuple(table.names[at] for at in votes_at)
    if len(lines) != decoded.n_rows:
        raise FerBenchError(
            f"{path}: {len(lines):,} rows of votes for {decoded.n_rows:,} rows of data; they join row by row"
        )
    if decoded.subsets is not None and usage_at is not None:
        voted = [official_subset(usages[row]) for row in decoded.rows]
        wrong = [
            f"line {lines[row]}: {usages[row]!r}, but the data say {str(subset)!r}"
            for row, subset, other in zip(decoded.rows, decoded.subsets, voted, strict=True)
            if subset != other
        ]
        if wrong:
            raise FerBenchError(
                f"{path}: not the votes of this data, {len(wrong):,} rows have another Usage\n{listing(wrong, 5)}"
            )
    return replace(decoded, votes=np.array(counts, dtype=np.int64)[decoded.rows], vote_names=vote_names)


def _read(table: Table, usage_at: int | None, votes_at: list[int]) -> tuple[list[int], list[str], list[list[int]]]:
    """Line number, Usage and votes of every row. Raises FerBenchError naming every bad row."""
    lines: list[int] = []
    usages: list[str] = []
    counts: list[list[int]] = []
    bad: list[str] = []
    if not votes_at:
        raise FerBenchError(f"{table.path}: no columns of votes, only {', '.join(table.names)}")
    for line, fields in table:
        lines.append(line)
        if len(fields) != len(table.names):
            bad.append(f"line {line}: {len(fields)} fields, not {len(table.names)}")
            continue
        votes = [fields[at] for at in votes_at]
        if not all(vote.isdigit() and len(vote) < 10 for vote in votes):
            shown = b",".join(votes).decode(errors="replace")[:60]
            bad.append(f"line {line}: votes that are not whole numbers: {shown}")
            continue
        usages.append("" if usage_at is None else fields[usage_at].decode(errors="replace"))
        counts.append([int(vote) for vote in votes])
    if bad:
        raise FerBenchError(f"{table.path}: {len(bad):,} bad rows of {len(lines):,}\n{listing(bad)}")
    return lines, usages, counts
