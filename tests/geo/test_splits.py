import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from buildex.errors import ConfigError
from buildex.geo.splits import GroundTile, SplitRule, assign, parse_split

UTM, ORIGIN = "EPSG:32737", (530_000.0, 9_320_000.0)


def ground(scene, bounds, buildings=frozenset(), crs=UTM, origin=ORIGIN) -> GroundTile:
    """A tile at bounds in metres from an origin."""
    corners = shapely.get_coordinates(shapely.box(*bounds))[:4] + np.array(origin)
    move = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    return GroundTile(
        scene, tuple(bounds), tuple(zip(*move.transform(*corners.T), strict=True)), buildings
    )


def town(columns: int, rows: int, *, step: float = 40.0, size: float = 50.0, seed: int = 0):
    """Overlapping tiles of a town with a building on about every second of them."""
    chance = np.random.default_rng(seed)
    houses = [
        (str(i), shapely.box(x, y, x + 12, y + 12))
        for i, (x, y) in enumerate(chance.uniform(0, step * columns, (columns * rows, 2)))
    ]
    tiles = []
    for row in range(rows):
        for col in range(columns):
            x, y = col * step, row * step
            frame = shapely.box(x, y, x + size, y + size)
            touching = frozenset(name for name, house in houses if house.intersects(frame))
            tiles.append(ground("town", frame.bounds, touching))
    return tiles


@given(
    st.integers(5, 12),
    st.integers(5, 12),
    st.floats(0.1, 0.5),
    st.sampled_from([60.0, 100.0]),
    st.floats(0, 45),
    st.integers(0, 99),
)
@settings(max_examples=20, deadline=None)
def test_no_ground_and_no_building_on_both_sides(columns, rows, share, block, guard, seed):
    tiles = town(columns, rows, seed=seed)
    try:
        splits = assign(SplitRule(share=share), tiles, block, guard)
    except ConfigError:
        return
    train = [t for t, split in zip(tiles, splits, strict=True) if split == "train"]
    val = [t for t, split in zip(tiles, splits, strict=True) if split == "val"]
    assert train
    assert val
    here, there = (shapely.union_all([shapely.box(*t.bounds) for t in s]) for s in (train, val))
    assert here.distance(there) >= guard
    assert not here.intersects(there)
    own, other = (frozenset().union(*(t.buildings for t in side)) for side in (train, val))
    assert own.isdisjoint(other)


def test_a_building_that_reaches_over_the_guard_drops_the_training_tile():
    long = frozenset({"long hall"})
    tiles = [
        ground("a", (0, 0, 50, 50), long),
        ground("a", (100, 0, 150, 50), long),
        ground("a", (300, 0, 350, 50)),
        ground("b", (150, 60, 200, 110), long),
    ]
    assert assign(SplitRule(scenes=("b",)), tiles, guard=5) == [None, None, "train", "val"]


def test_blocks_hold_about_the_share_of_the_tiles():
    splits = assign(SplitRule(share=0.2), town(20, 20), 100.0, 0.0)
    assert 0.15 <= splits.count("val") / 400 <= 0.25


def test_scenes_that_show_the_same_ground_do_not_leak():
    tiles = [
        ground("a", (0, 0, 50, 50)),
        ground("b", (10, 10, 60, 60)),
        ground("b", (500, 10, 550, 60)),
    ]
    assert assign(SplitRule(scenes=("a",)), tiles) == ["val", None, "train"]


@pytest.mark.parametrize("latitude", [-1.0, 52.0, 68.0])
def test_the_guard_is_kept_between_scenes_of_different_zones(latitude):
    """Two flights around 36 degrees east, where zones 36 and 37 meet."""
    zones = [f"EPSG:{(32600 if latitude > 0 else 32700) + zone}" for zone in (36, 37)]
    moves = [pyproj.Transformer.from_crs("EPSG:4326", zone, always_xy=True) for zone in zones]
    west, east = (move.transform(36.0, latitude) for move in moves)
    tiles = [
        ground("a", (0, 0, 50, 50), crs=zones[0], origin=west),
        *(ground("b", (x, 0, x + 50, 50), crs=zones[1], origin=east) for x in (10, 68, 76, 300)),
    ]
    assert assign(SplitRule(scenes=("a",)), tiles, guard=20) == [
        "val",
        None,
        None,
        "train",
        "train",
    ]


def test_the_guard_is_kept_across_the_180th_meridian_and_drops_nothing_far_away():
    move = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32760", always_xy=True)
    origin = move.transform(180.0, -16.8)
    far = [ground("b", (x, 0, x + 50, 50), crs="EPSG:32760", origin=origin) for x in (-700, 700)]
    tiles = [
        ground("a", (-60, 0, -10, 50), crs="EPSG:32760", origin=origin),
        ground("b", (1, 0, 51, 50), crs="EPSG:32760", origin=origin),
        *far,
    ]
    rule = SplitRule(scenes=("a",))
    assert assign(rule, tiles, guard=20) == ["val", None, "train", "train"]
    across = ground("a", (-25, 0, 25, 50), crs="EPSG:32760", origin=origin)
    move = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32734", always_xy=True)
    africa = move.transform(20.0, -16.8)
    elsewhere = ground("c", (0, 0, 50, 50), crs="EPSG:32734", origin=africa)
    assert assign(rule, [across, *far, elsewhere], guard=20) == ["val", "train", "train", "train"]


def test_all_tiles_may_go_to_one_split():
    assert assign(parse_split("test"), town(2, 2)) == ["test"] * 4


def test_the_split_does_not_depend_on_the_order_of_scenes():
    tiles = town(8, 8)
    far = [ground("other", t.bounds, origin=np.array(ORIGIN) + 1e5) for t in tiles]
    rule = SplitRule(share=0.2)
    there, back = assign(rule, tiles + far), assign(rule, far + tiles)
    assert there == back[64:] + back[:64]


@pytest.mark.parametrize("text", ["", "all", "block", "block:0", "block:1.5", "block:x", "scene:"])
def test_a_split_that_means_nothing_is_refused(text):
    with pytest.raises(ConfigError, match="not understood"):
        parse_split(text)


def test_splits_are_read():
    assert parse_split("val") == SplitRule(everything="val")
    assert parse_split("block:0.25") == SplitRule(share=0.25)
    assert parse_split("scene:a, b") == SplitRule(scenes=("a", "b"))


def test_an_unknown_scene_and_an_empty_side_are_errors():
    with pytest.raises(ConfigError, match="`nowhere`, which is not there"):
        assign(SplitRule(scenes=("nowhere",)), town(2, 2))
    with pytest.raises(ConfigError, match="no tile to train on"):
        assign(SplitRule(share=0.5), town(2, 2))
