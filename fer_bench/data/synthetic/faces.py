"""Draw a face from facial action units.

Action units are the visible muscle movements of the Facial Action Coding System (Ekman & Friesen,
"Facial Action Coding System", Consulting Psychologists Press, 1978). Here each moves a few control
points or deepens a few wrinkles of a drawn face, 0 at rest and 1 at full strength.

Face coordinates: origin in the middle of the face, x to the viewer's right, y down, and 1 about half
the width of a face. Tones are gray levels from 0 to 255. A face is a list of shapes in the order in
which they are painted; `camera` paints them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, Self

import numpy as np

ACTION_UNITS = {
    1: "inner brow raiser",
    2: "outer brow raiser",
    4: "brow lowerer",
    5: "upper lid raiser",
    6: "cheek raiser",
    7: "lid tightener",
    9: "nose wrinkler",
    10: "upper lip raiser",
    12: "lip corner puller",
    15: "lip corner depressor",
    17: "chin raiser",
    20: "lip stretcher",
    23: "lip tightener",
    25: "lips part",
    26: "jaw drop",
    43: "eyes closed",
}
N_UNITS = max(ACTION_UNITS) + 1
Units = Sequence[float]
"""Strength of every action unit, at its number: `units[12]` is how far the lip corners are pulled."""

_CURVE_STEPS = np.linspace(0, 1, 9)
_THROUGH_THREE = np.stack(  # Lagrange's basis: the parabola through three points at 0, 1/2 and 1
    [
        (1 - _CURVE_STEPS) * (1 - 2 * _CURVE_STEPS),
        4 * _CURVE_STEPS * (1 - _CURVE_STEPS),
        _CURVE_STEPS * (2 * _CURVE_STEPS - 1),
    ],
    axis=1,
)
_CIRCLE = np.stack([np.cos(np.linspace(0, 2 * np.pi, 24)), np.sin(np.linspace(0, 2 * np.pi, 24))], axis=1)


def between(low: float, high: float) -> Any:
    """A field of `Traits` drawn uniformly from `low` to `high`."""
    return field(metadata={"range": (low, high)})


@dataclass(frozen=True)
class Traits:
    """Numbers that are drawn independently of each other and of the expression."""

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Every field from its own range, uniformly."""
        low, high = np.array([trait.metadata["range"] for trait in fields(cls)]).T
        return cls(*(low + (high - low) * rng.random(len(low))).tolist())


@dataclass(frozen=True)
class Identity(Traits):
    """Who is seen: lengths in face coordinates, tones in gray levels or as shares of the skin's."""

    width: float = between(0.84, 1.04)
    chin: float = between(1.12, 1.36)
    jaw: float = between(0.55, 0.95)  # exponent of the jaw line: small is square
    skin: float = between(95, 225)
    age: float = between(0.0, 0.5)  # how deep the folds are at rest
    hair_tone: float = between(15, 130)
    hair_style: float = between(0, 5)  # from 0: bald, short, full, down to the chin, long
    hairline: float = between(-1.0, -0.72)
    eye_x: float = between(0.36, 0.46)
    eye_y: float = between(-0.24, -0.16)
    eye_width: float = between(0.18, 0.24)
    eye_open: float = between(0.085, 0.135)
    eye_tilt: float = between(-0.03, 0.04)
    iris: float = between(10, 80)
    brow_gap: float = between(0.2, 0.32)
    brow_tilt: float = between(-0.06, 0.06)
    brow_arch: float = between(0.0, 0.08)
    brow_thickness: float = between(0.025, 0.075)
    brow_tone: float = between(0.2, 0.7)
    nose_length: float = between(0.48, 0.64)
    nose_width: float = between(0.15, 0.23)
    mouth_gap: float = between(0.24, 0.34)
    mouth_width: float = between(0.3, 0.42)
    mouth_curve: float = between(-0.05, 0.05)  # corners of the resting mouth, positive is down
    lip: float = between(0.035, 0.085)
    lip_tone: float = between(0.55, 0.85)
    teeth: float = between(0.95, 1.25)
    glasses: float = between(0, 1)  # worn by the lowest
    beard: float = between(0, 1)  # beard for the lowest, moustache for the lowest and highest


class Shape(NamedTuple):
    """A polygon, or a line of some width, in one gray level. points: float (k, 2) in face coordinates."""

    points: np.ndarray
    tone: float
    width: float = 0.0
    on_skull: bool = True  # follows the curved front of the head when it turns


def curve(start: tuple[float, float], middle: tuple[float, float], end: tuple[float, float]) -> np.ndarray:
    """A parabola through three points, float (9, 2)."""
    return _THROUGH_THREE @ np.array((start, middle, end))


def ellipse(x: float, y: float, radius_x: float, radius_y: float) -> np.ndarray:
    """An ellipse around (x, y), float (24, 2)."""
    return _CIRCLE * (radius_x, radius_y) + (x, y)


def _mirror(points: np.ndarray, side: int) -> np.ndarray:
    return points * (side, 1)


def _head(who: Identity, units: Units) -> Iterator[Shape]:
    """Hair behind, ears, neck and the face itself; the chin goes down with the jaw (AU26)."""
    style = int(who.hair_style)
    if style >= 2:
        yield Shape(ellipse(0, -0.35, who.width * 1.2, 1.1), who.hair_tone, on_skull=False)
        if style >= 3:
            ends = 0.9 if style == 3 else 1.5
            long_hair = np.array([(-1.2, -0.4), (1.2, -0.4), (1.15, ends), (-1.15, ends)]) * (who.width, 1)
            yield Shape(long_hair, who.hair_tone, on_skull=False)
    neck = np.array([(-0.5, 0.6), (0.5, 0.6), (0.6, 2.2), (-0.6, 2.2)])
    yield Shape(neck, who.skin * 0.72, on_skull=False)
    for side in (-1, 1):
        yield Shape(ellipse(side * who.width, 0.0, 0.12, 0.25), who.skin * 0.85, on_skull=False)
    cosine, sine = _CIRCLE.T
    bottom = who.chin + 0.16 * units[26]
    jaw = np.sign(cosine) * np.abs(cosine) ** np.where(sine > 0, who.jaw, 0.9)
    outline = np.stack([jaw * who.width, np.where(sine > 0, sine * bottom, sine * 1.2)], axis=1)
    yield Shape(outline, who.skin, on_skull=False)
    if who.beard < 0.08:
        beard = np.concatenate([outline[sine > 0.25], curve((-0.55, 0.4), (0, 0.42), (0.55, 0.4))])
        yield Shape(beard, who.skin * 0.6 + who.hair_tone * 0.1, on_skull=False)
    if style >= 1:
        cap = np.concatenate([outline[sine < -0.45], curve((who.width, -0.5), (0, who.hairline), (-who.width, -0.5))])
        yield Shape(cap * (1.04, 1.06), who.hair_tone, on_skull=False)


def _relief(who: Identity, units: Units) -> Iterator[Shape]:
    """Soft shade and light: eye sockets (AU2, AU4), cheeks (AU6, AU12, AU26), frown (AU4, AU9), nose, chin."""
    raised = 0.5 * units[6] + 0.5 * units[12]
    frown = 0.6 * units[4] + 0.4 * units[9]
    for side in (-1, 1):
        socket = who.skin * (0.9 + 0.1 * units[2] - 0.1 * units[4])
        yield Shape(ellipse(side * who.eye_x, who.eye_y - 0.04, who.eye_width * 1.3, 0.16), socket)
        cheek = who.skin * (1.04 + 0.12 * raised - 0.12 * units[26] * (1 - units[12]))
        yield Shape(ellipse(side * 0.52, 0.32 - 0.1 * raised, 0.2, 0.17), cheek)
    yield Shape(ellipse(0, who.eye_y - who.brow_gap + 0.08, 0.14, 0.14), who.skin * (1 - 0.25 * frown))
    tip = who.eye_y + who.nose_length - 0.05 * units[9]
    shadow = np.array([(0.04, who.eye_y), (0.1, who.eye_y), (who.nose_width, tip), (0.05, tip)])
    yield Shape(shadow, who.skin * 0.86)
    yield Shape(ellipse(0, tip - 0.05, who.nose_width * 0.5, 0.07), who.skin * 1.1)
    yield Shape(ellipse(0, who.chin - 0.2 + 0.1 * units[26], 0.2, 0.1), who.skin * 1.05)


def _eye(who: Identity, units: Units, side: int, gaze: float) -> Iterator[Shape]:
    """Lids raised (AU5), tightened (AU7), pushed up by the cheek (AU6) or closed (AU43); crow's feet (AU6)."""
    half, x, y = who.eye_width, who.eye_x, who.eye_y
    squint = 0.45 * units[7] + 0.15 * units[6] + 0.45 * units[9]
    top = who.eye_open * max(0.06, 1 + 0.85 * units[5] - squint - units[43])
    bottom = who.eye_open * max(0.0, 0.7 + 0.1 * units[5] - 0.5 * units[6] - 0.35 * units[7] - 0.2 * units[9])
    inner, outer = (x - half, y + 0.015), (x + half, y - who.eye_tilt)
    upper = curve(inner, (x, y - top), outer)
    lower = curve(inner, (x, y + bottom), outer)
    yield Shape(_mirror(np.concatenate([upper, lower[::-1]]), side), min(245.0, 90 + 0.7 * who.skin))
    iris = ellipse(x + side * gaze, y - 0.01, 0.085, 0.085)
    above, below = (np.interp(iris[:, 0], lid[:, 0], lid[:, 1]) for lid in (upper, lower))
    iris[:, 1] = np.minimum(np.maximum(iris[:, 1], above), below)
    yield Shape(_mirror(iris, side), who.iris)
    yield Shape(_mirror(upper, side), who.skin * 0.25, 0.035)
    yield Shape(_mirror(lower, side), who.skin * (0.72 - 0.15 * units[7]), 0.02)
    crease = upper - np.array((0, 0.05 + 0.02 * units[5] - 0.03 * units[4]))
    yield Shape(_mirror(crease[1:-1], side), who.skin * 0.78, 0.018)
    bag = curve((x - half * 0.8, y + 0.13), (x, y + 0.17 - 0.05 * units[6]), (x + half, y + 0.1))
    yield Shape(_mirror(bag, side), who.skin * (0.97 - 0.15 * who.age - 0.2 * units[6]), 0.025)
    if units[6] > 0.15:
        for rise in (-0.07, 0.0, 0.07):
            start = (outer[0] + 0.04, outer[1] + 0.5 * rise)
            foot = np.array([start, (start[0] + 0.11, start[1] + rise)])
            yield Shape(_mirror(foot, side), who.skin * (1 - 0.3 * units[6]), 0.02)


def _brow(who: Identity, units: Units, side: int) -> Iterator[Shape]:
    """Inner end raised (AU1), outer end raised (AU2), drawn down and together (AU4), pulled down (AU9)."""
    down = 0.12 * units[4] + 0.06 * units[9]
    base = who.eye_y - who.brow_gap
    inner = (0.15 - 0.06 * units[4], base + who.brow_tilt - 0.19 * units[1] + 1.2 * down)
    middle = (0.4, base - who.brow_arch - 0.06 * units[1] - 0.17 * units[2] + 0.8 * down)
    outer = (0.68, base + 0.06 - who.brow_tilt - 0.19 * units[2] + 0.35 * down)
    line = curve(inner, middle, outer)
    taper = np.outer(np.sqrt(1.05 - _CURVE_STEPS), (0, who.brow_thickness))
    polygon = np.concatenate([line - taper, (line + taper)[::-1]])
    yield Shape(_mirror(polygon, side), who.brow_tone * who.skin * 0.5 + 0.5 * min(who.hair_tone, 0.7 * who.skin))


def _wrinkles(who: Identity, units: Units) -> Iterator[Shape]:
    """Forehead (AU1, AU2), between the brows (AU4), nose (AU9), beside the mouth (AU9, AU10, AU12), chin (AU17)."""
    base = who.eye_y - who.brow_gap
    lines = max(0.3 * who.age, 0.6 * units[1] + 0.4 * units[2])
    if lines > 0.1:
        reach = 0.2 + 0.3 * units[2]
        for height in (0.2, 0.31):
            up = base - height - 0.1 * units[1]
            forehead = curve((-reach, up + 0.03 * units[2]), (0, up), (reach, up + 0.03 * units[2]))
            yield Shape(forehead, who.skin * (1 - 0.28 * lines), 0.022)
    if units[4] > 0.1:
        for side in (-1, 1):
            glabella = np.array([(side * 0.05, base - 0.02), (side * 0.06, base + 0.16)])
            yield Shape(glabella, who.skin * (1 - 0.4 * units[4]), 0.025)
    if units[9] > 0.1:
        for height in (0.02, 0.09, 0.16):
            bridge = curve(
                (-0.11, who.eye_y + height + 0.04), (0, who.eye_y + height), (0.11, who.eye_y + height + 0.04)
            )
            yield Shape(bridge, who.skin * (1 - 0.5 * units[9]), 0.025)
    tip = who.eye_y + who.nose_length
    fold = min(1.0, 0.5 * who.age + 0.6 * units[12] + 0.3 * units[6] + 0.5 * units[9] + 0.7 * units[10])
    corner = who.mouth_width * (1.25 + 0.25 * units[12])
    for side in (-1, 1):
        line = curve(
            (side * (who.nose_width + 0.03), tip - 0.04 - 0.06 * units[9]),
            (side * (corner * 0.85 + 0.04 * units[10]), tip + 0.08 - 0.04 * units[10]),
            (side * corner, tip + who.mouth_gap - 0.05 * units[12]),
        )
        yield Shape(line, who.skin * (1 - 0.35 * fold), 0.025 + 0.015 * fold)
    if units[17] > 0.1:
        chin = curve((-0.17, who.chin - 0.2), (0, who.chin - 0.27), (0.17, who.chin - 0.2))
        yield Shape(chin, who.skin * (1 - 0.35 * units[17]), 0.03)


def _nose(who: Identity, units: Units) -> Iterator[Shape]:
    """Nostrils and wings, pulled up by AU9 and a little by AU10."""
    y = who.eye_y + who.nose_length - 0.1 * units[9] - 0.04 * units[10]
    flare = who.nose_width * (1 + 0.25 * units[9])
    for side in (-1, 1):
        yield Shape(ellipse(side * flare * 0.5, y, 0.055, 0.03), who.skin * 0.4)
        wing = curve((side * flare * 0.85, y - 0.12), (side * flare * 1.1, y - 0.05), (side * flare * 0.8, y + 0.01))
        yield Shape(wing, who.skin * (0.7 - 0.15 * units[9]), 0.022)
    yield Shape(curve((-flare * 0.5, y + 0.02), (0, y + 0.05), (flare * 0.5, y + 0.02)), who.skin * 0.7, 0.02)


def _mouth(who: Identity, units: Units, skew: float) -> Iterator[Shape]:
    """Corners pulled (AU12), depressed (AU15), stretched (AU20); lips raised (AU10), tight (AU23), parted (AU25)."""
    y = who.eye_y + who.nose_length + who.mouth_gap
    half = who.mouth_width * (
        1 + 0.28 * units[12] + 0.28 * units[20] - 0.18 * units[23] - 0.15 * units[26] * (1 - units[12])
    )
    opening = 0.015 + 0.13 * units[25] + 0.38 * units[26] + 0.05 * units[12] * units[25]
    upper = y - 0.11 * units[10] - 0.05 * units[9] + 0.03 * units[12] - 0.05 * units[17] - 0.2 * opening
    lower = upper + opening
    corner = (
        y + who.mouth_curve - 0.18 * units[12] + 0.15 * units[15] + 0.03 * units[20] + 0.4 * opening * (1 - units[12])
    )
    lip = who.lip * (1 - 0.65 * units[23] + 0.2 * units[17]) + 0.008
    ends = (-half, corner - skew), (half, corner + skew)
    edges = [curve(ends[0], (0, middle), ends[1]) for middle in (upper - lip, upper, lower, lower + 1.3 * lip)]
    edges[0][4, 1] += 0.25 * lip  # Cupid's bow
    tone = who.skin * who.lip_tone
    yield Shape(np.concatenate([edges[0], edges[3][::-1]]), tone)
    yield Shape(np.concatenate([edges[1], edges[2][::-1]]), who.skin * 0.2)
    if lower - upper > 0.06:
        bared = min(0.85, 0.1 + 0.5 * units[12] + 0.6 * units[10] + 0.7 * units[20]) * (edges[2] - edges[1])
        bared = np.minimum(bared, 0.13)[1:-1]
        yield Shape(
            np.concatenate([edges[1][1:-1], (edges[1][1:-1] + bared)[::-1]]), min(250.0, who.skin * who.teeth + 20)
        )
    yield Shape(edges[1], who.skin * 0.35, 0.022)
    under = edges[3][2:-2] + np.array((0, 0.06))
    yield Shape(under, who.skin * (0.88 - 0.15 * units[17] - 0.1 * units[15]), 0.03)
    for side, end in zip((-1, 1), ends, strict=True):
        pull = units[15] - units[12]
        dimple = np.array([(end[0] - side * 0.01, end[1] - 0.02), (end[0] + side * 0.05, end[1] + 0.07 * pull)])
        yield Shape(dimple, who.skin * (0.75 - 0.2 * abs(pull)), 0.025)


def _worn(who: Identity) -> Iterator[Shape]:
    """Moustache and glasses, on some."""
    if who.beard < 0.06 or who.beard > 0.95:
        y = who.eye_y + who.nose_length + 0.11
        line = curve((-who.mouth_width, y + 0.08), (0, y), (who.mouth_width, y + 0.08))
        yield Shape(
            np.concatenate([line - (0, 0.05), line[::-1] + np.array((0, 0.04))]), 0.3 * who.skin + 0.3 * who.hair_tone
        )
    if who.glasses < 0.12:
        for side in (-1, 1):
            yield Shape(ellipse(side * who.eye_x, who.eye_y + 0.03, 0.29, 0.22), who.hair_tone * 0.5, 0.04)
        bridge = np.array([(-who.eye_x + 0.27, who.eye_y), (who.eye_x - 0.27, who.eye_y)])
        yield Shape(bridge, who.hair_tone * 0.5, 0.04)


def skin_and_hair(who: Identity, units: Units) -> list[Shape]:
    """What has soft edges and lies behind: hair, neck, ears, the face and its relief."""
    return [*_head(who, units), *_relief(who, units)]


def features(who: Identity, units: Units, skew: float, gaze: float) -> list[Shape]:
    """What has sharp edges and lies in front: folds, nose, mouth, eyes, brows and glasses.

    skew: how much lower the right corner of the mouth is. gaze: how far the eyes look to the right.
    """
    shapes = [*_wrinkles(who, units), *_nose(who, units), *_mouth(who, units, skew)]
    for side in (-1, 1):
        shapes += [*_eye(who, units, side, gaze), *_brow(who, units, side)]
    return [*shapes, *_worn(who)]
