"""What was predicted as a CSV or JSON file, time lines beside it, and as lines for a terminal."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fer_bench.cache import write_atomic
from fer_bench.deploy.annotating import most_probable, write_timeline
from fer_bench.deploy.bundle import CARD, Bundle
from fer_bench.deploy.faces import Box
from fer_bench.deploy.predicting import Face, Found
from fer_bench.errors import FerBenchError, no_formula

SUFFIXES = (".csv", ".json")


def check_out(path: Path) -> None:
    """Raise FerBenchError where `path` cannot be written as one of the formats: before anything is predicted."""
    if path.suffix.lower() not in SUFFIXES:
        raise FerBenchError(f"--out {path}: a name that ends in {' or '.join(SUFFIXES)}")
    if path.is_dir() or not path.parent.is_dir():
        raise FerBenchError(f"--out {path}: {'is a folder' if path.is_dir() else 'its folder is not there'}")
    if (path.parent / CARD).exists():
        raise FerBenchError(f"--out {path}: its folder is a bundle; give another")
    if not os.access(path.parent, os.W_OK):
        raise FerBenchError(f"--out {path}: its folder cannot be written to")


def write_predictions(path: Path, bundle: Bundle, found: Found) -> list[Path]:
    """Write all faces to `path`, .csv or .json, and a plot beside it for each video; all files written."""
    lines = [_line(bundle.classes, face) for face in found.faces]
    if path.suffix.lower() == ".json":
        content: dict[str, Any] = {
            "model": bundle.card["run"],
            "classes": list(bundle.classes),
            "faces": lines,
            "problems": [{"file": name, "problem": why} for name, why in found.problems],
        }
        write_atomic(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    else:
        write_atomic(path, _csv(lines, bundle.classes))
    return [path, *_timelines(path, bundle.classes, found.faces)]


def _line(classes: Sequence[str], face: Face) -> dict[str, Any]:
    best = int(face.probabilities.argmax())
    return {
        "file": face.source,
        "frame": face.frame,
        "seconds": None if face.seconds is None else round(face.seconds, 3),
        "face": face.number,
        **dict(zip(Box._fields, face.box or (None,) * 4, strict=True)),
        "class": classes[best],
        "probability": _rounded(face.probabilities[best]),
        "probabilities": dict(zip(classes, map(_rounded, face.probabilities), strict=True)),
    }


def _rounded(value: np.floating) -> float:
    return round(float(value), 5)


def _csv(lines: Sequence[dict[str, Any]], classes: Sequence[str]) -> str:
    """One line a face; the columns of the classes begin with p_, so that no class can be called as another column.

    A spreadsheet runs neither a file's name nor a class's.
    """
    text = io.StringIO()
    names = ["file", "frame", "seconds", "face", *Box._fields, "class", "probability"]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*names, *(f"p_{name}" for name in classes)])
    for line in lines:
        told = line | {"file": no_formula(line["file"]), "class": no_formula(line["class"])}
        writer.writerow([*(told[name] for name in names), *line["probabilities"].values()])
    return text.getvalue()


def _timelines(path: Path, classes: Sequence[str], faces: Sequence[Face]) -> Iterator[Path]:
    videos: dict[str, list[Face]] = {}
    for face in faces:
        if face.frame is not None:
            videos.setdefault(face.source, []).append(face)
    for at, (source, own) in enumerate(videos.items(), start=1):
        number = f"-{at}" if len(videos) > 1 else ""
        plot = path.with_name(f"{path.stem}-{Path(source).stem}{number}.png")
        write_timeline(plot, own, classes)
        yield plot


def in_words(bundle: Bundle, found: Found) -> Iterator[str]:
    """A line per face of a photograph, and per face of a video with its mean over all frames."""
    videos: dict[tuple[str, int], list[Face]] = {}
    for face in found.faces:
        if face.frame is None:
            place = f", {face.box.width} x {face.box.height} at {face.box.left}, {face.box.top}" if face.box else ""
            yield f"{_named(face)}{place}: {_best(face.probabilities, bundle.classes)}"
        else:
            videos.setdefault((face.source, face.number), []).append(face)
    for own in videos.values():
        mean = np.mean([face.probabilities for face in own], axis=0)
        span = f"{own[0].seconds:.1f} to {own[-1].seconds:.1f} s, {len(own):,} frames"
        yield f"{_named(own[0])}, {span}: {_best(mean, bundle.classes)}"


def _named(face: Face) -> str:
    return face.source + (f" face {face.number}" if face.box else "")


def _best(probabilities: np.ndarray, classes: Sequence[str]) -> str:
    return ", ".join(f"{classes[at]} {probabilities[at]:.0%}" for at in most_probable(probabilities))
