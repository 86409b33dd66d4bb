"""File names of known data sets: who is on an image, and what is shown, where the name says so."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

ENOUGH = 0.9
"""Share of the names that are written as a data set's are, from which it is that one."""
KNOWN = {
    "CK+": r"(?P<person>S\d{3})_\d{3}_\d{8}",
    "JAFFE": r"(?P<person>[A-Z]{2})[.-](?P<expression>AN|DI|FE|HA|NE|SA|SU)\d[.-]\d+",
    "KDEF": r"[AB](?P<person>[FM]\d{2})(?P<expression>AF|AN|DI|HA|NE|SA|SU)(?:S|[HF][LR])",
    "RaFD": r"Rafd\d{3}_(?P<person>\d{2})_[a-z]+_(?:fe)?male_(?P<expression>[a-z]+)_(?:frontal|left|right)",
    "Yale": r"(?P<person>subject\d{2})[._-]?(?P<expression>centerlight|glasses|happy|leftlight|noglasses|normal|"
    r"rightlight|sad|sleepy|surprised|wink|gif)",
}
"""Lucey et al. 2010; Lyons et al. 1998; Lundqvist et al. 1998; Langner et al. 2010; Belhumeur et al. 1997. The pattern
of a name: `person`, and `expression` as the data set abbreviates it."""
_COMPILED = {
    name: re.compile(rf"(?<![A-Za-z0-9])(?:{pattern})(?![A-Za-z0-9])", re.IGNORECASE) for name, pattern in KNOWN.items()
}


def recognised(names: Iterable[str]) -> tuple[str, list[Mapping[str, str]]] | None:
    """The data set whose file names these are, and the parts of each name, in upper case; None where they are of none.

    names: paths or bare names; of a few that are written otherwise the parts are empty.
    """
    bases = [PurePosixPath(name).name for name in names]
    for data_set, pattern in _COMPILED.items():
        parts: list[Mapping[str, str]] = [
            {key: value.upper() for key, value in match.groupdict().items() if value} if match else {}
            for match in map(pattern.search, bases)
        ]
        if bases and sum(map(bool, parts)) >= ENOUGH * len(bases):
            return data_set, parts
    return None
