from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildex.geo.rings import boundary_distances, fill, transformed
from buildex.nn.augment import (
    GREY,
    NO_AUGMENT,
    REPAINTED,
    Augment,
    _colours,
    draw_matrix,
    recolour,
    warp,
)
from tests.nn.made import painted, rings_of

SIDE, SIZE = 96, 128
HOUSE = rings_of([[30, 36], [64, 36], [64, 50], [48, 50], [48, 70], [30, 70]])
PURE = Augment(light=0, haze=0, blur=0, noise=0, jpeg=0)


def warped(pixels, matrix, size=SIZE):
    return warp(pixels, np.ones(pixels.shape[:2], bool), matrix, size)


@given(st.integers(0, 10_000))
def test_pixels_and_polygons_are_moved_alike(seed):
    matrix = draw_matrix(np.random.default_rng(seed), (48.3, 51.2), SIZE, Augment())
    roof = np.repeat(fill(HOUSE, SIDE, SIDE)[..., None] * np.uint8(255), 3, axis=2)
    image, _ = warped(roof, matrix)
    moved = transformed(HOUSE, matrix)
    wrong = (image[..., 0] > 127) != fill(moved, SIZE, SIZE)
    centres = np.argwhere(wrong)[:, ::-1] + 0.5
    assert boundary_distances(centres, moved).max(initial=0) < 0.6


def test_turned_by_a_quarter_the_pixels_are_the_same_and_no_other():
    pixels = painted(SIDE)
    quarter = np.array([[0.0, -1.0, SIDE], [1.0, 0.0, 0.0]])  # (x, y) to (SIDE - y, x)
    image, valid = warped(pixels, quarter, SIDE)
    assert np.array_equal(image, np.rot90(pixels, -1))
    assert valid.all()


def test_the_chosen_point_comes_to_the_middle():
    for seed in range(10):
        matrix = draw_matrix(np.random.default_rng(seed), (7.5, 91.0), SIZE, Augment())
        assert matrix @ (7.5, 91.0, 1) == pytest.approx((SIZE / 2, SIZE / 2))


def test_matrices_turn_mirror_and_scale_as_much_as_is_allowed_and_never_shear():
    rng = np.random.default_rng(3)
    linear = np.array([draw_matrix(rng, (0, 0), SIZE, Augment())[:, :2] for _ in range(300)])
    zoom = np.sqrt(np.abs(np.linalg.det(linear)))
    assert 0.7 <= zoom.min() < 0.75
    assert 1.3 < zoom.max() <= 1.4
    assert 0.4 < np.mean(np.linalg.det(linear) < 0) < 0.6
    angles = np.degrees(np.arctan2(linear[:, 0, 1], linear[:, 1, 1])) % 360
    assert (np.histogram(angles, bins=8, range=(0, 360))[0] > 15).all()
    assert linear.transpose(0, 2, 1) @ linear == pytest.approx(zoom[:, None, None] ** 2 * np.eye(2))


def test_without_augmentation_a_sample_is_a_plain_cut():
    pixels = painted(SIDE)
    matrix = draw_matrix(np.random.default_rng(0), (40.0, 40.0), 64, NO_AUGMENT)
    image, valid = warped(pixels, matrix, 64)
    assert np.array_equal(image, pixels[8:72, 8:72])
    assert np.array_equal(recolour(image, np.random.default_rng(0), NO_AUGMENT), image)
    assert valid.all()


def test_what_comes_from_outside_is_black_and_not_valid():
    matrix = np.array([[1.0, 0.0, 40.0], [0.0, 1.0, 0.0]])
    image, valid = warped(np.full((SIDE, SIDE, 3), 200, np.uint8), matrix)
    assert not valid[:, :40].any()
    assert valid[:SIDE, 40:].all()
    assert (image[:, :39] == 0).all()


@pytest.mark.parametrize("strong", ["light", "haze", "blur", "noise", "jpeg"])
def test_each_change_of_colour_changes_pixels_and_keeps_their_shape(strong):
    one = Augment(**{"light": 0, "haze": 0, "blur": 0, "noise": 0, "jpeg": 0, strong: 1.0})
    pixels = painted(SIDE)
    before = pixels.copy()
    image = recolour(pixels, np.random.default_rng(1), one)
    assert image.shape == pixels.shape
    assert image.dtype == np.uint8
    assert not np.array_equal(image, pixels)
    assert np.abs(image.astype(int) - pixels).mean() < 90
    assert np.array_equal(pixels, before)


def test_light_and_haze_are_what_their_formulas_say():
    pixels = painted(SIDE)
    for seed in range(12):
        light = Augment(light=1.5, haze=0.5, blur=0, noise=0, jpeg=0)
        found = recolour(pixels, np.random.default_rng(seed), light)
        assert np.abs(found - relit(pixels, np.random.default_rng(seed), light)).max() < 6


def relit(pixels, rng, augment):
    """The same in floats: a table for each channel, a matrix around the mean, a veil."""
    brightness, contrast, gamma, saturation = rng.uniform(-1, 1, 4) * augment.light
    gain = np.exp(0.25 * brightness + rng.uniform(-0.12, 0.12, 3) * augment.light)
    values = (pixels / 255 * gain).clip(1e-4, 1) ** np.exp(0.25 * gamma)
    chroma = np.exp(0.4 * saturation)
    if rng.random() < GREY * augment.light:
        chroma *= rng.uniform(0, 0.5)
    angle = rng.normal(0, 0.12 * augment.light)
    if rng.random() < REPAINTED * augment.light:
        angle = rng.uniform(-np.pi, np.pi)
    middle = values[::4, ::4].mean()
    values = (values - middle) @ (np.exp(0.35 * contrast) * _colours(chroma, angle)) + middle
    if rng.random() < augment.haze:
        veil = rng.uniform(0.6, 1.0, 3)
        values += (veil - values) * rng.uniform(0.05, 0.35)
    return (values * 255).clip(0, 255)


def test_noise_is_as_strong_as_it_says_and_has_no_tint():
    grey = np.full((128, 128, 3), 128, np.uint8)
    spread = []
    for seed in range(20):
        noisy = recolour(grey, np.random.default_rng(seed), dataclasses.replace(PURE, noise=1.0))
        off = noisy.astype(float) - grey
        assert np.abs(off.mean(axis=(0, 1))).max() < 0.3
        spread.append(off.std() / 255)
    assert 0.004 < min(spread) < 0.012
    assert 0.02 < max(spread) < 0.031


def test_colours_turn_around_grey_and_fade_towards_it():
    grey, red = np.full(3, 0.4), np.array([1.0, 0.0, 0.0])
    assert _colours(1.0, 0.0) == pytest.approx(np.eye(3), abs=1e-6)
    assert grey @ _colours(0.3, 1.1) == pytest.approx(grey, abs=1e-6)
    turned = red @ _colours(1.0, 2 * np.pi / 3)
    assert sorted(turned) == pytest.approx([0, 0, 1], abs=1e-6)
    assert turned[0] == pytest.approx(0, abs=1e-6)
    assert red @ _colours(0.0, 0.7) == pytest.approx(np.full(3, 1 / 3), abs=1e-6)
