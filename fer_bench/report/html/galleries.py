"""Faces in the report: those that no run recognises, and each run's most confident mistakes, in one picture."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from fer_bench.analysis.leaderboard import Leaderboard

N_HARDEST, N_MISTAKES = 36, 12
SIDE, TILES_A_LINE, QUALITY = 64, 32, 80  # the longer side of a face in pixels
LOOK_AT_NO_FACE = ("baseline", "ensemble")
"""Families that say little of how hard a face is: one hardly looks at it, the other repeats its members."""


def galleries(board: Leaderboard, images: np.ndarray) -> dict[str, Any]:
    """A sprite of faces and who is on it. images: uint8 (n_test, h, w) gray or (n_test, h, w, 3) RGB.

    picture: a data: address; width, height of a tile and tiles in a line; faces: id and label by their tile. hardest:
    (tile, share of rows that miss it, mean probability of its label). mistakes: run id -> (tile, answer, confidence).
    """
    mistakes, label_probability, missed = {}, [], []
    everything = np.arange(len(board.labels))
    for _, row in board.rows.iterrows():
        probabilities = board.predictions.probabilities(board.predictions.by_id[row["runs"][0]], "test")
        if probabilities is None:
            continue
        predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
        wrong = predicted != board.labels
        surest = np.flatnonzero(wrong)[np.argsort(-confidence[wrong], kind="stable")][:N_MISTAKES]
        mistakes[row["runs"][0]] = [(int(i), int(predicted[i]), float(confidence[i])) for i in surest]
        if row["family"] not in LOOK_AT_NO_FACE:
            label_probability.append(probabilities[everything, board.labels])
            missed.append(wrong)
    hardest = []
    if missed:
        share, mean = np.mean(missed, axis=0), np.mean(label_probability, axis=0)
        hardest = [(int(i), float(share[i]), float(mean[i])) for i in np.lexsort((mean, -share))[:N_HARDEST]]
    faces = sorted({face for face, *_ in (*hardest, *(one for own in mistakes.values() for one in own))})
    tile = {face: number for number, face in enumerate(faces)}
    return {
        **_sprite(images[faces]),
        "faces": [(board.predictions.ids["test"][face], board.labels[face]) for face in faces],
        "hardest": [(tile[face], *rest) for face, *rest in hardest],
        "mistakes": {run_id: [(tile[face], *rest) for face, *rest in own] for run_id, own in mistakes.items()},
    }


def _sprite(images: np.ndarray) -> dict[str, Any]:
    """`images` beside one another, each of SIDE pixels at most, as a JPEG's data: address."""
    import cv2

    height, width = images.shape[1:3]
    scale = min(1, SIDE / max(height, width))
    width, height = max(1, round(width * scale)), max(1, round(height * scale))
    n_lines = -(-len(images) // TILES_A_LINE)
    sheet = np.full((max(1, n_lines) * height, TILES_A_LINE * width, *images.shape[3:]), 255, dtype=np.uint8)
    for number, image in enumerate(images):
        line, column = divmod(number, TILES_A_LINE)
        face = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        sheet[line * height : (line + 1) * height, column * width : (column + 1) * width] = face
    blue_first = sheet[..., ::-1] if sheet.ndim == 3 else sheet
    _, encoded = cv2.imencode(".jpg", blue_first, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    picture = f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}"
    return {"picture": picture, "width": width, "height": height, "tiles_a_line": TILES_A_LINE}
