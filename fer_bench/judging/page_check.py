"""The pages of a results folder, line by line against those that records and stored probabilities give."""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from pathlib import Path

from fer_bench.errors import FerBenchError
from fer_bench.judging import leaderboard
from fer_bench.judging.evidence import TOLERANCE
from fer_bench.judging.formats import csv_text
from fer_bench.judging.markdown import markdown
from fer_bench.records.schema import Record
from fer_bench.records.store import ResultsFolder

PAGE = re.compile(r"(leaderboard(?:-(\d+)-folds)?)\.(?:md|csv)")
SHOWN = 3


def page_faults(folder: ResultsFolder, records: Sequence[Record]) -> Iterator[str]:
    """What the leaderboards in `folder`, those of folds too, show and `records` and their probabilities do not give."""
    found = (PAGE.fullmatch(path.name) for path in folder.path.glob("leaderboard*"))
    for name, n_folds in sorted({(match[1], int(match[2] or 0)) for match in found if match}):
        try:
            yield from _faults(folder, records, name, n_folds)
        except FerBenchError as error:
            yield f"the {name} cannot be computed again: {error}"


def _faults(folder: ResultsFolder, records: Sequence[Record], name: str, n_folds: int) -> Iterator[str]:
    """Of the table and the page called `name`, one of which may be missing. n_folds: 0 for those of one split."""
    table, page = (_text(folder.path / f"{name}.{ending}") for ending in ("csv", "md"))
    lines = None if table is None else _cells(table)
    of_folds = [record for record in records if record.spec.n_folds == n_folds]
    split = _split_shown(of_folds, lines or [], page or "")
    board = leaderboard.build(records, _command(page or ""), split, folder.path)
    if lines is not None:
        yield from (f"{name}.csv: {fault}" for fault in _table_faults(lines, _cells(csv_text(board))))
    if page is not None:
        yield from (f"{name}.md: {fault}" for fault in _page_faults(page, markdown(board)))


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else None


def _cells(table: str) -> list[list[str]]:
    """Cells by line, the first that of the columns. Raises FerBenchError where it is no CSV."""
    try:
        return list(csv.reader(io.StringIO(table))) or [[]]
    except csv.Error as error:
        raise FerBenchError(f"its table cannot be read: {error}") from error


def _split_shown(records: Sequence[Record], lines: Sequence[Sequence[str]], page: str) -> leaderboard.Split:
    """The split of which the table lists a run or the page names data and split: the newest, where there are several.

    Where there is none, the newest of all `records`; without these, ("", ""), which is that of no record.
    """
    newest_first = sorted(records, key=lambda record: (record.started, record.run_id), reverse=True)
    by_run = {record.run_id: (record.spec.data_fingerprint, record.spec.split_fingerprint) for record in newest_first}
    shown = {by_run[line[-1]] for line in lines if line and line[-1] in by_run}
    shown |= {split for split in {*by_run.values()} if all(fingerprint in page for fingerprint in split)}
    newest = [split for split in by_run.values() if split in shown or not shown]
    return newest[0] if newest else ("", "")


def _command(page: str) -> str | None:
    """The command that the page says made it, which no record needs to hold."""
    after = page.partition("The newest run was made by\n\n    ")[2]
    return after.partition("\n")[0] or None


def _page_faults(shown: str, expected: str) -> Iterator[str]:
    """Lines that are too many, missing or in another place."""
    old, new = shown.splitlines(), expected.splitlines()
    changes = [(i, j, n - m) for tag, i, j, m, n in SequenceMatcher(None, old, new).get_opcodes() if tag != "equal"]
    strange = [at for start, stop, _ in changes for at in range(start, stop)]
    n_missing = sum(n for *_, n in changes)
    for at in strange[:SHOWN]:
        yield f"line {at + 1}: the records do not give {old[at][:160]!r} there"
    if len(strange) > SHOWN or (n_missing and not strange):
        yield f"{len(strange)} lines in it and {n_missing} missing from it are not as records give"


def _table_faults(shown: Sequence[list[str]], expected: Sequence[list[str]]) -> list[str]:
    """Lines that are too many, missing, repeated or in another place, and cells that say something else."""
    columns = expected[0]
    if shown[0] != columns:
        return ["has other columns than `fer_bench report` writes"]
    odd = [at for at, line in enumerate(shown) if len(line) != len(columns)]
    lines = [dict(zip(columns, line, strict=True)) for at, line in enumerate(shown[1:], start=1) if at not in odd]
    given = {line["run_id"]: line for line in (dict(zip(columns, line, strict=True)) for line in expected[1:])}
    counts = Counter(line["run_id"] for line in lines)
    faults = [f"{run_id}: is not there" for run_id in given.keys() - counts.keys()]
    faults += [f"{run_id}: has no record" for run_id in counts.keys() - given.keys()]
    moved = {"rank", "band"} if faults else set()  # by the lines too many or too few, which are named
    faults += [f"line {at + 1}: has {len(shown[at])} cells, not {len(columns)}" for at in odd]
    faults += [f"{run_id}: stands on {n} lines" for run_id, n in counts.items() if n > 1]
    if [run_id for run_id in counts if run_id in given] != [run_id for run_id in given if run_id in counts]:
        faults.append("its lines stand in another order than the records give")
    faults += [
        f"{line['run_id']}: {name} is {line[name]!r}, and {value!r} from the records"
        for line in lines
        for name, value in given.get(line["run_id"], {}).items()
        if not _alike(line[name], value) and name not in moved
    ]
    return sorted(faults)


def _alike(shown: str, expected: str) -> bool:
    """Whether two cells say the same, numbers but for the rounding that another processor may do."""
    try:
        return shown == expected or math.isclose(float(shown), float(expected), rel_tol=0, abs_tol=2 * TOLERANCE)
    except ValueError:
        return False
