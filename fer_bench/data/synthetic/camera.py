"""Photograph drawn faces: pose, things in the way, light, lens and sensor.

Points are rounded to sixteenths of a pixel and painted without anti-aliasing at three times the size. Means of
gray levels are taken over odd counts, so they never lie halfway; the rest is rounded once. Processors that
differ in the last bit of a float therefore give the same image.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from fer_bench.data.synthetic.faces import (
    Identity,
    Shape,
    Traits,
    Units,
    between,
    curve,
    ellipse,
    features,
    skin_and_hair,
)

SIDE = 48
"""Pixels of an image, across and down."""
SUPERSAMPLING = 3
_SUBPIXEL_BITS = 4


@dataclass(frozen=True)
class View(Traits):
    """How the face is seen: pose, light and camera. Lengths in face coordinates, angles in radians."""

    scale: float = between(0.4, 0.46)  # half the face's width as a share of the image's
    shift_x: float = between(-0.05, 0.05)
    shift_y: float = between(-0.1, -0.01)
    roll: float = between(-0.1, 0.1)
    yaw: float = between(-0.24, 0.24)
    pitch: float = between(-0.1, 0.1)
    background: float = between(10, 240)
    light_angle: float = between(0, 2 * np.pi)
    light_slope: float = between(0.0, 0.45)
    vignette: float = between(0, 0.25)
    contrast: float = between(0.7, 1.3)
    brightness: float = between(70, 165)
    blur: float = between(0.3, 0.9)  # pixels
    noise: float = between(2, 10)  # gray levels

    @property
    def difficulties(self) -> dict[str, str]:
        """The level of each that a face is harder or easier to read by; cut in the middle of what is drawn."""
        return {
            "pose": "frontal" if abs(self.yaw) < 0.12 else "turned",
            "light": "even" if self.light_slope < 0.225 else "side",
            "noise": "low" if self.noise < 6 else "high",
        }


def _occluder(who: Identity, rng: np.random.Generator) -> Iterator[Shape]:
    """Something in front of some faces: a hand, a strand of hair or a bar."""
    kind, side = rng.random(), float(rng.choice((-1, 1)))
    if kind < 0.06:
        x, y = side * rng.uniform(0.2, 0.6), rng.uniform(0.35, 0.9)
        for finger in range(4):
            tip = ellipse(x + side * 0.12 * finger, y + 0.05 * abs(finger - 1), 0.075, 0.3)
            yield Shape(tip, who.skin * 0.95)
            yield Shape(tip, who.skin * 0.6, 0.02)
        yield Shape(ellipse(x + side * 0.18, y + 0.5, 0.32, 0.35), who.skin * 0.92)
    elif kind < 0.1:
        root, end = side * rng.uniform(0.3, 0.7), rng.uniform(0.0, 0.9)
        inner = curve((root, -1.0), (side * 0.35, -0.4), (side * 0.85, end))
        yield Shape(np.concatenate([inner, [(side * 1.15, end), (side * 1.1, -0.9)]]), who.hair_tone)
    elif kind < 0.14:
        top, height = rng.uniform(-0.9, 0.9), rng.uniform(0.15, 0.3)
        bar = np.array([(-1.5, top), (1.5, top), (1.5, top + height), (-1.5, top + height)])
        yield Shape(bar, float(rng.uniform(10, 240)), on_skull=False)


def _paint(canvas: np.ndarray, shapes: Sequence[Shape], view: View) -> None:
    """Turn, scale and shift all shapes at once, then paint them in order."""
    points = np.concatenate([shape.points for shape in shapes])
    on_skull = np.repeat([shape.on_skull for shape in shapes], [len(shape.points) for shape in shapes])
    x, y = points.T
    depth = on_skull * np.sqrt(np.maximum(0.0, 1 - (x / 1.1) ** 2 - (y / 1.5) ** 2))
    x = x * np.cos(view.yaw) + depth * np.sin(view.yaw)
    y = y * np.cos(view.pitch) + depth * np.sin(view.pitch)
    cosine, sine = np.cos(view.roll), np.sin(view.roll)
    size = len(canvas)
    unit = view.scale * size
    turned = np.stack([x * cosine - y * sine + view.shift_x, x * sine + y * cosine + view.shift_y], axis=1)
    pixels = np.rint((turned * unit + size / 2) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    start = 0
    for shape in shapes:
        polygon = [pixels[start : start + len(shape.points)]]
        start += len(shape.points)
        tone = round(min(255.0, shape.tone))
        if shape.width:
            cv2.polylines(canvas, polygon, False, tone, max(1, round(shape.width * unit)), cv2.LINE_8, _SUBPIXEL_BITS)
        else:
            cv2.fillPoly(canvas, polygon, tone, cv2.LINE_8, _SUBPIXEL_BITS)


def _photograph(canvas: np.ndarray, view: View, rng: np.random.Generator) -> np.ndarray:
    """Light, optics and sensor: the canvas brought down to the image's size as uint8."""
    size = len(canvas) // SUPERSAMPLING
    image = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA).astype(np.float64)
    across = np.linspace(-1, 1, size)
    slope = np.cos(view.light_angle) * across + np.sin(view.light_angle) * across[:, None]
    light = 1 + view.light_slope * slope - view.vignette * (across**2 + across[:, None] ** 2)
    image = cv2.GaussianBlur(image * light, (5, 5), view.blur)
    image = (image - image.mean()) * view.contrast + view.brightness
    image += view.noise * rng.standard_normal(image.shape)
    return np.rint(np.clip(image, 0, 255)).astype(np.uint8)


def render(units: Units, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, str]]:
    """Somebody making a face of action units `units`, seen somehow: gray uint8 (SIDE, SIDE), and what is difficult."""
    who, view = Identity.sample(rng), View.sample(rng)
    canvas = np.full((SIDE * SUPERSAMPLING, SIDE * SUPERSAMPLING), round(view.background), np.uint8)
    _paint(canvas, skin_and_hair(who, units), view)
    canvas = cv2.blur(canvas, (7, 7))  # skin has no sharp edges
    skew, gaze = rng.uniform(-0.025, 0.025), rng.uniform(-0.05, 0.05)
    in_front = list(_occluder(who, rng))
    _paint(canvas, [*features(who, units, skew, gaze), *in_front], view)
    return _photograph(canvas, view, rng), view.difficulties | {"occlusion": "partial" if in_front else "none"}
