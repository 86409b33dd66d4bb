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
    "KDEF": r"(?P<session>[AB])(?P<person>(?P<gender>[FM])\d{2})(?P<expression>AF|AN|DI|HA|NE|SA|SU)"
    r"(?P<angle>S|[HF][LR])",
    "RaFD": r"Rafd(?P<angle>\d{3})_(?P<person>\d{2})_(?P<origin>[a-z]+)_(?P<gender>(?:fe)?male)_(?P<expression>[a-z]+)_"
    r"(?P<gaze>frontal|left|right)",
    "Yale": r"(?P<person>subject\d{2})[._-]?(?P<expression>centerlight|glasses|happy|leftlight|noglasses|normal|"
    r"rightlight|sad|sleepy|surprised|wink|gif)",
}
"""Lucey et al. 2010; Lyons et al. 1998; Lundqvist et al. 1998; Langner et al. 2010; Belhumeur et al. 1997. The pattern
of a name: `person`, and `expression` as the data set abbreviates it."""
_CODES = {"AF": "fear", "AN": "angry", "DI": "disgust", "FE": "fear", "HA": "happy", "NE": "neutral", "SA": "sad"}
_CODES |= {"SU": "surprise"}
EXPRESSIONS: dict[str, Mapping[str, str]] = {
    "JAFFE": _CODES,
    "KDEF": _CODES,
    "RaFD": {"ANGRY": "angry", "CONTEMPTUOUS": "contempt", "DISGUSTED": "disgust", "FEARFUL": "fear", "HAPPY": "happy"}
    | {"NEUTRAL": "neutral", "SAD": "sad", "SURPRISED": "surprise"},
    "Yale": {"HAPPY": "happy", "NORMAL": "neutral", "SAD": "sad", "SLEEPY": "sleepy", "SURPRISED": "surprise"}
    | {"WINK": "wink"},
}
"""The class of each expression; Yale's further ones are conditions of light and glasses, and no expressions."""
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
