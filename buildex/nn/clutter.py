"""What stands in the way on training samples: shadows, trees over roofs, other towns' houses.

Everything here takes and gives pixels (H, W, 3) uint8 and polygons in pixels of the sample; truth
stays true: a corner under a tree is still a corner, and a house that is put down is one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from buildex.geo.rings import Box, Ring, Rings, bounds, fill

Pixels = NDArray[np.uint8]
Weights = NDArray[np.float32]
MOST_LAID = 3  # pieces of ground put down in one sample
PLACES = 6  # that are tried for a building before it is left out
ROOM = 8.0  # pixels between a building that is put down and those that are there
SEAM = 0.7  # pixels by which its edge is softened
LONGEST_SHADOW = 25.0  # pixels


class Placed(NamedTuple):
    """A building that came from another sample: how far it was moved, and its number there."""

    number: int
    shift: tuple[int, int]


def shade(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """The sample with one to three soft shadows of trees, clouds or walls."""
    out = pixels.copy()
    for _ in range(int(rng.integers(1, 4))):
        window, weight = _blob(pixels.shape[:2], rng, 15.0, 120.0, float(rng.uniform(0.5, 6)))
        light = 1 - np.float32(rng.uniform(0.25, 0.65)) * weight[..., None]
        out[window] = _rounded(out[window] * light)
    return out


def overgrow(
    pixels: Pixels, free: NDArray[np.bool_], boxes: Sequence[Box], rng: np.random.Generator
) -> Pixels:
    """The sample with small patches of its own open ground put down anywhere, as trees stand.

    Args:
        pixels: (H, W, 3).
        free: (H, W), where it shows ground: patches come from there ...
        boxes: around the buildings: ... and from elsewhere.
        rng: chance.
    """
    out = pixels.copy()
    height, width = pixels.shape[:2]
    for _ in range(int(rng.integers(1, 7))):
        (rows, columns), weight = _blob((height, width), rng, 3.0, 16.0, 1.0)
        tall, wide = weight.shape
        y, x = (int(rng.integers(0, side + 1)) for side in (height - tall, width - wide))
        if any(x < x1 and x + wide > x0 and y < y1 and y + tall > y0 for x0, y0, x1, y1 in boxes):
            continue
        if not free[y : y + tall, x : x + wide].all():
            continue
        patch = pixels[y : y + tall, x : x + wide]
        out[rows, columns] = _mixed(out[rows, columns], patch, weight)
    return out


def paste(
    pixels: Pixels,
    free: NDArray[np.bool_],
    boxes: Sequence[Box],
    donor: Pixels,
    buildings: Sequence[Rings],
    rng: np.random.Generator,
    most: int = 4,
) -> tuple[Pixels, list[Placed]]:
    """Buildings of another sample put down where there is room, each with a shadow.

    Args:
        pixels: (H, W, 3) of the sample that gets them.
        free: (H, W), where it shows ground.
        boxes: around the buildings that it has.
        donor: (H, W, 3) of the sample that they come from, of the same size.
        buildings: its whole buildings, in its pixels.
        rng: chance.
        most: how many, at most.

    Returns:
        The pixels, and which buildings were put down where.
    """
    out = pixels.copy()
    taken, placed = list(boxes), list[Placed]()
    height, width = free.shape
    angle, dark = rng.uniform(0, 2 * math.pi), rng.uniform(0.2, 0.6)
    sun = rng.uniform(0, LONGEST_SHADOW) * np.array([math.cos(angle), math.sin(angle)])
    for number in rng.permutation(len(buildings))[:most]:
        rings = buildings[number]
        x0, y0, x1, y1 = bounds(rings)
        for _ in range(PLACES):
            dx, dy = _shift(x0, x1, width, rng), _shift(y0, y1, height, rng)
            box = (x0 + dx, y0 + dy, x1 + dx, y1 + dy)
            if _has_room(box, taken, free):
                _put(out, donor, rings, (dx, dy), sun, dark)
                taken.append(box)
                placed.append(Placed(int(number), (dx, dy)))
                break
    return out, placed


def lay(
    pixels: Pixels,
    free: NDArray[np.bool_],
    boxes: Sequence[Box],
    donor: tuple[Pixels, NDArray[np.bool_]],
    outlines: Sequence[Rings],
    rng: np.random.Generator,
) -> Pixels:
    """Open ground of another sample put down in the outlines of buildings: beds, courts, pads.

    Else whatever has straight sides, or was put down by `paste`, would be a building.

    Args:
        pixels: (H, W, 3) of the sample that gets them.
        free: (H, W), where it shows ground.
        boxes: around its buildings.
        donor: (H, W, 3) of the sample that the ground comes from, and (H, W), where it is open.
        outlines: shapes to cut, in pixels of either.
        rng: chance.
    """
    out = pixels.copy()
    height, width = free.shape
    for number in rng.permutation(len(outlines))[:MOST_LAID]:
        x0, y0, x1, y1 = bounds(outlines[number])
        for _ in range(PLACES):
            (u, v), (x, y) = (
                (_shift(x0, x1, width, rng), _shift(y0, y1, height, rng)) for _ in range(2)
            )
            source, place = ((x0 + p, y0 + q, x1 + p, y1 + q) for p, q in ((u, v), (x, y)))
            if _has_room(source, (), donor[1]) and _has_room(place, boxes, free):
                shape = tuple(ring + np.array([u, v]) for ring in outlines[number])
                _put(out, donor[0], shape, (x - u, y - v), np.zeros(2), 0.0)
                break
    return out


def _shift(low: float, high: float, side: int, rng: np.random.Generator) -> int:
    """Whole pixels by which what reaches from `low` to `high` may be moved along a side."""
    least = math.ceil(-low)
    return int(rng.integers(least, max(math.floor(side - high), least) + 1))


def _has_room(box: Box, taken: Sequence[Box], free: NDArray[np.bool_]) -> bool:
    x0, y0, x1, y1 = box
    height, width = free.shape
    if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
        return False
    if not free[int(y0) : math.ceil(y1), int(x0) : math.ceil(x1)].all():
        return False
    return not any(
        x0 - ROOM < u1 and x1 + ROOM > u0 and y0 - ROOM < v1 and y1 + ROOM > v0
        for u0, v0, u1, v1 in taken
    )


def _put(
    out: Pixels,
    donor: Pixels,
    rings: Rings,
    shift: tuple[int, int],
    sun: NDArray[np.float64],
    dark: float,
) -> None:
    """Draw one building and its shadow into `out`."""
    height, width = out.shape[:2]
    x0, y0, x1, y1 = bounds(rings)
    pad = math.ceil(LONGEST_SHADOW) + 2
    left, top = max(int(x0) + shift[0] - pad, 0), max(int(y0) + shift[1] - pad, 0)
    right, low = (
        min(math.ceil(x1) + shift[0] + pad, width),
        min(math.ceil(y1) + shift[1] + pad, height),
    )
    size = (low - top, right - left)
    here = (slice(top, low), slice(left, right))
    move = np.array([shift[0] - left, shift[1] - top], dtype=float)
    roof = _soft(fill([ring + move for ring in rings], *size), SEAM)
    shadow = _soft(fill([ring + move + sun for ring in rings], *size), 1.0)
    values = out[here] * (1 - np.float32(dark) * shadow[..., None])
    # What comes in at the other side lies outside the roof.
    rows, columns = np.arange(top, low) - shift[1], np.arange(left, right) - shift[0]
    source = donor.take(rows, axis=0, mode="wrap").take(columns, axis=1, mode="wrap")
    out[here] = _rounded(values + (source - values) * roof[..., None])


def _blob(
    shape: tuple[int, int], rng: np.random.Generator, least: float, most: float, soft: float
) -> tuple[tuple[slice, slice], Weights]:
    """A window of an image of `shape` and weights 0..1 in it: a lumpy round thing."""
    height, width = shape
    radius = math.exp(rng.uniform(math.log(least), math.log(most)))
    points = int(rng.integers(5, 11))
    angle = np.sort(rng.uniform(0, 2 * math.pi, points))
    reach = radius * rng.uniform(0.6, 1.2, points)
    centre = rng.random(2) * [width, height]
    ring: Ring = np.stack([np.cos(angle), np.sin(angle)], axis=1) * reach[:, None] + centre
    pad = math.ceil(2 * soft)
    x0, y0 = (max(int(v) - pad, 0) for v in ring.min(axis=0))
    x1, y1 = (
        min(math.ceil(v) + pad, side)
        for v, side in zip(ring.max(axis=0), (width, height), strict=True)
    )
    x1, y1 = max(x1, x0 + 1), max(y1, y0 + 1)
    weight = _soft(fill([ring - (x0, y0)], y1 - y0, x1 - x0), soft)
    return (slice(y0, y1), slice(x0, x1)), weight


def _soft(mask: NDArray[np.bool_], radius: float) -> Weights:
    """A mask with an edge that fades, as weights 0..1 of the same shape."""
    image = Image.fromarray(mask.astype(np.uint8) * np.uint8(255))
    blurred = image.filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(np.array(blurred, dtype=np.float32) / np.float32(255))


def _mixed(under: Pixels, over: Pixels, weight: Weights) -> Pixels:
    a, b = under.astype(np.float32), over.astype(np.float32)
    return _rounded(a + (b - a) * weight[..., None])


def _rounded(values: NDArray[np.float32]) -> Pixels:
    return np.asarray((values + np.float32(0.5)).clip(0, 255).astype(np.uint8))
