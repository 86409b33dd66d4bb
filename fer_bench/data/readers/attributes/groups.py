"""Who is on which image: as `--groups` says, as a column says, or as the file names of known data sets say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from fer_bench.data.dataset import GroupedBy
from fer_bench.data.readers.attributes.names import recognised
from fer_bench.data.readers.decoded import Decoded, is_missing
from fer_bench.data.readers.tables import is_file, open_table
from fer_bench.errors import FerBenchError, listing

COLUMNS: dict[str, GroupedBy] = {
    **dict.fromkeys(("subject", "person", "identity", "user", "participant", "group"), "person"),
    **dict.fromkeys(("image", "imagename", "photo"), "image"),
    **dict.fromkeys(("clip", "video"), "clip"),
}
"""Columns that are understood, in any case, with or without "id", the first that is there."""
FILE_COLUMNS = ("file", "filename", "image", "imagename", "path", "name", "id", "sample")
LEAST_PEOPLE = 3
"""A column of fewer values, such as two arms of a study, names no people unless it is asked for."""
LOOKS = (
    (re.compile(r"()([A-Za-z]{0,12})([_-]?)(\d{1,4})([_\- .])"), "^({0})"),
    (re.compile(r"([A-Za-z]+[_-])([A-Za-z]{0,12})([_-]?)(\d{1,4})([_\- .])"), "^[A-Za-z]+[_-]({0})"),
)
"""Beginnings of names that look like people: what stands before, letters, a separator, a number, what follows."""
SHOWN = 5


def with_groups(decoded: Decoded, groups: str | None, slices: Sequence[str] = ()) -> Decoded:
    """`decoded` with its groups, how they are known, and notes; as it is, with a hint at most, where nothing is.

    groups: a column, a file, or a pattern, see `ReadOptions`; None: columns and file names are looked at. A column of
    these stays for `slices` that name it too. Raises FerBenchError naming every image that it says nothing of.
    """
    if groups is not None:
        return _given(decoded, groups, slices)
    if decoded.groups is not None:
        return decoded
    for name, by in _known_columns(decoded):
        values = _cleaned(decoded.columns[name])
        n_different = len(set(values) - {""})
        if n_different < LEAST_PEOPLE:
            note = f"column {name} has {n_different} different values: not taken for {_plural(by)}"
            decoded = replace(decoded, notes=(*decoded.notes, f"{note} (--groups {name} does)"))
        elif by == "person" or n_different < len(values):
            return _grouped(_without(decoded, name, slices), values, by, f"column {name}")
    names = _file_names(decoded)
    if found := recognised(names):
        data_set, parts = found
        return _grouped(decoded, [part.get("person", "") for part in parts], "person", f"file names as in {data_set}")
    hint = looks_like_people(names, decoded.labels)
    return replace(decoded, notes=(*decoded.notes, hint)) if hint else decoded


def looks_like_people(names: Sequence[str], labels: np.ndarray) -> str:
    """A note with the option to give, where most names begin with something that returns in several classes."""
    stems = [PurePosixPath(name).stem for name in names]
    for pattern, shape in LOOKS:
        found = [
            (match, label) for match, label in zip(map(pattern.match, stems), labels.tolist(), strict=True) if match
        ]
        classes: dict[str, set[int]] = {}
        for match, label in found:
            classes.setdefault("".join(match.group(2, 3, 4)), set()).add(label)
        returning = {key for key, of in classes.items() if len(of) > 1}
        n_returning = sum("".join(match.group(2, 3, 4)) in returning for match, _ in found)
        if len(returning) < LEAST_PEOPLE or 2 * n_returning < len(names) or 2 * len(classes) > len(names):
            continue
        words, seps, ends = ({match[at] for match, _ in found} for at in (2, 3, 5))
        word = re.escape(words.pop()) if len(words) == 1 else "[A-Za-z]+"
        sep = seps.pop() if len(seps) == 1 else "[_-]?"
        end = ends.pop().replace(".", r"\.") if len(ends) == 1 else "[-_ .]"
        option = shape.format(rf"{word}{sep}\d+") + end
        shown = ", ".join(sorted(returning)[:3])
        return (
            f"file names look as if they said who is on the images ({shown}): --groups '{option}' keeps people together"
        )
    return ""


def _given(decoded: Decoded, groups: str, slices: Sequence[str]) -> Decoded:
    columns = {name.strip().casefold(): name for name in decoded.columns}
    if decoded.groups is not None and groups.casefold() == decoded.groups_from:  # the archive's own
        return decoded
    if (name := columns.get(groups.strip().casefold())) is not None:
        by = COLUMNS.get(_plain(name), "person")
        values, where = _cleaned(decoded.columns[name]), f"column {name}"
        decoded = _without(decoded, name, slices)
    elif is_file(groups):
        by, values, where = "person", _joined(decoded, Path(groups)), Path(groups).name
    else:
        by, values, where = "person", _matched(decoded, groups), f"the pattern {groups} in file names"
    unknown = [_file_names(decoded)[at] for at, value in enumerate(values) if not value]
    if unknown:
        raise FerBenchError(
            f"--groups {groups}: says nothing of {len(unknown):,} of {len(values):,} images\n{listing(unknown)}"
        )
    if len(set(values)) < 2:
        raise FerBenchError(f"--groups {groups}: puts every image into one group, {values[0]!r}")
    return _grouped(decoded, values, by, where)


def _grouped(decoded: Decoded, values: Sequence[str], by: GroupedBy, where: str) -> Decoded:
    """`decoded` with images of one of the `values` in a group, and those of "" each in one of their own."""
    keys = [f"={value}" if value else f"?{at}" for at, value in enumerate(values)]
    numbers = np.unique(keys, return_inverse=True)[1]
    n_known = len(set(values) - {""})
    note = f"{n_known:,} {_plural(by)} known by {where}, kept together"
    if n_unknown := sum(not value for value in values):
        note += f"; of {n_unknown:,} images it is not known"
    return replace(decoded, groups=numbers, grouped_by=by, groups_from=where, notes=(*decoded.notes, note))


def _matched(decoded: Decoded, text: str) -> list[str]:
    """The first group, or all, of what the pattern `text` finds in each file name, or else in its path."""
    try:
        pattern = re.compile(text)
    except re.error as error:
        there = ", ".join(decoded.columns) or "none"
        raise FerBenchError(
            f"--groups {text}: no file, no column of the data (there are {there}), and no pattern either ({error})"
        ) from error
    found = []
    for name in _file_names(decoded):
        match = pattern.search(PurePosixPath(name).name) or pattern.search(name)
        found.append("" if match is None else (match[1] or "" if pattern.groups else match[0]))
    if not any(found):
        there = ", ".join(decoded.columns) or "none"
        raise FerBenchError(
            f"--groups {text}: no such file, no such column (there are {there}), and as a pattern it is found in no "
            f"file name, such as\n{listing(_file_names(decoded)[:SHOWN])}"
        )
    return found


def _joined(decoded: Decoded, path: Path) -> list[str]:
    """The group of each image by a CSV of files or ids and groups: by id, then by file name, then by name alone."""
    ids = [str(sample_id) for sample_id in decoded.sample_ids]
    names = _file_names(decoded)
    groups, twice = _table(path)
    if twice:
        raise FerBenchError(f"--groups {path}: several groups for one image\n{listing(twice)}")
    found = [groups.get(one) or groups.get(name) or "" for one, name in zip(ids, names, strict=True)]
    for way in (lambda text: PurePosixPath(text).name, lambda text: PurePosixPath(text).stem):
        known: dict[str, set[str]] = {}
        for key, group in groups.items():
            known.setdefault(way(key), set()).add(group)
        for at, name in enumerate(names):
            if not found[at] and len(known.get(way(name), ())) == 1:
                (found[at],) = known[way(name)]
    return found


def _table(path: Path) -> tuple[dict[str, str], list[str]]:
    """The group of each file or id, and the lines that say another than one before."""
    with open_table(path) as table:
        rows = [(1, table.names), *((line, [cell.decode(errors="replace") for cell in row]) for line, row in table)]
    header = [_plain(cell) for cell in rows[0][1]]
    file_at = next((at for at, cell in enumerate(header) if cell in FILE_COLUMNS or cell == ""), None)
    group_at = next((at for at, cell in enumerate(header) if COLUMNS.get(cell) == "person" and at != file_at), None)
    start = 0 if file_at is None and group_at is None else 1
    file_at = int(group_at == 0) if file_at is None else file_at
    group_at = int(file_at == 0) if group_at is None else group_at
    groups: dict[str, str] = {}
    problems = []
    for line, row in rows[start:]:
        if len(row) <= max(file_at, group_at):
            problems.append(f"line {line}: {len(row)} fields; a file or id and its group are needed")
            continue
        key, group = row[file_at].replace("\\", "/"), row[group_at]
        if groups.setdefault(key, group) != group:
            problems.append(f"line {line}: {key[:60]}: {group[:30]}, before it was {groups[key][:30]}")
    return groups, problems


def _file_names(decoded: Decoded) -> list[str]:
    """Of each image: the column of file names if there is one, else the ids."""
    for name, values in decoded.columns.items():
        if _plain(name) in FILE_COLUMNS and len(set(values.tolist())) > len(values) / 2:
            return [str(value) for value in values]
    return [str(sample_id) for sample_id in decoded.sample_ids]


def _known_columns(decoded: Decoded) -> list[tuple[str, GroupedBy]]:
    return [(name, by) for plain, by in COLUMNS.items() for name in sorted(decoded.columns) if _plain(name) == plain]


def _plain(name: str) -> str:
    """A column's name without case, marks and "id" at its end."""
    plain = re.sub(r"[\W_]", "", name).casefold()
    return plain.removesuffix("id") if len(plain) > 2 else plain


def _cleaned(values: np.ndarray) -> list[str]:
    texts = [str(value).strip() for value in values.tolist()]
    return ["" if is_missing(text) else text for text in texts]


def _without(decoded: Decoded, name: str, slices: Sequence[str]) -> Decoded:
    if name.casefold() in {one.casefold() for one in slices}:
        return decoded
    return replace(decoded, columns={key: values for key, values in decoded.columns.items() if key != name})


def _plural(by: GroupedBy) -> str:
    return {"person": "people", "image": "photographs of several faces", "clip": "clips"}.get(by, "groups")
