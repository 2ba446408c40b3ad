from __future__ import annotations

import dataclasses
import itertools
from functools import cache
from typing import get_args

import numpy as np
import pytest
import rasterio
import shapely
from scipy import ndimage
from shapely import affinity

from buildex.errors import ConfigError, OutputError
from buildex.geo.footprints import to_polygon
from buildex.geo.rings import fill, signed_area
from buildex.io.vector import read_footprints
from buildex.rendering import RenderConfig, RenderedTown, lots, render_town, write_town
from buildex.rendering.blocks import fill_block
from buildex.rendering.canvas import Canvas
from buildex.rendering.cars import paint_cars
from buildex.rendering.decoys import KINDS, paint_decoys
from buildex.rendering.houses import draw_house
from buildex.rendering.layout import lay_out
from buildex.rendering.light import Sun, draw_sun, jpeg_like, shadows
from buildex.rendering.lorries import KINDS as VEHICLES
from buildex.rendering.lorries import Frame, draw_vehicle, paint_vehicle
from buildex.rendering.lots import paint_lots
from buildex.rendering.markings import mark_roads
from buildex.rendering.noise import NoiseBank
from buildex.rendering.pavements import paint_pavements
from buildex.rendering.plan import Plan, Road
from buildex.rendering.plots import extent, till
from buildex.rendering.roofs import Kit
from buildex.rendering.shapes import Material, RoofSpec, assembled
from buildex.rendering.styles import STYLES, USUAL, draw_ground
from buildex.rendering.tillage import CROPS, paint_tillage
from buildex.rendering.town import DENSEST, StyleName

CONCRETE = Material("concrete", (0.6, 0.6, 0.6), 0.0, 0.0)
SMALL = RenderConfig(seed=1, width=40.0, height=30.0, style="town")


@cache
def town() -> RenderedTown:
    return render_town(SMALL)


@cache
def outlines(style: str, seed: int) -> tuple[shapely.Polygon, ...]:
    plan = lay_out((120.0, 120.0), STYLES[style], 1.0, np.random.default_rng(seed))
    return tuple(building.polygon for building in plan.buildings)


def test_the_same_seed_gives_the_same_bytes():
    again = render_town(SMALL)
    assert again.image.tobytes() == town().image.tobytes()
    for rings, other in zip(town().polygons, again.polygons, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(rings, other, strict=True))


def test_another_seed_gives_another_town():
    other = render_town(dataclasses.replace(SMALL, seed=2))
    assert not np.array_equal(other.image, town().image)


def test_the_mosaic_has_the_size_that_was_asked_for():
    assert town().image.shape == (300, 400, 3)
    assert town().image.dtype == np.uint8
    assert (town().grid.height, town().grid.width) == (300, 400)
    assert town().grid.gsd == pytest.approx(0.10)


@pytest.mark.parametrize("style", list(STYLES))
def test_outlines_are_valid_and_never_overlap(style: str):
    shapes = np.array(outlines(style, 5))
    assert len(shapes) > 3
    assert shapely.is_valid(shapes).all()
    tree = shapely.STRtree(shapes)
    first, second = tree.query(shapes, predicate="intersects")
    pairs = first < second
    common = shapely.intersection(shapes[first[pairs]], shapes[second[pairs]])
    assert shapely.area(common).sum() < 1e-6


def test_polygons_are_oriented_and_reach_into_the_mosaic():
    frame = shapely.box(0, 0, 400, 300)
    for rings in town().polygons:
        assert signed_area(rings[0]) > 0
        assert all(signed_area(hole) < 0 for hole in rings[1:])
        assert to_polygon(rings).intersects(frame)


def test_row_houses_share_their_walls():
    shapes = outlines("bazaar", 3)
    shared = 0
    for a, b in itertools.combinations(shapes, 2):
        corners = set(map(tuple, a.exterior.coords)) & set(map(tuple, b.exterior.coords))
        wall = a.intersection(b).length if a.distance(b) == 0 else 0
        shared += len(corners) >= 1 and wall > 2
    assert shared > 5


def test_some_houses_have_courtyards_and_some_are_l_shaped():
    shapes = [shape for seed in range(6) for shape in outlines("suburb", seed)]
    assert any(len(shape.interiors) == 1 for shape in shapes)
    corners = [len(shape.exterior.coords) - 1 for shape in shapes]
    assert 4 in corners
    assert 6 in corners


@pytest.mark.parametrize("style", list(STYLES))
def test_a_denser_town_has_more_houses_until_there_is_no_more_room(style: str):
    def houses(density: float) -> int:
        plans = (
            lay_out((60.0, 60.0), STYLES[style], density, np.random.default_rng(seed))
            for seed in range(3)
        )
        return sum(len(plan.buildings) for plan in plans)

    usual, dense, densest = houses(1.0), houses(3.0), houses(DENSEST)
    assert usual < dense
    assert dense < 1.05 * densest  # but for chance


def test_outlines_lie_on_the_edges_of_the_roofs():
    image = town().image.mean(axis=2)
    steep = np.hypot(ndimage.sobel(image, axis=0), ndimage.sobel(image, axis=1))
    line = np.zeros(image.shape)
    for rings in town().polygons:
        inside = fill(rings, *image.shape)
        line += ndimage.binary_dilation(inside) ^ ndimage.binary_erosion(inside, border_value=1)
    strength = {
        (dx, dy): float((np.roll(line, (dy, dx), axis=(0, 1)) * steep).sum())
        for dx in range(-4, 5)
        for dy in range(-4, 5)
    }
    assert max(strength, key=lambda shift: strength[shift]) == (0, 0)


def test_an_edge_inside_a_pixel_covers_its_share():
    canvas = Canvas(40, 20, 0.10)
    # A wall from x = 1.03 m, that is pixel 10.3; the canvas averages to pixels of 0.10 m.
    ring = np.array([[1.03, 0.5], [3.0, 0.5], [3.0, 1.5], [1.03, 1.5]])
    patch = canvas.whole
    patch.blend((1.0, 1.0, 1.0), patch.coverage((ring,)))
    row = canvas.developed(canvas.color)[10, :, 0]
    assert row[9] == 0
    assert row[10] == pytest.approx(0.7, abs=0.13)
    assert row[11] == 1
    assert row[29] == pytest.approx(1)
    assert row[30] == 0


def test_a_post_throws_its_shadow_away_from_the_sun():
    height = np.zeros((60, 60), np.float32)
    height[30, 30] = 2.0
    # Sun in the east at 45 degrees: the shadow runs west, as long as the post is high.
    sun = Sun(east=0.5**0.5, south=0.0, up=0.5**0.5, direct=0.6)
    hidden = shadows(height, sun, scale=10.0)
    assert hidden[30, 15] > 0.3
    assert hidden[30, 45] == 0
    assert hidden[30, 5] == pytest.approx(0, abs=1e-3)
    assert hidden[15, 30] == 0


def test_a_slope_that_faces_the_sun_is_brighter():
    sun = Sun(east=0.6, south=0.0, up=0.8, direct=0.6)
    rise = np.array([0.5], np.float32)
    flat = np.zeros(1, np.float32)
    assert sun.shade(flat, flat)[0] == pytest.approx(1)
    assert sun.shade(-rise, flat)[0] > 1 > sun.shade(rise, flat)[0]


def test_jpeg_losses_are_small_at_high_quality_and_grow():
    image = np.random.default_rng(0).uniform(60, 200, (33, 42, 3)).astype(np.float32)
    image = ndimage.gaussian_filter(image, (2, 2, 0))
    fine, coarse = (np.abs(jpeg_like(image, q) - image).mean() for q in (98.0, 20.0))
    assert fine < 2
    assert coarse > fine


def test_noise_repeats_and_is_spread_evenly():
    bank = NoiseBank(np.random.default_rng(0))
    at = np.arange(5.0)
    assert np.array_equal(bank.sample("patch", at, at), bank.sample("patch", at + 1024, at))
    piece = bank.take("white", (1024, 1024), np.random.default_rng(1))
    assert np.histogram(piece, 4, (0, 1))[0] == pytest.approx(2**18, rel=0.02)
    assert bank.take("cloud", (50, 70), np.random.default_rng(1), zoom=3.0).shape == (50, 70)


def test_the_files_lie_where_the_town_does(tmp_path):
    write_town(tmp_path / "demo", town())
    with rasterio.open(tmp_path / "demo" / "mosaic.tif") as file:
        assert file.crs.to_epsg() == 32737
        assert np.array_equal(np.moveaxis(file.read(), 0, 2), town().image)
        left, bottom, right, top = file.bounds
    assert (right - left, top - bottom) == pytest.approx((40, 30))
    crs = town().grid.crs
    found, _ = read_footprints(tmp_path / "demo" / "buildings.geojson", target_crs=crs)
    assert len(found) == len(town().polygons)
    truth = town().footprints.polygons
    gaps = shapely.hausdorff_distance(found.polygons, truth)
    assert gaps.max() < 0.01
    aoi, _ = read_footprints(tmp_path / "demo" / "aoi.geojson", target_crs=crs)
    assert aoi.polygons[0].area == pytest.approx(1200, rel=1e-3)


def test_files_are_never_overwritten_unasked(tmp_path):
    write_town(tmp_path, town())
    with pytest.raises(OutputError, match="exists already"):
        write_town(tmp_path, town())
    write_town(tmp_path, town(), overwrite=True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": -1}, {"gsd": 0.0}, {"width": 0.1}, {"density": 0.0}, {"height": -3.0},
        {"width": float("nan")}, {"width": 1e7}, {"density": 1e9}, {"gsd": float("inf")},
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ConfigError):
        RenderConfig(**wrong)


@pytest.mark.parametrize("kind", [*KINDS, "all"])
def test_what_looks_like_a_roof_and_is_none_keeps_clear_of_buildings(kind, monkeypatch):
    if kind != "all":
        monkeypatch.setattr("buildex.rendering.decoys.KINDS", {kind: 1.0})
    rng = np.random.default_rng(4)
    plan = lay_out((60.0, 60.0), STYLES["suburb"], 1.0, rng)
    kit = Kit(Canvas(600, 600, 0.1), draw_sun(rng), NoiseBank(rng), rng)
    paint_decoys(kit, plan, draw_ground(rng), 30)
    assert kit.canvas.color.any()
    for building in plan.buildings:
        patch = kit.canvas.patch(building.polygon.bounds)
        if patch is not None:
            assert not patch.color[patch.coverage(building.rings) == 1].any()


def test_lorries_stand_and_courts_lie_flat(monkeypatch):
    heights = {}
    for kind in ("lorry", "court"):
        monkeypatch.setattr("buildex.rendering.decoys.KINDS", {kind: 1.0})
        rng = np.random.default_rng(4)
        kit = Kit(Canvas(600, 600, 0.1), draw_sun(rng), NoiseBank(rng), rng)
        paint_decoys(kit, lay_out((60.0, 60.0), STYLES["village"], 1.0, rng), draw_ground(rng), 9)
        assert kit.canvas.color.any()
        heights[kind] = float(kit.canvas.height.max())
    assert heights["court"] == 0
    assert heights["lorry"] > 1.5


def test_a_seed_chooses_among_the_styles_that_were_there_first():
    small = {"width": 12.0, "height": 12.0}
    for seed in range(5):
        usual = {
            render_town(RenderConfig(seed=seed, style=s, **small)).image.tobytes() for s in USUAL
        }
        assert render_town(RenderConfig(seed=seed, **small)).image.tobytes() in usual


def test_barracks_are_long_houses_round_paved_ground_that_is_no_building():
    plan = lay_out((120.0, 120.0), STYLES["barracks"], 1.0, np.random.default_rng(5))
    long = [b for b in plan.buildings if np.divide(*extent(b.polygon)) > 2.5]
    assert len(long) > 5
    built = shapely.union_all(plan.shapes)
    enclosed = [y for y in plan.pavements if sum(y.intersects(s) for s in plan.shapes) > 1]
    assert any(yard.difference(built).area > 100 for yard in enclosed)


@pytest.mark.parametrize("style", ["barracks", "walled"])
def test_houses_round_yards_are_wide_enough_and_no_yard_is_empty(style):
    for seed in range(12):
        plan = lay_out((90.0, 90.0), STYLES[style], 1.3, np.random.default_rng(seed))
        for building in plan.buildings:
            assert all(signed_area(part.ring) > 0 for part in building.parts)
            assert extent(building.polygon)[1] > 1.0
        assert all(yard.area > 0 for yard in plan.pavements)
        assert all(wall.length > 0 for wall in plan.walls)


@pytest.mark.parametrize("style", STYLES)
def test_every_style_can_be_painted(style):
    for seed in (4, 10):
        drawn = render_town(RenderConfig(seed=seed, width=45.0, height=45.0, style=style))
        assert drawn.image.std() > 5
        assert drawn.polygons


def test_every_style_can_be_asked_for():
    assert get_args(StyleName) == ("any", *STYLES)


def test_usual_towns_are_not_paved_all_over():
    for style in USUAL:
        plan = lay_out((120.0, 120.0), STYLES[style], 1.0, np.random.default_rng(5))
        assert not plan.pavements


def car_park(seed: int = 2) -> tuple[Kit, Plan]:
    """A yard of 24 x 18 m with a house in its middle, on a canvas of 30 x 30 m."""
    rng = np.random.default_rng(seed)
    plan = Plan(30.0, 30.0, pavements=[shapely.box(3, 6, 27, 24)])
    plan.add(assembled([(10, 10, 18, 20)], RoofSpec("flat", 3.0, 0.0, CONCRETE)))
    return Kit(Canvas(300, 300, 0.1), draw_sun(rng), NoiseBank(rng), rng), plan


def test_pavements_lie_flat_and_end_where_the_yard_ends():
    kit, plan = car_park()
    kit.canvas.height[:] = 0.5
    paint_pavements(kit, plan)
    patch = kit.canvas.whole
    laid = patch.coverage((np.asarray(plan.pavements[0].exterior.coords)[:-1],))
    assert (patch.height[laid == 1] == 0).all()
    assert patch.color[laid == 1].any(axis=-1).mean() > 0.9
    assert not patch.color[laid == 0].any()
    assert (patch.height[laid == 0] == 0.5).all()


def test_cars_are_parked_in_yards_and_clear_of_houses():
    kit, plan = car_park()
    for _ in range(3):  # how full a yard is is chance
        paint_cars(kit, plan)
    patch = kit.canvas.whole
    yard = patch.coverage((np.asarray(plan.pavements[0].exterior.coords)[:-1],))
    house = patch.coverage(plan.buildings[0].rings)
    assert patch.height.max() > 1
    assert not patch.height[yard == 0].any()
    assert not patch.height[house > 0].any()


@pytest.mark.parametrize("seed", range(4))
def test_vehicles_stand_in_lots_and_beside_roads_clear_of_houses(seed, monkeypatch):
    monkeypatch.setattr("buildex.rendering.lots._court_in", lambda *_: None)
    kit, plan = car_park(seed)
    plan.lots, plan.pavements = plan.pavements, []
    road = Road(shapely.LineString([(0, 3), (30, 3)]), 4.0, paved=True)
    plan.roads = [road] * 40
    paint_lots(kit, plan)
    patch = kit.canvas.whole
    place = shapely.union_all([plan.lots[0], road.line.buffer(12)])
    lot = patch.coverage((np.asarray(plan.lots[0].exterior.coords)[:-1],))
    assert patch.height[lot > 0].max() > 1.5
    assert patch.height[(lot == 0) & (patch.y < 6)].max() > 1
    rows, columns = np.nonzero(patch.height)
    shapely.prepare(place)
    assert shapely.contains_xy(place, patch.x[0, columns], patch.y[rows, 0]).all()
    assert not patch.height[patch.coverage(plan.buildings[0].rings) > 0].any()


@pytest.mark.parametrize("turn", [0.0, 0.8])
def test_a_row_has_as_many_vehicles_as_there_is_room_for(turn, monkeypatch):
    drawn = []

    def paint(kit, kind, frame):
        drawn.append(frame)
        paint_vehicle(kit, kind, frame)

    monkeypatch.setattr("buildex.rendering.lots.paint_vehicle", paint)
    kit, _ = car_park()
    lot = affinity.rotate(shapely.box(-80, -80, 80, 80), turn, use_radians=True)
    plan = Plan(30.0, 30.0, lots=[lot])
    monkeypatch.setattr("buildex.rendering.lots._point_in", lambda *_: (15.0, 15.0))
    monkeypatch.setattr("buildex.rendering.lots.axis_of", lambda _: turn)
    counts = []
    for _ in range(30):
        kit.canvas.height[:] = 0
        drawn.clear()
        lots._paint_row(kit, plan, lot)
        counts.append(len(drawn))
    assert min(counts) >= 2
    assert max(counts) == 8


@pytest.mark.parametrize("kind", VEHICLES)
def test_a_vehicle_is_as_large_as_its_frame_and_stands(kind, monkeypatch):
    monkeypatch.setattr("buildex.rendering.lorries.KINDS", {kind: 1.0})
    for turn in (0.0, 0.7, 3.0):
        kit, _ = car_park(int(10 * turn))
        name, length, width = draw_vehicle(kit.rng)
        assert name == kind
        frame = Frame((15.0, 14.0), turn, length, width)
        paint_vehicle(kit, kind, frame)
        patch = kit.canvas.whole
        within = patch.coverage((frame.box((0, length), (-width / 2, width / 2)),))
        assert patch.color[within == 1].any(axis=-1).mean() > 0.9
        assert not patch.color[within == 0].any()
        assert 1 < patch.height.max() < 4


@pytest.mark.parametrize(("wide", "court"), [(36.0, 28.0), (22.0, 14.0), (13.0, 0.0)])
def test_a_court_lies_flat_in_its_lot_whole_half_or_not_at_all(wide, court, monkeypatch):
    monkeypatch.setattr("buildex.rendering.lots.COURTS", 1.0)
    rng = np.random.default_rng(1)
    kit = Kit(Canvas(400, 300, 0.1), draw_sun(rng), NoiseBank(rng), rng)
    plan = Plan(40.0, 30.0, lots=[shapely.box(2, 3, 2 + wide, 26)])
    for _ in range(4):
        kit.canvas.color[:], kit.canvas.height[:] = 0, 0
        found = lots._court_in(kit, plan, plan.lots[0])
        assert (found[0].length if found else 0.0) == court
        paint_lots(kit, plan)
        patch = kit.canvas.whole
        lot = patch.coverage((np.asarray(plan.lots[0].exterior.coords)[:-1],))
        assert not patch.color[lot == 0].any()
        assert patch.color[lot == 1].any()
        assert patch.height.any() == (not court)
    plan.add(assembled([(10, 8, 16, 20)], RoofSpec("flat", 3.0, 0.0, CONCRETE)))
    assert lots._court_in(kit, plan, plan.lots[0]) is None


def test_lines_stay_on_their_road_and_usual_towns_have_none():
    rng = np.random.default_rng(5)
    for style in STYLES:
        plan = lay_out((60.0, 60.0), STYLES[style], 1.0, np.random.default_rng(5))
        assert any(road.marked for road in plan.roads) == (style == "roadside")
        assert bool(plan.lots) == (style == "roadside")
    plan = lay_out((100.0, 100.0), STYLES["roadside"], 1.0, np.random.default_rng(5))
    kit = Kit(Canvas(1000, 1000, 0.1), draw_sun(rng), NoiseBank(rng), rng)
    mark_roads(kit, plan)
    patch = kit.canvas.whole
    assert patch.color.any()
    beds = shapely.union_all([r.line.buffer(r.width / 2 + 0.2) for r in plan.roads if r.marked])
    rows, columns = np.nonzero(patch.color.any(axis=-1))
    marks = shapely.points(patch.x[0, columns], patch.y[rows, 0])
    shapely.prepare(beds)
    assert shapely.contains(beds, marks).all()


@pytest.mark.parametrize("seed", range(8))
def test_tilled_plots_fill_their_block_and_keep_apart(seed):
    block = shapely.Polygon([(0, 0), (48, 4), (55, 38), (6, 44)])
    plots = np.array(till(block, np.random.default_rng(seed)))
    assert shapely.is_valid(plots).all()
    assert shapely.within(plots, block.buffer(0.06)).all()
    total = float(shapely.area(plots).sum())
    assert 0.5 * block.area < total
    assert shapely.union_all(plots).area == pytest.approx(total, abs=0.01)


@pytest.mark.parametrize("crop", CROPS)
def test_a_tilled_plot_ends_at_its_border_and_is_no_storey_high(crop, monkeypatch):
    monkeypatch.setattr("buildex.rendering.tillage.CROPS", {crop: 1.0})
    plot = shapely.Polygon([(4, 5), (22, 3), (25, 20), (6, 24)])
    rng = np.random.default_rng(6)
    kit = Kit(Canvas(300, 300, 0.1), draw_sun(rng), NoiseBank(rng), rng)
    paint_tillage(kit, Plan(30.0, 30.0, tilled=[plot]), draw_ground(rng))
    patch = kit.canvas.whole

    def cover(shape: shapely.Polygon) -> np.ndarray:
        return patch.coverage((np.asarray(shape.exterior.coords)[:-1],))

    assert patch.color[cover(plot.buffer(-0.5)) == 1].all()
    assert not patch.color[cover(plot.buffer(0.5)) == 0].any()
    assert 0 <= patch.height.min() <= patch.height.max() < 1


def test_walls_follow_a_parcel_with_a_narrow_neck():
    neck = [(0, 0), (20, 0), (20, 14), (10.15, 15), (20, 16), (20, 30), (0, 30), (0, 16),
            (9.85, 15), (0, 14)]  # fmt: skip
    parcel = shapely.Polygon(neck)
    walled = 0
    for seed in range(40):  # whether a parcel is walled is chance
        plan = Plan(20.0, 30.0)
        look = dataclasses.replace(STYLES["walled"], plot=2000.0, blocks={"plots": 1})
        fill_block(plan, parcel, (look, 1.0), np.random.default_rng(seed))
        if not plan.walls:
            continue
        walled += 1
        north, south = sorted(plan.walls, key=lambda wall: wall.centroid.y)
        assert north.bounds == pytest.approx((0.2, 0.2, 19.8, 14.8), abs=0.2)
        assert south.bounds == pytest.approx((0.2, 15.2, 19.8, 29.8), abs=0.2)
        for wall in plan.walls:
            corners = shapely.points(wall.coords)
            assert shapely.distance(corners, parcel.exterior) == pytest.approx(0.2, abs=0.001)
            assert parcel.contains(wall)
    assert walled > 4


def test_a_town_of_large_pixels_has_pixels():
    assert render_town(RenderConfig(seed=1, width=130, height=130, gsd=13.0)).image.size == 300


def test_terraces_are_tilled_and_usual_towns_are_not():
    for style in STYLES:
        plan = lay_out((120.0, 120.0), STYLES[style], 1.0, np.random.default_rng(5))
        assert (len(plan.tilled) > 10) == (style == "terraces")
        apart = shapely.union_all(plan.tilled).area
        assert sum(plot.area for plot in plan.tilled) == pytest.approx(apart, abs=0.1)


def test_a_roof_at_several_heights_has_one_outline():
    style = dataclasses.replace(STYLES["terraces"], flats=1.0, levels=1.0)
    heights = set()
    for seed in range(12):
        house = draw_house((16.0, 12.0), style, np.random.default_rng(seed))
        parts = [shapely.Polygon(part.ring) for part in house.parts]
        assert all(signed_area(part.ring) > 0 for part in house.parts)
        assert shapely.union_all(parts).symmetric_difference(house.polygon).area < 0.05
        heights.add(len({part.eave for part in house.parts}))
    assert heights == {2, 3}
