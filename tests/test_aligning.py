from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import shapely
from affine import Affine
from click.testing import CliRunner

from buildex.aligning import AlignConfig, estimate_offset, offset_of
from buildex.cli.main import main
from buildex.errors import ConfigError, VectorError
from buildex.geo.drawing import Layer
from buildex.geo.footprints import Footprints, object_array
from buildex.geo.grid import Grid
from buildex.geo.offset import Evidence, evidence
from buildex.io.crs import reprojected
from buildex.io.vector import read_footprints, write_footprints
from tests.io.made import write_raster

UTM = "EPSG:32645"
EAST, NORTH = 345_000.0, 3_057_000.0
GSD, WIDTH, HEIGHT = 0.25, 880, 560  # 220 x 140 m
SCENES = Path(__file__).parents[2] / "shared" / "data"


def village(columns: int = 8, rows: int = 5) -> np.ndarray:
    """Houses 26 m apart, each turned and sized in its own way."""
    rng = np.random.default_rng(1)
    out = []
    for number in range(columns * rows):
        x, y = EAST + 15 + 26 * (number % columns), NORTH - 15 - 26 * (number // columns)
        width, height, angle = *rng.uniform(6, 12, 2), rng.uniform(0, 90)
        box = shapely.box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        out.append(shapely.affinity.rotate(box, angle))
    return object_array(out)


def write_mosaic(path: Path, houses: np.ndarray) -> str:
    """A mosaic of the houses, in one colour each, on rough ground."""
    rng = np.random.default_rng(2)
    grid = Grid(UTM, Affine(GSD, 0, EAST, 0, -GSD, NORTH), WIDTH, HEIGHT)
    image = rng.normal(120, 10, (HEIGHT, WIDTH, 3))
    for house in houses:
        image[Layer(object_array([house])).draw(grid)] = rng.uniform(0, 255, 3)
    bands = np.moveaxis(np.clip(image, 0, 255).astype(np.uint8), 2, 0)
    return str(write_raster(path, bands, grid.transform, UTM))


def off(houses: np.ndarray, east: float, north: float) -> np.ndarray:
    return shapely.transform(houses, lambda points: points + np.array([east, north]))


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Path:
    """A mosaic, and labels that lie 1.2 m east and 0.8 m south of it."""
    folder = tmp_path_factory.mktemp("scene")
    houses = village()
    write_mosaic(folder / "mosaic.tif", houses)
    write_footprints(folder / "true.gpkg", Footprints(houses, UTM))
    write_footprints(folder / "labels.geojson", Footprints(off(houses, 1.2, -0.8), UTM))
    return folder


def test_the_shift_is_what_has_to_be_added_to_labels(scene):
    report = estimate_offset(str(scene / "mosaic.tif"), scene / "labels.geojson")
    assert (report.shift.east, report.shift.north) == pytest.approx((-1.2, 0.8), abs=0.06)
    assert report.text().startswith(f"labels on {scene / 'mosaic.tif'}: to be moved 1.")
    assert report.text().endswith(" m north (sigma 0.00, 0.00 m; 40 buildings)")
    labels, _ = read_footprints(scene / "labels.geojson")
    back = report.moved(labels)
    assert back.crs == "EPSG:4326"
    ground = shapely.transform(back.polygons, lambda p: reprojected(p, "EPSG:4326", UTM))
    both = shapely.area(shapely.intersection(ground, village())).sum()
    assert both > 0.97 * shapely.area(village()).sum()


def test_labels_that_fit_are_left_alone(scene):
    report = estimate_offset(str(scene / "mosaic.tif"), scene / "true.gpkg")
    assert report.shift.verdict == "aligned"
    assert "aligned; 0.0" in report.text()
    labels, _ = read_footprints(scene / "true.gpkg")
    assert not report.moves
    assert shapely.equals_exact(report.moved(labels).polygons, labels.polygons, 1e-6).all()


def test_blocks_have_their_own_shifts(scene):
    houses = village()
    west = shapely.get_x(shapely.centroid(houses)) < EAST + 100
    mixed = houses.copy()
    mixed[west] = off(houses[west], 1.5, 0)
    mixed[~west] = off(houses[~west], 0, -1.5)
    report = offset_of(
        str(scene / "mosaic.tif"), Footprints(mixed, UTM), AlignConfig(offset_block=100)
    )
    table = report.as_dict()
    assert table["block_m"] == 100
    assert len(table["blocks"]) == len(report.text().splitlines()) - 1 == 4
    shifts = {(b.x - EAST, b.y - NORTH): b.shift for b in report.blocks}
    first, second = shifts[0, -100], shifts[100, -100]
    assert (first.east, first.north) == pytest.approx((-1.5, 0), abs=0.06)
    assert (second.east, second.north) == pytest.approx((0, 1.5), abs=0.06)
    assert shifts[0, -200].doubt == "4 of the 10 buildings that it takes"
    back = report.moved(Footprints(mixed, UTM)).polygons
    middle = shapely.get_y(shapely.centroid(houses)) > NORTH - 100
    apart = shapely.area(shapely.symmetric_difference(back, houses)) / shapely.area(houses)
    assert apart[middle].max() < 0.1


def test_blocks_hold_no_more_than_their_own_buildings_and_a_lot(scene, monkeypatch):
    alive: set[int] = set()
    most = []

    class Counted(Evidence):
        def __del__(self):
            alive.discard(id(self))

    def counted(*given):
        clue = Counted(*evidence(*given))
        alive.add(id(clue))
        most.append(len(alive))
        return clue

    monkeypatch.setattr("buildex.aligning.evidence", counted)
    monkeypatch.setattr("buildex.aligning.ENOUGH", 4)
    labels = Footprints(village(), UTM)
    report = offset_of(str(scene / "mosaic.tif"), labels, AlignConfig(offset_block=50))
    assert len(report.blocks) == 12
    assert len(most) > 25
    assert max(most) <= 4 + 4 + 4  # the scene's, those of a block, and of the one before


def test_labels_elsewhere_are_told(scene, tmp_path):
    write_footprints(tmp_path / "far.gpkg", Footprints(off(village(), 9000, 0), UTM))
    with pytest.raises(VectorError, match=r"far.gpkg` do not overlap .*mosaic.tif"):
        estimate_offset(str(scene / "mosaic.tif"), tmp_path / "far.gpkg")


def test_labels_of_another_place_give_no_reliable_shift(scene):
    strangers = object_array([shapely.affinity.rotate(h, 41) for h in off(village(), 13, 13)])
    report = offset_of(str(scene / "mosaic.tif"), Footprints(strangers, UTM))
    assert report.shift.verdict == "no reliable shift"
    assert report.text().count("no reliable shift: ") == 1
    labels = Footprints(strangers, UTM)
    assert shapely.equals(report.moved(labels).polygons, strangers).all()


@pytest.mark.parametrize(
    "bad",
    [
        {"offset_reach": 0.1}, {"offset_reach": 99}, {"offset_block": 3},
        {"offset_block": float("inf")},
    ],
)  # fmt: skip
def test_wrong_settings_are_told(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        AlignConfig(**bad)


def score(scene: Path, *options: str):
    files = (str(scene / "true.gpkg"), str(scene / "labels.geojson"))
    return CliRunner().invoke(main, ["score", *files, "--gsd", "0.5", *options])


def test_score_reports_the_offset_and_applies_it_only_when_asked(scene):
    mosaic = str(scene / "mosaic.tif")
    plain = json.loads(score(scene, "--json").stdout)
    told = json.loads(score(scene, "--json", "--estimate-offset", mosaic).stdout)
    applied = json.loads(
        score(scene, "--json", "--estimate-offset", mosaic, "--apply-offset").stdout
    )
    assert "offset" not in plain
    assert told["offset"]["verdict"] == "shifted"
    assert told["offset"]["east_m"] == pytest.approx(-1.2, abs=0.06)
    assert told["offset"]["applied"] is False
    assert told["figures"] == plain["figures"]
    assert applied["offset"]["applied"] is True
    assert plain["figures"]["polis_m"] > 0.7
    assert applied["figures"]["polis_m"] < 0.1
    assert "buildings)\n" in score(scene, "--estimate-offset", mosaic).stdout
    worded = score(scene, "--estimate-offset", mosaic, "--apply-offset").stdout
    assert worded.splitlines()[0].endswith("buildings); applied")


def test_score_tells_the_offset_beside_csv_in_a_comparison_and_on_the_page(scene, tmp_path):
    moving = ("--estimate-offset", str(scene / "mosaic.tif"), "--apply-offset")
    page = tmp_path / "page.html"
    done = score(scene, *moving, "--csv", "--report", str(page))
    told = next(line for line in done.stderr.splitlines() if "labels on" in line)
    assert told.endswith("buildings); applied")
    assert told.removeprefix("buildex: l") in page.read_text(encoding="utf-8")
    assert "labels on" not in done.stdout
    true, labels = str(scene / "true.gpkg"), str(scene / "labels.geojson")
    pair = ["score", "--compare", true, true, labels, "--gsd", "0.5", *moving]
    both = CliRunner().invoke(main, pair)
    assert both.stdout.splitlines()[0].endswith("buildings); applied")


def test_score_says_where_nothing_is_applied(scene):
    files = [str(scene / "true.gpkg")] * 2
    extra = ["--estimate-offset", str(scene / "mosaic.tif"), "--apply-offset", "--gsd", "0.5"]
    done = CliRunner().invoke(main, ["score", *files, *extra])
    assert done.exit_code == 0
    assert "labels stay where they are" in done.stderr
    assert "; applied" not in done.stdout
    assert score(scene, "--apply-offset").exit_code == 2


@pytest.mark.skipif(not SCENES.is_dir(), reason="no real scenes beside the project")
def test_the_shifted_one_of_two_real_scenes_is_told_from_the_other():
    first, second = (
        estimate_offset(str(folder / "mosaic.tif"), folder / "buildings.geojson").shift
        for folder in (SCENES / "misaligned" / name for name in ("nairobi-1", "nairobi-2"))
    )
    assert (first.verdict, second.verdict) == ("shifted", "aligned")
    assert first.length > 1.5
    assert first.east < 0 < first.north
