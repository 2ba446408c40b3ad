from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from buildex.geo.footprints import to_rings
from buildex.geo.offset import Evidence, Search, Shift, evidence, found
from buildex.geo.rings import fill

SEARCH = Search(gsd=0.25, reach=4.0)
SIDE = 240  # pixels: 60 m


def house(rng: np.random.Generator) -> shapely.Polygon:
    """A rectangle of 6 to 14 m, turned anyhow, in the middle of the image, in pixels."""
    width, height = rng.uniform(24, 56, 2)
    angle = rng.uniform(0, np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [width / 2, height / 2]
    return shapely.Polygon(corners @ turn.T + SIDE / 2)


def picture(
    polygon: shapely.Polygon, rng: np.random.Generator, shadow: tuple[float, float] = (0, 0)
) -> np.ndarray:
    """The house on rough ground, in random colours; `shadow` is its fall in pixels."""
    fine = 4  # so that walls lie where they are drawn, to a part of a pixel
    image = np.tile(rng.uniform(90, 160, 3), (SIDE, SIDE, 1))

    def paint(shape: shapely.Polygon, colour: np.ndarray) -> None:
        rings = tuple(ring * fine for ring in to_rings(shape))
        drawn = fill(rings, SIDE * fine, SIDE * fine)
        share = drawn.reshape(SIDE, fine, SIDE, fine).mean(axis=(1, 3))[..., None]
        image[:] = image * (1 - share) + colour * share

    if shadow != (0, 0):
        moved = shapely.transform(polygon, lambda points: points + shadow)
        paint(shapely.union_all([polygon, moved]).convex_hull, np.full(3, 30.0))
    paint(polygon, rng.uniform(0, 255, 3))
    return np.clip(image + rng.normal(0, 12, image.shape), 0, 255).astype(np.uint8)


def clues(
    count: int, put_in: tuple[float, float], seed: int, shadow: tuple[float, float] = (0, 0)
) -> list[Evidence]:
    """Houses whose outlines lie `put_in` (metres east, north) off the image."""
    rng = np.random.default_rng(seed)
    step = np.array([put_in[0], -put_in[1]]) / SEARCH.gsd
    out = []
    valid = np.ones((SIDE, SIDE), dtype=bool)
    for _ in range(count):
        polygon = house(rng)
        image = picture(polygon, rng, shadow)
        clue = evidence(image, valid, [ring + step for ring in to_rings(polygon)], SEARCH)
        assert clue is not None
        out.append(clue)
    return out


def estimate(seen: list[Evidence]) -> Shift:
    return found(seen, SEARCH, np.random.default_rng(0))


@given(st.floats(-3, 3), st.floats(-3, 3), st.integers(0, 1000))
@settings(max_examples=8, deadline=None)
def test_a_shift_put_into_outlines_is_found(east, north, seed):
    shift = estimate(clues(14, (east, north), seed))
    assert (shift.east, shift.north) == pytest.approx((-east, -north), abs=0.08)
    assert shift.doubt == ""
    assert shift.sigma < 0.1


def test_outlines_that_fit_are_aligned_and_others_shifted():
    assert estimate(clues(14, (0, 0), 1)).verdict == "aligned"
    assert estimate(clues(14, (0.1, -0.1), 1)).verdict == "aligned"
    assert estimate(clues(14, (0.9, 0), 1)).verdict == "shifted"


def test_a_shadow_on_two_sides_does_not_pull_the_shift_to_its_edge():
    shift = estimate(clues(14, (1.0, -0.5), 2, shadow=(7, 9)))  # it falls 2.9 m far
    assert (shift.east, shift.north) == pytest.approx((-1.0, 0.5), abs=0.15)
    assert shift.verdict == "shifted"


def test_an_image_without_the_buildings_gives_no_reliable_shift():
    rng = np.random.default_rng(3)
    valid = np.ones((SIDE, SIDE), dtype=bool)
    seen = []
    for _ in range(30):
        noise = rng.integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
        seen.append(evidence(noise, valid, to_rings(house(rng)), SEARCH))
    shift = estimate([clue for clue in seen if clue is not None])
    assert shift.verdict == "no reliable shift"
    assert "resamples agree" in shift.doubt or "edge" in shift.doubt


def test_buildings_that_lie_off_in_different_ways_give_no_reliable_shift():
    mixed = [
        clues(1, (2.5 * np.cos(a), 2.5 * np.sin(a)), i)[0]
        for i, a in enumerate(np.linspace(0, 2 * np.pi, 12, endpoint=False))
    ]
    assert estimate(mixed).verdict == "no reliable shift"


def test_few_buildings_are_not_enough():
    shift = estimate(clues(9, (1, 0), 4))
    assert shift.doubt == "9 of the 10 buildings that it takes"
    nothing = estimate([])
    assert (nothing.buildings, nothing.verdict) == (0, "no reliable shift")


def test_a_shift_beyond_the_reach_is_not_made_up():
    shift = estimate(clues(14, (SEARCH.reach + 0.1, 0), 5))
    assert shift.doubt == "the best shift lies at the edge of the search"


def test_more_buildings_make_it_surer():
    few, many = estimate(clues(10, (0, 0), 6)), estimate(clues(60, (0, 0), 6))
    assert 0 < many.sigma < few.sigma


def test_the_same_buildings_give_the_same_shift():
    seen = clues(12, (0.5, 0.5), 7)
    assert estimate(seen) == estimate(seen)


def test_what_is_not_valid_or_too_small_tells_nothing():
    rng = np.random.default_rng(8)
    polygon = house(rng)
    image = picture(polygon, rng)
    half = np.zeros((SIDE, SIDE), dtype=bool)
    half[: SIDE // 2] = True
    assert evidence(image, half, to_rings(polygon), SEARCH) is None
    hut = to_rings(shapely.box(118, 118, 121, 121))  # 75 cm
    assert evidence(image, np.ones_like(half), hut, SEARCH) is None


def test_the_edge_of_what_is_valid_is_no_wall():
    rng = np.random.default_rng(9)
    polygon = shapely.box(100, 100, 140, 140)
    image = np.full((SIDE, SIDE, 3), 200, dtype=np.uint8)
    image = np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)
    valid = np.ones((SIDE, SIDE), dtype=bool)
    valid[:, :92] = False  # 2 m west of the house, 38 % of the image
    image[~valid] = 0
    window = (slice(None), slice(80, SIDE))
    rings = [ring - [80, 0] for ring in to_rings(polygon)]
    clue = evidence(image[window], valid[window], rings, SEARCH)
    assert clue is not None
    row, col = np.unravel_index(clue.map.argmax(), clue.map.shape)
    at_edge = clue.map[SEARCH.radius, SEARCH.radius - 8]
    assert at_edge < clue.map[row, col]
    assert clue.map.mean() == pytest.approx(0, abs=1e-5)


def test_the_verdict_weighs_the_shift_with_its_error():
    def shift(east: float, sigma: float, agreement: float = 1.0) -> Shift:
        return Shift(east, 0.0, sigma, sigma, 50, agreement, True)

    assert shift(1.0, 0.1).verdict == "shifted"
    assert shift(1.0, 0.4).verdict == "aligned"
    assert shift(0.25, 0.01).verdict == "aligned"
    assert shift(3.0, 0.6).doubt == "it is uncertain by 0.60 m"
    assert shift(3.0, 0.1, 0.5).doubt == "only 50% of resamples agree on it"
    assert math.isclose(Shift(3.0, 4.0, 0.1, 0.2, 50, 1.0, True).length, 5.0)
