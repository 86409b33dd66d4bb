"""Classes renamed, merged and dropped, as `--classes` says."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fer_bench.data.readers.decoded import Decoded, emotion, same_name
from fer_bench.errors import FerBenchError


def parsed(classes: str) -> dict[str, str]:
    """New names by old ones, of "ANGER=angry,1=surprise,contempt=".

    Raises FerBenchError for anything else, and where a class would get two names.
    """
    pairs = [part.partition("=") for part in classes.split(",") if part.strip()]
    if not pairs or any(not mark or not old.strip() for old, mark, _ in pairs):
        raise FerBenchError(f"--classes {classes!r}: pairs of names as in 'ANGER=angry,1=surprise,contempt='")
    asked = {old.strip(): new.strip() for old, _, new in pairs}
    if len({same_name(old) for old in asked}) < len(pairs):
        raise FerBenchError(f"--classes {classes!r}: names a class more than once")
    return asked


def asked_for(classes: str | None) -> set[str]:
    """What `same_name` makes of the old names in `classes`."""
    return {same_name(name) for name in parsed(classes)} if classes else set()


def renamed(names: Sequence[str], classes: str | None) -> list[str]:
    """What `classes` makes of each of the class `names`, "" of one that is dropped."""
    wanted = {same_name(old): new for old, new in parsed(classes).items()} if classes else {}
    return [wanted.get(same_name(name), name) for name in names]


def with_classes(decoded: Decoded, classes: str) -> Decoded:
    """`decoded` with the classes renamed, those of one new name merged, and those without one dropped.

    Votes for a class go with it; those for one that is dropped stay under its old name, as for any other emotion.
    Old names are compared by `same_name`. Raises FerBenchError naming those that are none.
    """
    there = {same_name(name) for name in decoded.class_names}
    if unknown := [old for old in parsed(classes) if same_name(old) not in there]:
        raise FerBenchError(f"--classes: no class {', '.join(unknown)}; there are {', '.join(decoded.class_names)}")
    new_names = renamed(decoded.class_names, classes)
    names = tuple(dict.fromkeys(name for name in new_names if name))
    codes = np.array([names.index(name) if name else -1 for name in new_names])
    labels = codes[decoded.labels]
    rows = np.flatnonzero(labels >= 0)
    dropped = [name for name, new in zip(decoded.class_names, new_names, strict=True) if not new]
    note = (f"dropped as --classes says: {', '.join(dropped)}, {len(labels) - len(rows):,} images",) if dropped else ()
    voted = {emotion(name): new for name, new in zip(decoded.class_names, new_names, strict=True) if new}
    decoded = _with_votes_for(decoded, [voted.get(emotion(name), name) for name in decoded.vote_names])
    by_row = ("images", "sample_ids", "rows", "subsets", "votes", "groups")
    kept = {name: array[rows] for name in by_row if (array := getattr(decoded, name)) is not None and dropped}
    columns = {name: values[rows] for name, values in decoded.columns.items()}
    return replace(
        decoded, class_names=names, labels=labels[rows], columns=columns, notes=(*decoded.notes, *note), **kept
    )


def _with_votes_for(decoded: Decoded, names: Sequence[str]) -> Decoded:
    """`decoded` with its votes called `names`, those of one name counted together."""
    if decoded.votes is None or not names:
        return decoded
    different = tuple(dict.fromkeys(names))
    votes = decoded.votes.astype(np.int64) @ (np.array(names)[:, None] == np.array(different))
    return replace(decoded, votes=votes, vote_names=different)
